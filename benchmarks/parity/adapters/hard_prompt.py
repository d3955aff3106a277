"""OpenPrompt's manual template and verbalizer, and its calibration: prompts/manual_*.py, utils/calibrate.py."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from benchmarks.parity.case import Case
from benchmarks.parity.models import Models
from benchmarks.parity.texts import as_stored, classes_of, examples, pieces, template_of, words_of
from vlprompt.cloze import HardPrompt, HardPromptConfig
from vlprompt.cloze.parts.verbalizer import Pieces, Rule

METHOD = r"manual template and manual verbalizer"
INPUTS = ("labels", "loss_ids", "decoder_input_ids")


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """Ids of the examples, and scores of words and classes by every rule."""
    lm, words = models.lm(case.backbone), words_of(case)
    length = int(case.hyper["max_seq_length"])

    def learner(rule: Rule, kind: Pieces, **more: Any) -> HardPrompt:
        config = HardPromptConfig(template_of(case), words, rule, kind, length, content_free=("",), **more)
        return HardPrompt(lm, classes_of(words), config)

    batch, first = examples(case), learner("mean_logit", "first")
    texts, every = first.sequences(batch), torch.arange(lm.vocabulary_size)
    ids, mask = pieces(lm, words, case.array("label_words_ids").shape[2])
    answers: dict[str, Any] = {
        "input_ids": as_stored(case, "input_ids", texts.ids),
        "attention_mask": as_stored(case, "attention_mask", texts.mask),
        "label_words_ids": ids,
        "words_ids_mask": mask,
        "mask_logits": lm.scores(texts, every),
        "calibration_logits": first.content_free_scores()[0],
    }
    for kind in ("first", "max", "mean"):
        raw = learner("mean_logit", kind)
        answers |= {
            f"logits__{kind}_raw": raw.predict(batch),
            f"logits__{kind}_logsoftmax": learner("mean_log_prob", kind).predict(batch),
            f"logits_calibrated__{kind}": learner("mean_log_prob", kind, calibrate="words").predict(batch),
            f"word_logits__{kind}": _by_class(raw.verbalizer.words(raw.word_scores(batch)), words),
        }
    return answers


def _by_class(scores: Tensor, words: tuple[tuple[str, ...], ...]) -> Tensor:
    """(B, W) -> (B, C, W of the largest class), zeros where a class has fewer."""
    lists = scores.split([len(own) for own in words], dim=1)
    return torch.stack([torch.nn.functional.pad(each, (0, max(map(len, words)) - each.shape[1])) for each in lists], 1)
