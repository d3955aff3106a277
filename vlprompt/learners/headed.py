"""Methods that read image features with a linear head: what they share, and how VPT's authors train their tables.

KMnP/vpt has two settings, and its demo.ipynb says which row takes which: SGD (configs/base-linear.yaml and
base-prompt.yaml) for prompts, Linear, MLP-k and Sidetune; AdamW (base-finetune.yaml) for Full, Partial-k, Bias and
Adapter. Learning rate and weight decay they chose for each data set on validation images (tune_vtab.py, tune_fgvc.py);
but for three tasks of VTAB-1k what they chose is not published (KMnP/vpt#4). So those here are values of their grids,
not theirs for any data set, and `few-shot --grid` chooses as they did.

Departures: batches of 64 (theirs: 64 or 128 for prompts, 1,024 for heads, 384 for AdamW; lr is scaled by it, as
theirs); no augmentation, as on VTAB-1k; the warm-up starts at a tenth of the rate (theirs at 0: an epoch that trains
nothing); the cosine ends at 2 % of the rate, not at 0 (`recipe.learning_rate`); weight decay spares nothing (theirs
spares the head's bias, with AdamW every bias); the head starts small (`head.py`).
"""

import abc
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from torch import Tensor

from vlprompt.backbones import Clip, Vit
from vlprompt.backbones.tuned import TunedWeights
from vlprompt.data.batch import Batch
from vlprompt.errors import UsageError
from vlprompt.head import KEEPS_CLASSES, linear_head
from vlprompt.learners.base import PromptLearner, Reads, images_of
from vlprompt.recipe import TrainConfig

B = TypeVar("B", bound=Vit | Clip)
BATCH = 64


class Headed(PromptLearner[B], abc.ABC):
    """A linear head over features that a subclass makes of a batch."""

    def __init__(self, backbone: B, classes: Sequence[str], config: Any, *, seed: int = 0) -> None:
        super().__init__(backbone, classes, config, seed=seed)
        self.head = linear_head(backbone.embed_dim, len(self.classes), seed=seed).to(backbone.device)

    @property
    def keeps_classes(self) -> str:
        """There is a weight vector for each class it saw."""
        return KEEPS_CLASSES

    @abc.abstractmethod
    def features(self, batch: Batch) -> Tensor:
        """What the head reads, (B, E)."""

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        return self.head(self.features(batch))  # type: ignore[no-any-return]


class WeightTuned(Headed[Vit], abc.ABC):
    """Some of the model's own weights are trained, as copies; the frozen model stays as it is.

    Raises:
        UsageError: The model has none of these weights.
    """

    reads = Reads.IMAGES
    takes = (Vit,)

    def __init__(self, vit: Vit, classes: Sequence[str], config: Any, *, seed: int = 0) -> None:
        super().__init__(vit, classes, config, seed=seed)
        self.weights = TunedWeights(vit, self.chosen())
        if not self.weights.copies:
            raise UsageError(
                f"{self.method()}: {vit.name} ({type(vit.model).__name__}) has none of the weights that it trains; use "
                "a plain ViT, such as 'timm:vit_base_patch16_224', or linear."
            )
        self.to(vit.device)

    @abc.abstractmethod
    def chosen(self) -> Iterable[Tensor]:
        """The parameters of the frozen model that are trained."""

    def features(self, batch: Batch) -> Tensor:
        """(B, E), by the trained weights."""
        return self.weights.encode_image(self.backbone, images_of(batch))


def by_sgd(lr: float, weight_decay: float = 1e-4) -> TrainConfig:
    """SGD over 100 epochs, 10 of them warm-up (configs/base-linear.yaml, base-prompt.yaml).

    Args:
        lr: For a batch of 256; the grid is 50, 25, 10, 5, 2.5, 1, .5, .25, .1, .05.
        weight_decay: The grid is .01, .001, .0001, 0; the files have .0001.
    """
    return _over_100_epochs(lr, "sgd", weight_decay, warmup_epochs=10)


def by_adamw(lr: float) -> TrainConfig:
    """AdamW over 100 epochs, 5 of them warm-up (configs/base-finetune.yaml).

    The weight decay is 0.01 because the code uses that whatever its setting says (src/solver/optimizer.py); where the
    setting is 0, it trains with SGD.

    Args:
        lr: For a batch of 256; the grid is .005, .001, .0005, .0001.
    """
    return _over_100_epochs(lr, "adamw", 0.01, warmup_epochs=5)


def _over_100_epochs(lr: float, optimizer: Any, weight_decay: float, warmup_epochs: int) -> TrainConfig:
    scaled = lr * BATCH / 256
    return TrainConfig(
        epochs=100,
        batch_size=BATCH,
        lr=scaled,
        optimizer=optimizer,
        weight_decay=weight_decay,
        warmup="linear",
        warmup_epochs=warmup_epochs,
        warmup_lr=scaled / 10,
        augment="none",
    )
