"""Side-tuning: a small network beside the frozen one. Zhang et al., ECCV 2020 (arXiv:1912.13503).

    y = s * base(x) + (1 - s) * W side(x),   s = sigmoid(alpha)

As VPT's baseline (KMnP/vpt, src/models/vit_models.py): the side network is AlexNet up to its pooling (9,216 numbers),
all of it trained, W has no bias, alpha starts at 0. Images of less than 64 pixels, too few for AlexNet, are enlarged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.backbones import Vit
from vlprompt.data.batch import Batch
from vlprompt.data.loaders import Batches
from vlprompt.errors import VlpromptError
from vlprompt.init import seeded
from vlprompt.learners.base import Reads, Variant, images_of
from vlprompt.learners.headed import Headed, by_sgd
from vlprompt.recipe import TrainConfig

SMALLEST = 64  # pixels
WIDTH = 256 * 6 * 6  # AlexNet's


@dataclass(frozen=True)
class SideConfig:
    """The network at the side."""

    pretrained: bool = True  # torchvision's AlexNet of ImageNet, fetched once (vit_models.py); else random weights


@final
class Side(Headed[Vit]):
    """AlexNet, its projection, the share of the frozen features, and a linear head."""

    reads = Reads.IMAGES
    takes = (Vit,)

    def __init__(self, vit: Vit, classes: Sequence[str], config: SideConfig = SideConfig(), *, seed: int = 0) -> None:
        super().__init__(vit, classes, config, seed=seed)
        with seeded(seed):
            self.side = alexnet()
            self.projection = nn.Linear(WIDTH, vit.embed_dim, bias=False)
        self.alpha = nn.Parameter(torch.zeros(()))
        self.begun = not config.pretrained
        self.to(vit.device)

    def prepare(self, train: Batches, val: Batches | None) -> None:  # noqa: ARG002
        """Fetch the weights that the side network starts from; a saved prompt has its own and needs no network."""
        if not self.begun:
            self.side.load_state_dict(alexnet(pretrained=True).state_dict())
        self.begun = True

    def restore(self, tensors: Mapping[str, Tensor], source: str) -> None:
        """Take the side network's weights with the others."""
        super().restore(tensors, source)
        self.begun = True

    def beside(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, E), what the side network sees."""
        if min(images.shape[-2:]) < SMALLEST:
            images = F.interpolate(images, size=(SMALLEST, SMALLEST), mode="bilinear")
        return self.projection(self.side(images).flatten(1))  # type: ignore[no-any-return]

    def features(self, batch: Batch) -> Tensor:
        """(B, E), frozen and learned features in their shares."""
        images = images_of(batch)
        with torch.no_grad():
            base = self.backbone.encode_image(images)
        return self.blend(base, self.beside(images))

    def blend(self, base: Tensor, side: Tensor) -> Tensor:
        """Two features (B, E) in their learned shares."""
        share = self.alpha.sigmoid()
        return share * base + (1 - share) * side


def alexnet(*, pretrained: bool = False) -> nn.Sequential:
    """AlexNet's features and pooling, (B, 3, H, W) -> (B, 256, 6, 6).

    Raises:
        VlpromptError: Its weights cannot be fetched.
    """
    import torchvision

    try:
        whole: Any = torchvision.models.alexnet(weights="IMAGENET1K_V1" if pretrained else None)
    except OSError as error:
        raise VlpromptError(
            f"the side network's weights could not be fetched ({error}); check the network, or start it from "
            "noise with side.pretrained=false."
        ) from error
    return nn.Sequential(whole.features, whole.avgpool)


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """SGD (demo.ipynb: Sidetune is trained by configs/linear/*.yaml)."""
    return by_sgd(lr=0.25)


VARIANTS = {"vpt-paper": Variant(SideConfig(), recipe, "Jia et al. 2022 (arXiv:2203.12119), Sidetune")}
