"""Linear: a linear head on frozen features, trained by gradients. The baseline of Jia et al., ECCV 2022, Table 1.

`linear_probe` solves for the same head; this one is trained as its neighbours in a table are. Features of images that
are not varied come from the feature store, so that an epoch costs a matrix product instead of a pass of the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from vlprompt.backbones import Clip, Vit
from vlprompt.data.batch import Batch
from vlprompt.learners.base import Reads, Variant, features_of
from vlprompt.learners.headed import Headed, by_sgd
from vlprompt.recipe import TrainConfig


@dataclass(frozen=True)
class LinearConfig:
    """Nothing to set."""


@final
class Linear(Headed[Vit | Clip]):
    """A weight vector per class."""

    reads = Reads.FEATURES
    takes = (Vit, Clip)

    def __init__(
        self, backbone: Vit | Clip, classes: Sequence[str], config: LinearConfig = LinearConfig(), *, seed: int = 0
    ) -> None:
        super().__init__(backbone, classes, config, seed=seed)

    def features(self, batch: Batch) -> Tensor:
        """(B, E), as they are."""
        return features_of(batch)


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """SGD (configs/linear/*.yaml)."""
    return by_sgd(lr=1.0)


VARIANTS = {"vpt-paper": Variant(LinearConfig(), recipe, "Jia et al. 2022 (arXiv:2203.12119), Linear")}
