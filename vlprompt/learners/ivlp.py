"""IVLP: independent deep prompts in both towers, or in one of them (VPT for CLIP, language prompting).

The baselines of MaPLe. Khattak et al., CVPR 2023 (arXiv:2210.03117), Table 1; image prompts are those of
VPT (Jia et al., ECCV 2022, arXiv:2203.12119), placed as in MaPLe's code (trainers/independentVL.py, trainers/vpt.py).
"""

from dataclasses import dataclass
from typing import final

from vlprompt.prompts.deep import DeepConfig, DeepLearner
from vlprompt.training.config import TrainConfig, Variant


@dataclass(frozen=True)
class IVLPConfig(DeepConfig):
    """The prompts of both towers (configs/trainers/IVLP/vit_b16_c2_ep5_batch4_2+2ctx.yaml)."""


@final
class IVLP(DeepLearner[IVLPConfig]):
    """Deep prompts of the text tower and of the image tower, independent of each other."""

    Config = IVLPConfig


RECIPE = TrainConfig(epochs=5, batch_size=4, lr=0.0035)  # both towers (vit_b16_c2_ep5_batch4_2+2ctx.yaml)

# One tower (VPT/vit_b16_c2_ep5_batch4_4.yaml, IVLP/vit_b16_c2_ep5_batch4_4ctx_language_only.yaml).
ONE_TOWER_RECIPE = TrainConfig(epochs=5, batch_size=4, lr=0.0025)

VARIANTS = {
    "ivlp-paper": Variant(IVLPConfig(), RECIPE, "Khattak et al. 2023a (arXiv:2210.03117): 2+2 tokens, 12 layers"),
    "vpt-deep": Variant(
        IVLPConfig(n_text=0, depth_text=0, n_vision=8),
        ONE_TOWER_RECIPE,
        "Khattak et al. 2023a, deep vision prompting: 8 tokens, 12 layers, 'a photo of a {}.'",
    ),
    "vpt-shallow": Variant(
        IVLPConfig(n_text=0, depth_text=0, n_vision=8, depth_vision=1),
        ONE_TOWER_RECIPE,
        "as vpt-deep, at the input only (Jia et al. 2022, arXiv:2203.12119)",
    ),
    "language-only": Variant(
        IVLPConfig(n_text=4, n_vision=0, depth_vision=0),
        ONE_TOWER_RECIPE,
        "Khattak et al. 2023a, deep language prompting: 4 tokens, 12 layers",
    ),
}
