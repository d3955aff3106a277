"""LM-BFF's demonstrations: princeton-nlp/LM-BFF, src/dataset.py and src/models.py."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks.parity.case import Case
from benchmarks.parity.models import Models
from benchmarks.parity.texts import labelled
from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze import InContext, InContextConfig
from vlprompt.data.batch import Batch
from vlprompt.data.images import Example

METHOD = r"LM-BFF demonstrations \(.*\)"
INPUTS = ()
TEMPLATE = "{text} It was {mask}."


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """Ids and scores of questions with demonstrations behind them (one of each class), or in front of them."""
    lm, rows = models.lm(case.backbone), labelled(case.hyper["texts"])
    behind, front = case.array("demo_ids").shape[2], case.array("gpt3_ids").shape[1]
    draws = [[rows[place] for place in draw] for draw in case.hyper["draws"]]
    demo_ids, demo_logits = _answers(case, lm, draws, InContextConfig(max_length=behind))
    order = [rows[place] for place in reversed(case.hyper["gpt3_order"])]
    config = InContextConfig(place="front", max_length=front, share=0.75, reference_quirks=True)
    gpt3_ids, gpt3_logits = _answers(case, lm, [order], config)
    return {
        "demo_ids": demo_ids,
        "demo_logits": demo_logits,
        "demo_mean": demo_logits.mean(0),
        "gpt3_ids": gpt3_ids[0],
        "gpt3_logits": gpt3_logits[0],
    }


def _answers(
    case: Case, lm: LanguageModel, draws: Sequence[Sequence[Example]], config: InContextConfig
) -> tuple[Tensor, Tensor]:
    """Padded ids (S, N, T) and scores (S, N, C) of the questions beside each draw."""
    words, questions = case.hyper["label_words"], case.hyper["questions"]
    own = InContextConfig(**{**vars(config), "template": TEMPLATE, "words": words})
    learner, batch = InContext(lm, words, own), Batch.of_texts(questions)
    pieces = [of_class[0] for of_class in learner.verbalizer.word_pieces]
    shown = [learner.demonstrations.joined(draw, pieces) for draw in draws]
    rows = [[learner.demonstrations.row({"text": text}, one).ids for text in questions] for one in shown]
    pad, width = lm.vocabulary.pad, own.max_length
    ids = torch.tensor([[[*row, *[pad] * (width - len(row))] for row in own_rows] for own_rows in rows])
    with torch.no_grad():
        return ids, torch.stack([learner.answers(batch, one) for one in shown])
