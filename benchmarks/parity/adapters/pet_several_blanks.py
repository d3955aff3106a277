"""PET's candidates of several word pieces: pet/task_helpers.py, CopaTaskHelper."""

from collections.abc import Mapping
from typing import Any

import torch

from benchmarks.parity.case import Case
from benchmarks.parity.models import Models
from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.lm_inputs import NO_SOFT_PROMPT, Row
from vlprompt.cloze.parts.choices import Choices
from vlprompt.cloze.parts.template import Template

METHOD = r"PET with several masks \(.*\)"
INPUTS = ("input_ids", "attention_mask", "labels", r"choice\d_token_ids")
ORDERS = {"default": "masks", "ltr": "masks_ltr", "parallel": "masks_parallel"}
FIELDS = ("choice1", "choice2")


class StoredRows:
    """A renderer that returns the rows of a case, with one of their masks."""

    def __init__(self, case: Case, lm: LanguageModel) -> None:
        self.case, self.blank = case, lm.vocabulary.blank

    def row(self, example: Mapping[str, str]) -> Row:
        """The row whose number the example holds."""
        number = int(example["number"])
        ids = self.case.tensor("input_ids")[number][self.case.tensor("attention_mask")[number].bool()].tolist()
        read, blanks = ids.index(self.blank), ids.count(self.blank)
        return Row((*ids[: read + 1], *ids[read + blanks :]), read)


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """Log-probabilities of both choices for each order of filling masks, and the loss of training."""
    lm = models.lm(case.backbone)
    rows = [
        {"number": str(number), **{field: str(example[field]) for field in FIELDS}}
        for number, example in enumerate(case.hyper["examples"])
    ]
    answers = {}
    for name, order in ORDERS.items():
        choices = Choices(
            lm, Template("{number} {mask}"), FIELDS, max_length=0, prefix_length=0, space=True, pieces=order,  # type: ignore[arg-type]
        )  # fmt: skip
        choices.renderer = StoredRows(case, lm)  # type: ignore[assignment]
        with torch.no_grad():
            answers[f"log_probs_{name}"] = choices(lm, rows, NO_SOFT_PROMPT)
        answers["hinge_loss"] = choices.loss(lm, rows, case.tensor("labels"), NO_SOFT_PROMPT)
    return answers
