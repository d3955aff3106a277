"""C-TPT: tune the prompt, but keep the classes apart, for calibration. Yoon et al., ICLR 2024 (arXiv:2403.14119).

    loss = TPT's entropy - lambda * mean over classes of |t_c - mean of t|,  t of unit length

Text features that lie far from their centre go with well calibrated answers. All else is TPT's (hee-suk-yoon/C-TPT,
tpt_classification.py, run type tpt_ctpt).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from vlprompt.backbones.clip import Clip
from vlprompt.errors import UsageError
from vlprompt.learners.base import Variant
from vlprompt.learners.tuned import Tuned, TuningConfig
from vlprompt.recipe import TrainConfig
from vlprompt.tuning import dispersion, marginal_entropy


@dataclass(frozen=True)
class CTPTConfig(TuningConfig):
    """Where tuning starts and how it goes."""

    strength: float = 50.0  # lambda (scripts/test_tpt_ctpt_fg.sh, fine-grained sets; 20 in ..._ds.sh, ImageNet's kin)

    def __post_init__(self) -> None:
        """Raise UsageError for settings that cannot work."""
        super().__post_init__()
        if not self.strength >= 0:
            raise UsageError(f"strength is {self.strength}; it must be 0 (TPT) or more (the paper: 50).")


@final
class CTPT(Tuned):
    """TPT's entropy is made small and the dispersion of the text features large."""

    config: CTPTConfig

    def __init__(self, clip: Clip, classes: Sequence[str], config: CTPTConfig = CTPTConfig(), *, seed: int = 0) -> None:
        super().__init__(clip, classes, config, seed=seed)

    def objective(self, scores: Tensor, text: Tensor) -> Tensor:
        """The entropy of the mean prediction of (K, C) scores, less the weighted dispersion of the (C, E) text."""
        return marginal_entropy(scores) - self.config.strength * dispersion(text)


def recipe(shots: int = 0, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """Nothing is trained."""
    return TrainConfig(epochs=0, augment="none")


VARIANTS = {
    "ctpt-crops": Variant(CTPTConfig(), recipe, "Yoon et al. 2024 (arXiv:2403.14119): lambda 50, on TPT's plain crops"),
    "ctpt-paper-fine-grained": Variant(CTPTConfig(augmix=True), recipe, "Yoon et al. 2024: lambda 50, AugMix"),
    "ctpt-paper-shift": Variant(
        CTPTConfig(strength=20, augmix=True), recipe, "Yoon et al. 2024, variants of ImageNet: lambda 20, AugMix"
    ),
}
