"""PET: several patterns, each with language models of its own, and a classifier that learns their joint scores.

Schick and Schuetze, EACL 2021 (arXiv:2001.07676), in three steps: every pattern's model is trained on the labelled
texts (`parts/pattern.py`), the models score the unlabelled ones (`parts/ensemble.py`), and a sequence classifier learns
these scores (`parts/distilled.py`). At any time one model is in memory beside the student.

The authors' student has their library's classification head, which pools; ours is a linear layer on the first token.
"""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from vlprompt.cloze.parts.distilled import Distilled, DistilledConfig
from vlprompt.cloze.parts.recipes import STUDENT_RECIPE as RECIPE
from vlprompt.cloze.parts.training_texts import TrainingTexts
from vlprompt.training.config import Variant


@dataclass(frozen=True)
class PETConfig(DistilledConfig):
    """Patterns, their models and the student."""


@final
class PET(Distilled[PETConfig]):
    """A student of several patterns."""

    Config = PETConfig

    def ensemble_scores(self, texts: TrainingTexts) -> Tensor:
        """(N, C) the weighted mean of the members' scores of the unlabelled texts."""
        ensemble = self.ensemble
        return ensemble.votes([texts] * len(ensemble), "ensemble").merge()


SOURCE = "Schick and Schuetze 2021 (arXiv:2001.07676)"
YELP = ("It was {mask}. {text}", "{text}. All in all, it was {mask}.", "Just {mask}! {sep} {text}",
        "{text} {sep} In summary, the restaurant is {mask}.")  # fmt: skip
VARIANTS = {
    "pet": Variant(PETConfig(), RECIPE, f"{SOURCE}: the task's patterns, three models each"),
    "uniform": Variant(PETConfig(reduction="mean"), RECIPE, f"{SOURCE}: every model has equal weight"),
    "lm-training": Variant(PETConfig(lm_training=True), RECIPE, f"{SOURCE}: arbitrary blanks too (--lm_training)"),
    "yelp": Variant(
        PETConfig(patterns=YELP, words=(("bad",), ("good",))), RECIPE, f"{SOURCE}, pet/pvp.py: the patterns of Yelp"
    ),
}
