"""TPT: tune the prompt for each test image until its views agree. Shu et al., NeurIPS 2022 (arXiv:2209.07511).

    p(y) = mean over the confident views of softmax(scores);  context <- AdamW step on the entropy of p

Confident are the views with the lowest entropy, chosen once, at the start (azshue/TPT, tpt_classification.py). The
context is that of hand-written words, or of a trained CoOp or CoCoOp (`TPT.over`). The published code computes in half
precision with a loss scale that persists between images, so earlier images can decide whether one is tuned at all; here
they cannot. At least one view counts; the code takes none of fewer than ten. Its tuning of class tokens, made for
Bongard-HOI, whose runner was never published, is left out.
"""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from vlprompt.prompts.context_tuning import marginal_entropy
from vlprompt.prompts.tuned_per_image import TunedPerImage, TuningConfig
from vlprompt.training.config import NO_TRAINING, Variant


@dataclass(frozen=True)
class TPTConfig(TuningConfig):
    """The start and the steps of tuning."""


@final
class TPT(TunedPerImage[TPTConfig]):
    """Minimises the entropy of the mean prediction of the confident views."""

    Config = TPTConfig

    def objective(self, scores: Tensor, text: Tensor) -> Tensor:  # noqa: ARG002
        """The entropy of the mean prediction of (K, C) scores, a scalar."""
        return marginal_entropy(scores)


VARIANTS = {
    "tpt-paper": Variant(TPTConfig(), NO_TRAINING, "Shu et al. 2022 (arXiv:2209.07511): 64 views, rho 0.1, one step"),
    "tpt-paper-fine-grained": Variant(TPTConfig(augmix=True), NO_TRAINING, "Shu et al. 2022: the same with AugMix"),
}
