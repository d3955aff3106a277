"""A pattern whose whole language model is trained: PET's loss. Schick and Schuetze, EACL 2021 (arXiv:2001.07676).

The model is trained to fill the blank with the right label word. Where a batch holds unlabelled texts, it also goes on
learning to fill arbitrary blanks (the paper's auxiliary loss):
L = alpha * CE(label words) + (1 - alpha) * MLM(unlabelled).

The authors' code loses a label word whose token id is 0; here it counts like any other.
"""

import abc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.lm_inputs import Sequences
from vlprompt.cloze.parts.base import ClozeLearner
from vlprompt.cloze.parts.config import ClozeConfig, number
from vlprompt.data.batch import Batch, texts_of
from vlprompt.errors import UsageError

MASKED_SHARE, MASK_SHARE, RANDOM_SHARE = 0.15, 0.8, 0.1  # BERT's, as in pet/wrapper.py
IGNORED = -100


@dataclass(frozen=True)
class PatternConfig(ClozeConfig):
    """One pattern and the weight of its loss."""

    lm_training: bool = False  # learn arbitrary blanks of the task's unlabelled texts too (PET, cli.py --lm_training)
    alpha: float = number(0.9999, at_least=0, at_most=1)  # weight of the label words' loss beside that (PET, cli.py)


C = TypeVar("C", bound=PatternConfig)


class Pattern(ClozeLearner[C], abc.ABC):
    """A copy of the model, all of it trained, which scores the label words at the blank. Subclasses are final."""

    def __init__(self, lm: LanguageModel, classes: Sequence[str], config: C | None = None, *, seed: int = 0) -> None:
        super().__init__(lm, classes, config, seed=seed)
        if self.config.lm_training and lm.kind != "masked":
            raise UsageError(f"{lm.name} has no arbitrary blanks to learn, a masked model has; set lm_training=false.")
        self.needs = replace(self.needs, unlabelled=self.config.lm_training)
        self.tuned = lm.copy_to_train()

    @property
    def lm(self) -> LanguageModel:
        """The copy that is trained."""
        return self.tuned

    def loss(self, batch: Batch) -> Tensor:
        """The loss of label words or candidates and, with `config.lm_training`, that of arbitrary blanks; a scalar."""
        if self.choices is not None and self.lm.kind == "masked":
            loss = self.choices.loss(self.lm, texts_of(batch), batch.labels, self.soft_prompt())
        else:
            loss = super().loss(batch)
        if batch.unlabelled is None or not self.config.lm_training:
            return loss
        texts, targets = self.mask_words(self.sequences(batch.unlabelled))
        alpha = self.config.alpha
        return alpha * loss + (1 - alpha) * self.masked_words_loss(texts, targets)

    def mask_words(self, texts: Sequences) -> tuple[Sequences, Tensor]:
        """Texts with 15 % of their words to be predicted, and (B, T) these words, -100 elsewhere.

        Of these 80 % become the mask token, 10 % another word, 10 % stay. Special tokens, among them the pattern's own
        blank, are never chosen.
        """
        vocabulary, ids = self.backbone.vocabulary, texts.ids
        special = torch.tensor(sorted(vocabulary.special), device=ids.device)
        share = torch.rand(ids.shape, device=ids.device)
        chosen = (share < MASKED_SHARE) & ~torch.isin(ids, special) & texts.mask.bool()
        what = torch.rand(ids.shape, device=ids.device)
        other = torch.randint(self.backbone.vocabulary_size, ids.shape, device=ids.device)
        assert vocabulary.blank is not None  # a masked model has one
        new = torch.where(what < MASK_SHARE, vocabulary.blank, other)
        new = torch.where(what < MASK_SHARE + RANDOM_SHARE, new, ids)
        return replace(texts, ids=torch.where(chosen, new, ids)), torch.where(chosen, ids, IGNORED)

    def masked_words_loss(self, texts: Sequences, targets: Tensor) -> Tensor:
        """Mean cross-entropy over the whole vocabulary where (B, T) targets are given; 0 where none is."""
        rows, places = (targets != IGNORED).nonzero(as_tuple=True)
        if not len(rows):
            return targets.new_zeros((), dtype=torch.float32)
        scores = self.tuned.scores_everywhere(texts)[rows, places]
        return F.cross_entropy(scores, targets[rows, places])
