"""Adapter: a bottleneck in every layer. Houlsby et al., ICML 2019 (arXiv:1902.00751); Pfeiffer et al., EACL 2021.

    x + h + up(gelu(down(h))),   h what attention or the MLP adds to x

Houlsby has one after attention and one after the MLP, Pfeiffer after the MLP only (VPT's baseline; KMnP/vpt,
src/models/vit_adapter/vit.py). Both halves of theirs start at zero, so that only the last bias ever gets a gradient:
the published row is a baseline of output biases. That is `reference_quirks`; here both start from a little noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.backbones import Vit
from vlprompt.backbones.adapted import Followed, timm_blocks, twin
from vlprompt.data.batch import Batch
from vlprompt.errors import UsageError, unknown
from vlprompt.init import seeded
from vlprompt.learners.base import Reads, Variant, images_of
from vlprompt.learners.headed import Headed, by_adamw
from vlprompt.recipe import TrainConfig

Position = Literal["houlsby", "pfeiffer"]


@dataclass(frozen=True)
class AdapterConfig:
    """The bottlenecks."""

    position: Position = "pfeiffer"  # pfeiffer: after the MLP; houlsby: after attention too
    reduction: int = 8  # the model's width divided by the bottleneck's (src/configs/config.py)
    std: float = 0.01  # of both halves at the start (Houlsby et al., analysis; there cut off at two deviations)
    reference_quirks: bool = False  # both halves start at zero, as VPT's code has it

    def __post_init__(self) -> None:
        """Raise UsageError for a position that there is not, or numbers that cannot work."""
        if self.position not in get_args(Position):
            raise unknown("position", str(self.position), get_args(Position))
        if self.reduction < 1 or not self.std > 0:
            raise UsageError(f"adapter: reduction {self.reduction} must be 1 or more, std {self.std} above 0.")


class Bottleneck(nn.Module):
    """What one place of the model gets: a narrow network over tokens."""

    def __init__(self, width: int, config: AdapterConfig) -> None:
        super().__init__()
        hidden = max(1, width // config.reduction)
        self.down, self.up = nn.Linear(width, hidden), nn.Linear(hidden, width)
        for linear in (self.down, self.up):
            nn.init.normal_(linear.weight, std=0.0 if config.reference_quirks else config.std)
            nn.init.zeros_(linear.bias)

    def forward(self, h: Tensor) -> Tensor:
        """(..., D) -> (..., D), of the type of h; computed in float32."""
        added: Tensor = self.up(F.gelu(self.down(h.to(self.up.weight))))
        return added.to(h)


@final
class Adapter(Headed[Vit]):
    """A bottleneck in every layer and a linear head."""

    reads = Reads.IMAGES
    takes = (Vit,)

    def __init__(
        self, vit: Vit, classes: Sequence[str], config: AdapterConfig = AdapterConfig(), *, seed: int = 0
    ) -> None:
        super().__init__(vit, classes, config, seed=seed)
        self.adapted = twin(vit)
        self.bottlenecks = nn.ModuleList()
        with seeded(seed):
            for block in timm_blocks(self.adapted, "proj"):
                if config.position == "houlsby":
                    block.attn.proj = self._followed(block.attn.proj)
                block.mlp = self._followed(block.mlp)
        self.to(vit.device)

    def _followed(self, frozen: nn.Module) -> Followed:
        bottleneck = Bottleneck(int(self.adapted.model.embed_dim), self.config)
        self.bottlenecks.append(bottleneck)
        return Followed(frozen, bottleneck.__call__)  # a method: not a part of the frozen copy

    def features(self, batch: Batch) -> Tensor:
        """(B, E), by the model with bottlenecks."""
        return self.adapted.encode_image(images_of(batch))


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """AdamW (demo.ipynb: Adapter is trained by configs/finetune/*.yaml)."""
    return by_adamw(lr=0.005)


VARIANTS = {
    "pfeiffer": Variant(AdapterConfig(), recipe, "Pfeiffer et al. 2021; the position of VPT's baseline"),
    "houlsby": Variant(AdapterConfig(position="houlsby"), recipe, "Houlsby et al. 2019 (arXiv:1902.00751)"),
    "vpt-code": Variant(AdapterConfig(reference_quirks=True), recipe, "Jia et al. 2022 (arXiv:2203.12119), its code"),
}
