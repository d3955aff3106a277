"""C-TPT: tune the prompt with dispersed text features, for calibration. Yoon et al., ICLR 2024 (arXiv:2403.14119).

    loss = TPT's entropy - lambda * mean over classes of |t_c - mean of t|,  t of unit length

Text features far from their centre correlate with well calibrated predictions. The rest is TPT's (hee-suk-yoon/C-TPT,
tpt_classification.py, run type tpt_ctpt).
"""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from vlprompt.config import NonNegative
from vlprompt.prompts.context_tuning import dispersion, marginal_entropy
from vlprompt.prompts.tuned_per_image import TunedPerImage, TuningConfig
from vlprompt.training.config import NO_TRAINING, Variant


@dataclass(frozen=True)
class CTPTConfig(TuningConfig):
    """The start and the steps of tuning, and the weight of the dispersion."""

    # Of fine-grained data sets (scripts/test_tpt_ctpt_fg.sh); 20 for ImageNet and its variants (..._ds.sh).
    strength: NonNegative = 50.0  # lambda


@final
class CTPT(TunedPerImage[CTPTConfig]):
    """Minimises TPT's entropy and maximises the dispersion of the text features."""

    Config = CTPTConfig

    def objective(self, scores: Tensor, text: Tensor) -> Tensor:
        """The entropy of the mean prediction of (K, C) scores, minus the weighted dispersion of the (C, E) text."""
        return marginal_entropy(scores) - self.config.strength * dispersion(text)


VARIANTS = {
    "ctpt-crops": Variant(
        CTPTConfig(), NO_TRAINING, "Yoon et al. 2024 (arXiv:2403.14119): lambda 50, on TPT's plain crops"
    ),
    "ctpt-paper-fine-grained": Variant(CTPTConfig(augmix=True), NO_TRAINING, "Yoon et al. 2024: lambda 50, AugMix"),
    "ctpt-paper-shift": Variant(
        CTPTConfig(strength=20, augmix=True), NO_TRAINING, "Yoon et al. 2024, variants of ImageNet: lambda 20, AugMix"
    ),
}
