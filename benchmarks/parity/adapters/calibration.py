"""Contextual calibration: run_classification.py of Zhao et al."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.parity.case import Case
from benchmarks.parity.compare import Answer
from benchmarks.parity.models import Models
from benchmarks.parity.texts import classes_of
from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.lm_inputs import Sequences
from vlprompt.cloze.parts import calibration
from vlprompt.cloze.parts.demonstrations import Demonstrations
from vlprompt.cloze.parts.verbalizer import Verbalizer
from vlprompt.data.images import Example
from vlprompt.data.texts import Text

METHOD = r"contextual calibration.*"
INPUTS = ("prompt_ids", "content_free_ids", "test_labels")


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """Probabilities of the label words, the content-free prior, and scores with both kinds of calibration."""
    lm = models.lm(case.backbone)
    words = [case.hyper["label_words"][label] for label in sorted(case.hyper["label_words"], key=int)]
    verbalizer = Verbalizer(lm, classes_of(words), words, rule="logsumexp")
    answers, free = (_log_probs(lm, case.tensor(name)) for name in ("prompt_ids", "content_free_ids"))
    scores = verbalizer(answers[:, verbalizer.ids])
    prior = calibration.content_free_prior(verbalizer, free)
    each = torch.stack([calibration.content_free_prior(verbalizer, one[None]) for one in free])
    divided = calibration.divide(scores, prior).exp()  # theirs is not normalised either
    found = {"none": scores.softmax(-1), "diagonal": divided, "identity": calibration.subtract(scores, prior)}
    labels = case.tensor("test_labels")
    return {
        **_prompts(case, lm, words),
        "label_probs": scores.exp(),
        "p_cf": prior,
        "p_cf_each": each,
        **{f"scores_{name}": value for name, value in found.items()},
        **{f"acc_{name}": (value.argmax(1) == labels).double().mean() for name, value in found.items()},
    }


def _prompts(case: Case, lm: LanguageModel, words: list[list[str]]) -> dict[str, Answer]:
    """The ids of the case's prompts as we build them: its demonstrations, then the question.

    (Where a text is empty, theirs keeps the space before it, ours does not.)
    """
    own = case.hyper
    template = f"{own['prompt_prefix']}{own['q_prefix']}{{text}}\n{own['a_prefix'].strip()}{{mask}}"
    shape = {"place": "front", "separator": "\n\n", "max_length": 0, "share": 0.9}
    demonstrations = Demonstrations(lm, template, **shape)  # type: ignore[arg-type]
    train = zip(own["train_sentences"], own["train_labels"], strict=True)
    word_pieces = [lm.vocabulary.pieces(f" {of_class[0]}") for of_class in words]
    shown = demonstrations.joined([Example(Text.of(text=text), int(label)) for text, label in train], word_pieces)

    def ids(texts: Sequence[str], stored: Tensor) -> Answer:
        rows = [torch.tensor(demonstrations.row({"text": text}, shown).ids) for text in texts]
        padded = torch.stack([F.pad(row, (0, stored.shape[1] - len(row)), value=-1) for row in rows])
        has_text = torch.tensor([bool(text) for text in texts])[:, None].expand_as(stored)
        return Answer(padded, where=has_text.numpy(), note="where there is a text")

    return {
        "prompt_ids": ids(own["test_sentences"], case.tensor("prompt_ids")),
        "content_free_ids": ids(own["content_free_inputs"], case.tensor("content_free_ids")),
    }


def _log_probs(lm: LanguageModel, ids: Tensor) -> Tensor:
    """(N, V) log-probabilities after the last token of rows of ids, which are padded with -1."""
    mask = (ids >= 0).long()
    texts = Sequences(ids.clamp_min(0), mask, mask.sum(1) - 1)
    return calibration.log_probs(lm.scores(texts, torch.arange(lm.vocabulary_size)))
