"""Side-tuning: a small network beside the frozen one. Zhang et al., ECCV 2020 (arXiv:1912.13503).

    y = s * base(x) + (1 - s) * W side(x),   s = sigmoid(alpha)

As VPT's baseline (KMnP/vpt, src/models/vit_models.py): the side network is AlexNet up to its pooling (9,216 numbers),
all of it is trained, W has no bias, alpha starts at 0. Images below 64 pixels, too small for AlexNet, are enlarged.

torchvision publishes AlexNet's weights as a pickle, which vlprompt does not open: `scripts/convert_alexnet.py` writes
them as safetensors, once, and `side.weights` names that file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from vlprompt.backbones import Vit
from vlprompt.config import Settings
from vlprompt.data.batch import Batch, images_of
from vlprompt.data.batches import Batches
from vlprompt.data.needs import Input, Needs
from vlprompt.errors import VlpromptError
from vlprompt.prompts.headed import Headed, by_sgd
from vlprompt.randomness import seeded
from vlprompt.training.config import Variant

SMALLEST = 64  # pixels
WIDTH = 256 * 6 * 6  # of AlexNet's pooled features


@dataclass(frozen=True)
class SideConfig(Settings):
    """How the side network starts."""

    pretrained: bool = True  # from AlexNet's ImageNet weights, in `weights` (vit_models.py); else from random weights
    weights: str = ""  # safetensors file with AlexNet's `features.*` tensors; read when a new training begins


@final
class Side(Headed[Vit, SideConfig]):
    """AlexNet, its projection, the share of the frozen features, and a linear head."""

    Config = SideConfig
    needs = Needs(input=Input.IMAGES)
    backbones = (Vit,)

    def __init__(self, vit: Vit, classes: Sequence[str], config: SideConfig | None = None, *, seed: int = 0) -> None:
        super().__init__(vit, classes, config, seed=seed)
        with seeded(seed):
            whole = torchvision.models.alexnet()
            self.side = nn.Sequential(whole.features, whole.avgpool)  # (B, 3, H, W) -> (B, 256, 6, 6)
            self.projection = nn.Linear(WIDTH, vit.embed_dim, bias=False)
        self.alpha = nn.Parameter(torch.zeros(()))
        self.has_weights = not self.config.pretrained
        self.to(vit.device)

    def prepare(self, train: Batches, val: Batches | None) -> None:  # noqa: ARG002
        """Read the weights that the side network starts from; a saved prompt has its own.

        Raises:
            VlpromptError: There is no such file, or it holds other tensors.
        """
        if self.has_weights:
            return
        try:
            tensors = safetensors.torch.load_file(self.config.weights)
            own = {name.removeprefix("features."): each for name, each in tensors.items() if "features." in name}
            self.side[0].load_state_dict(own)
        except (OSError, RuntimeError, safetensors.SafetensorError) as error:
            raise VlpromptError(
                f"side.weights={self.config.weights} does not give AlexNet's weights "
                f"({str(error).splitlines()[-1].strip()}); convert torchvision's file once with `python "
                "scripts/convert_alexnet.py alexnet-owt-7be5be79.pth FILE` and set side.weights=FILE, or start from "
                "random weights with side.pretrained=false."
            ) from error
        self.has_weights = True

    def restore(self, tensors: Mapping[str, Tensor], source: str) -> None:
        """Copy saved tensors, the side network's among them, into this learner."""
        super().restore(tensors, source)
        self.has_weights = True

    def side_features(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, E), the projected output of the side network."""
        if min(images.shape[-2:]) < SMALLEST:
            images = F.interpolate(images, size=(SMALLEST, SMALLEST), mode="bilinear")
        return self.projection(self.side(images).flatten(1))  # type: ignore[no-any-return]

    def features(self, batch: Batch) -> Tensor:
        """(B, E), the blend of frozen and learned features."""
        images = images_of(batch)
        with torch.no_grad():
            base = self.backbone.encode_image(images)
        return self.blend(base, self.side_features(images))

    def blend(self, base: Tensor, side: Tensor) -> Tensor:
        """The weighted mean of two features (B, E), by the learned share."""
        share = self.alpha.sigmoid()
        return share * base + (1 - share) * side


RECIPE = by_sgd(lr=0.25)  # demo.ipynb trains Sidetune by configs/linear/*.yaml
VARIANTS = {"vpt-paper": Variant(SideConfig(), RECIPE, "Jia et al. 2022 (arXiv:2203.12119), Sidetune")}
