"""A pattern whose whole language model is trained: PET's loss. Schick and Schuetze, EACL 2021 (arXiv:2001.07676).

The model is trained to fill the blank with the right label word. Beside that it goes on learning to fill arbitrary
blanks (the paper's auxiliary loss) where a batch brings unlabelled texts:
L = alpha * CE(label words) + (1 - alpha) * MLM(unlabelled).

The authors' code loses a label word whose token id is 0; here it counts like any other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.sequences import Sequences
from vlprompt.cloze.base import ClozeConfig, ClozeLearner
from vlprompt.data.batch import Batch
from vlprompt.errors import UsageError

MASKED_SHARE, MASK_SHARE, RANDOM_SHARE = 0.15, 0.8, 0.1  # BERT's, as in pet/wrapper.py
IGNORED = -100


@dataclass(frozen=True)
class PatternConfig(ClozeConfig):
    """One pattern and the weight of its loss."""

    lm_training: bool = False  # learn arbitrary blanks of the task's unlabelled texts too (PET, cli.py --lm_training)
    alpha: float = 0.9999  # of the label words' loss beside that (PET, cli.py)

    def __post_init__(self) -> None:
        """Raise UsageError for a weight that is no share."""
        super().__post_init__()
        if not 0 <= self.alpha <= 1:
            raise UsageError(f"alpha is {self.alpha}; it must be a share, from 0 to 1.")


class Pattern(ClozeLearner):
    """A copy of the model, all of it trained, whose blank the label words compete for. Subclasses are final."""

    config: PatternConfig

    def __init__(self, lm: LanguageModel, classes: Sequence[str], config: PatternConfig, *, seed: int = 0) -> None:
        super().__init__(lm, classes, config, seed=seed)
        if config.lm_training and lm.kind != "masked":
            raise UsageError(f"{lm.name} has no arbitrary blanks to learn, a masked model has; set lm_training=false.")
        self.adapts = config.lm_training
        self.tuned = lm.copy_to_train()

    @property
    def lm(self) -> LanguageModel:
        """The copy that is trained."""
        return self.tuned

    def loss(self, batch: Batch) -> Tensor:
        """The label words' loss, and that of arbitrary blanks where they are asked for; a scalar."""
        loss = super().loss(batch)
        if batch.unlabelled is None or not self.config.lm_training:
            return loss
        ids, wanted = self.masked(self.sequences(batch.unlabelled))
        alpha: float = self.config.alpha
        return alpha * loss + (1 - alpha) * self.blank_loss(ids, wanted)

    def masked(self, texts: Sequences) -> tuple[Sequences, Tensor]:
        """Texts with 15 % of their words to be guessed, and (B, T) those words, -100 elsewhere.

        Of these 80 % become the mask token, 10 % another word, 10 % stay. Special tokens, the pattern's own blank among
        them, are never guessed.
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
        guessed = Sequences(torch.where(chosen, new, ids), texts.mask, texts.read, texts.slots, texts.segments)
        return guessed, torch.where(chosen, ids, IGNORED)

    def blank_loss(self, texts: Sequences, wanted: Tensor) -> Tensor:
        """Mean cross-entropy over the whole vocabulary where (B, T) words are wanted; 0 where none is."""
        rows, places = (wanted != IGNORED).nonzero(as_tuple=True)
        if not len(rows):
            return wanted.new_zeros((), dtype=torch.float32)
        scores = self.tuned.everywhere(texts)[rows, places]
        return F.cross_entropy(scores, wanted[rows, places])
