"""PET: several patterns, each a language model of its own, and a classifier that learns from what they say together.

Schick and Schuetze, EACL 2021 (arXiv:2001.07676), in three steps: every pattern's model is trained on the labelled
texts (`pattern.py`), the models vote on unlabelled ones (`ensemble.py`), and a sequence classifier learns the votes
(`distilled.py`). One model is in memory beside the student at any time.

The authors' student has their library's classification head, which pools; ours is a linear layer on the first token.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze.distilled import Distilled, DistilledConfig, student_recipe
from vlprompt.cloze.material import Material
from vlprompt.learners.base import Variant
from vlprompt.recipe import TrainConfig


@dataclass(frozen=True)
class PETConfig(DistilledConfig):
    """Patterns, their models and the student."""


@final
class PET(Distilled):
    """A student of several patterns."""

    config: PETConfig

    def __init__(
        self, lm: LanguageModel, classes: Sequence[str], config: PETConfig = PETConfig(), *, seed: int = 0
    ) -> None:
        super().__init__(lm, classes, config, seed=seed)

    def ensemble_scores(self, material: Material) -> Tensor:
        """(N, C) the weighted mean of the members' scores of the unlabelled texts."""
        ensemble = self.ensemble
        return ensemble.votes([material] * len(ensemble), "ensemble").merged()


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """The student's, see `student_recipe`."""
    return student_recipe()


SOURCE = "Schick and Schuetze 2021 (arXiv:2001.07676)"
YELP = ("It was {mask}. {text}", "{text}. All in all, it was {mask}.", "Just {mask}! {sep} {text}",
        "{text} {sep} In summary, the restaurant is {mask}.")  # fmt: skip
VARIANTS = {
    "pet": Variant(PETConfig(), recipe, f"{SOURCE}: the task's patterns, three models each"),
    "uniform": Variant(PETConfig(reduction="mean"), recipe, f"{SOURCE}: every model counts the same"),
    "lm-training": Variant(PETConfig(lm_training=True), recipe, f"{SOURCE}: arbitrary blanks beside (--lm_training)"),
    "yelp": Variant(
        PETConfig(patterns=YELP, words=(("bad",), ("good",))), recipe, f"{SOURCE}, pet/pvp.py: the patterns of Yelp"
    ),
}
