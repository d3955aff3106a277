"""PET's answers of several word pieces: pet/task_helpers.py, MultiMaskTaskHelper and CopaTaskHelper."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from benchmarks.parity.case import Case
from benchmarks.parity.models import Models
from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.lm_inputs import NO_SOFT_PROMPT, Sequences
from vlprompt.cloze.parts.multi_token import BlankFilling, hinge_loss

METHOD = r"PET with several masks \(.*\)"
INPUTS = ("input_ids", "attention_mask", "labels", r"choice\d_token_ids")
ORDERS = {"default": "masks", "ltr": "masks_ltr", "parallel": "masks_parallel"}


class StoredRow:
    """A renderer that returns one row of a case, with some of its masks."""

    def __init__(self, case: Case, row: int, blanks: int, lm: LanguageModel) -> None:
        ids, mask = case.tensor("input_ids")[row], case.tensor("attention_mask")[row].bool()
        places = (ids == lm.vocabulary.blank).nonzero()[:, 0]
        kept = mask.clone()
        kept[places[blanks:]] = False
        own = ids[kept][None]
        self.texts = Sequences(own, torch.ones_like(own), places[:1])

    def __call__(self, examples: object) -> Sequences:  # noqa: ARG002
        """The row, for any examples."""
        return self.texts


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """Log-probabilities of both choices for each order of filling masks, and the loss of training."""
    lm, labels = models.lm(case.backbone), case.tensor("labels")
    found: dict[str, list[Tensor]] = {name: [] for name in (*ORDERS, "train")}
    counts: list[list[int]] = []
    for row in range(len(labels)):
        stored = [case.tensor(f"choice{number}_token_ids")[row] for number in (1, 2)]
        choices = [each[each >= 0].tolist() for each in stored]
        counts.append([len(choice) for choice in choices])
        for name, pieces in ORDERS.items():
            blanks = BlankFilling(lambda count, row=row: StoredRow(case, row, count, lm), choices, pieces)  # type: ignore[arg-type, misc]
            with torch.no_grad():
                found[name].append(blanks(lm, [], NO_SOFT_PROMPT))
        found["train"].append(blanks.means(lm, [], NO_SOFT_PROMPT))
    means = _over_batch(torch.cat(found["train"]), labels, torch.tensor(counts))
    answers = {f"log_probs_{name}": torch.cat(found[name]) for name in ORDERS}
    return answers | {"hinge_loss": hinge_loss(means, torch.zeros(1).long())}


def _over_batch(means: Tensor, labels: Tensor, counts: Tensor) -> Tensor:
    """(1, 2) the right and the wrong choice's mean over the pieces of a whole batch, as in the released code.

    Args:
        means: (B, 2) of each text alone.
        labels: (B,) number of the right choice.
        counts: (B, 2) pieces.
    """
    order = torch.stack([labels, 1 - labels], dim=1)
    sums, pieces = (means * counts).gather(1, order), counts.gather(1, order)
    return (sums.sum(0) / pieces.sum(0))[None]
