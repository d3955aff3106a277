"""Adapter: a bottleneck in every layer. Houlsby et al., ICML 2019 (arXiv:1902.00751); Pfeiffer et al., EACL 2021.

    x + h + up(gelu(down(h))),   h the output of attention or of the MLP, x its residual

Houlsby has one after attention and one after the MLP, Pfeiffer after the MLP only (VPT's baseline; KMnP/vpt,
src/models/vit_adapter/vit.py). In VPT's code both halves start at zero, so only the last bias ever gets a gradient: the
published row is a baseline of output biases. `reference_quirks` does that; here both halves start with small noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.backbones import Vit
from vlprompt.backbones.adapters import SequentialAdapter, timm_blocks
from vlprompt.config import Count, Positive, Settings
from vlprompt.prompts.headed import Adapted, by_adamw
from vlprompt.randomness import seeded
from vlprompt.training.config import Variant


@dataclass(frozen=True)
class AdapterConfig(Settings):
    """The bottlenecks."""

    position: Literal["houlsby", "pfeiffer"] = "pfeiffer"  # pfeiffer: after the MLP; houlsby: after attention too
    reduction: Count = 8  # the model's width divided by the bottleneck's (src/configs/config.py)
    std: Positive = 0.01  # initial deviation of both halves (Houlsby et al., analysis; there truncated at two of them)
    reference_quirks: bool = False  # both halves start at zero, as in VPT's code


class Bottleneck(nn.Module):
    """A narrow network over tokens, added at one place of the model."""

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
class Adapter(Adapted[AdapterConfig]):
    """A bottleneck in every layer, and a linear head."""

    Config = AdapterConfig

    def __init__(self, vit: Vit, classes: Sequence[str], config: AdapterConfig | None = None, *, seed: int = 0) -> None:
        super().__init__(vit, classes, config, seed=seed)
        self.bottlenecks = nn.ModuleList()
        with seeded(seed):
            for block in timm_blocks(self.adapted, "proj"):
                if self.config.position == "houlsby":
                    block.attn.proj = self._followed(block.attn.proj)
                block.mlp = self._followed(block.mlp)
        self.to(vit.device)

    def _followed(self, frozen: nn.Module) -> SequentialAdapter:
        """A frozen module with a new bottleneck behind it."""
        bottleneck = Bottleneck(int(self.adapted.model.embed_dim), self.config)
        self.bottlenecks.append(bottleneck)
        return SequentialAdapter(frozen, bottleneck.__call__)  # a bound method, so no submodule of the twin


RECIPE = by_adamw(lr=0.005)  # demo.ipynb trains Adapter by configs/finetune/*.yaml
VARIANTS = {
    "pfeiffer": Variant(AdapterConfig(), RECIPE, "Pfeiffer et al. 2021; the position of VPT's baseline"),
    "houlsby": Variant(AdapterConfig(position="houlsby"), RECIPE, "Houlsby et al. 2019 (arXiv:1902.00751)"),
    "vpt-code": Variant(AdapterConfig(reference_quirks=True), RECIPE, "Jia et al. 2022 (arXiv:2203.12119), its code"),
}
