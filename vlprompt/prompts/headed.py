"""Methods with a linear head on image features: shared base classes, and the training settings of VPT's tables.

KMnP/vpt has two training settings, and its demo.ipynb names the rows of each: SGD (configs/base-linear.yaml and
base-prompt.yaml) for prompts, Linear, MLP-k and Sidetune; AdamW (base-finetune.yaml) for Full, Partial-k, Bias and
Adapter. The authors chose learning rate and weight decay per data set on validation images (tune_vtab.py, tune_fgvc.py)
and published the choice for three tasks of VTAB-1k only (KMnP/vpt#4). The rates here are values of their grids, not
their choice for any data set; `few-shot --grid` chooses as they did.

Departures: batches of 64 (theirs: 64 or 128 for prompts, 1,024 for heads, 384 for AdamW; the rate is scaled by the
batch size, as theirs is); no augmentation, as on VTAB-1k; the warm-up starts at a tenth of the rate (theirs at 0, an
epoch that trains nothing); the head starts with small weights (`head.py`).
"""

import abc
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from torch import Tensor, nn

from vlprompt.backbones import Clip, Vit
from vlprompt.backbones.adapters import copy_sharing_weights
from vlprompt.backbones.weight_copies import WeightCopies
from vlprompt.data.batch import Batch, images_of
from vlprompt.data.needs import Input, Needs
from vlprompt.errors import UsageError
from vlprompt.learner import C
from vlprompt.prompts.head import GrowingHead, linear_head
from vlprompt.training.config import TrainConfig

B = TypeVar("B", bound=Vit | Clip)
BATCH = 64


class Headed(GrowingHead[B, C], abc.ABC):
    """A linear head on features that a subclass computes from a batch."""

    def __init__(self, backbone: B, classes: Sequence[str], config: C | None = None, *, seed: int = 0) -> None:
        super().__init__(backbone, classes, config, seed=seed)
        self.head = linear_head(backbone.embed_dim, len(self.classes), seed=seed).to(backbone.device)

    @abc.abstractmethod
    def features(self, batch: Batch) -> Tensor:
        """The head's input, (B, E)."""

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        return self.head(self.features(batch))  # type: ignore[no-any-return]


class WeightTuning(Headed[Vit, C], abc.ABC):
    """Trains copies of some of the model's own weights; UsageError where it has none of them."""

    needs = Needs(input=Input.IMAGES)
    backbones = (Vit,)

    def __init__(self, vit: Vit, classes: Sequence[str], config: C | None = None, *, seed: int = 0) -> None:
        super().__init__(vit, classes, config, seed=seed)
        self.weights = WeightCopies(vit, self.chosen())
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
        """(B, E), computed with the trained weights."""
        return self.weights.encode_image(self.backbone, images_of(batch))


class Adapted(Headed[Vit, C], abc.ABC):
    """Trains small modules that a subclass inserts in `adapted`, a twin of the model that shares its frozen weights."""

    needs = Needs(input=Input.IMAGES)
    backbones = (Vit,)

    def __init__(self, vit: Vit, classes: Sequence[str], config: C | None = None, *, seed: int = 0) -> None:
        super().__init__(vit, classes, config, seed=seed)
        self.adapted = copy_sharing_weights(vit)

    def features(self, batch: Batch) -> Tensor:
        """(B, E), computed by the twin."""
        return self.adapted.encode_image(images_of(batch))


def projection(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer with Kaiming's normal weights by outputs, as VPT's code initialises its projections."""
    linear = nn.Linear(inputs, outputs)
    nn.init.kaiming_normal_(linear.weight, a=0, mode="fan_out")
    return linear


def by_sgd(lr: float, weight_decay: float = 1e-4) -> TrainConfig:
    """SGD over 100 epochs, 10 of them warm-up (configs/base-linear.yaml, base-prompt.yaml).

    Args:
        lr: For a batch of 256; the grid is 50, 25, 10, 5, 2.5, 1, .5, .25, .1, .05.
        weight_decay: The grid is .01, .001, .0001, 0; the files have .0001.
    """
    return _over_100_epochs(lr, weight_decay, optimizer="sgd", warmup_epochs=10, no_decay="head.bias")


def by_adamw(lr: float) -> TrainConfig:
    """AdamW over 100 epochs, 5 of them warm-up (configs/base-finetune.yaml).

    The weight decay is 0.01, as in the code whatever its setting (src/solver/optimizer.py); where the setting is 0, the
    code trains with SGD.

    Args:
        lr: For a batch of 256; the grid is .005, .001, .0005, .0001.
    """
    return _over_100_epochs(lr, 0.01, optimizer="adamw-early-eps", warmup_epochs=5, no_decay="bias", eps=1e-6)


def _over_100_epochs(lr: float, weight_decay: float, **options: Any) -> TrainConfig:
    scaled = lr * BATCH / 256
    return TrainConfig(
        epochs=100, batch_size=BATCH, lr=scaled, weight_decay=weight_decay, schedule="cosine-to-end",
        warmup="linear", warmup_lr=scaled / 10, augment="none", **options,
    )  # fmt: skip
