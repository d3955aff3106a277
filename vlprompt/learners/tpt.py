"""TPT: tune the prompt for each test image until its views agree. Shu et al., NeurIPS 2022 (arXiv:2209.07511).

    p(y) = mean over the confident views of softmax(scores);  context <- AdamW step on the entropy of p

Confident are the views with the lowest entropy, chosen once, at the start (azshue/TPT, tpt_classification.py). The
context is that of hand-written words, or of a trained CoOp or CoCoOp (`TPT.over`). The published code computes in half
precision with a loss scale that outlives the image, so whether an image is tuned at all can depend on those before it;
here nothing does. At least one view counts; theirs takes none of fewer than ten. Its tuning of class tokens, made for
Bongard-HOI, whose runner was never published, is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from vlprompt.backbones.clip import Clip
from vlprompt.learners.base import Variant
from vlprompt.learners.tuned import Tuned, TuningConfig
from vlprompt.recipe import TrainConfig
from vlprompt.tuning import marginal_entropy


@dataclass(frozen=True)
class TPTConfig(TuningConfig):
    """Where tuning starts and how it goes."""


@final
class TPT(Tuned):
    """The entropy of the mean prediction of the confident views is made small."""

    def __init__(self, clip: Clip, classes: Sequence[str], config: TPTConfig = TPTConfig(), *, seed: int = 0) -> None:
        super().__init__(clip, classes, config, seed=seed)

    def objective(self, scores: Tensor, text: Tensor) -> Tensor:  # noqa: ARG002
        """The entropy of the mean prediction of (K, C) scores, a scalar."""
        return marginal_entropy(scores)


def recipe(shots: int = 0, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """Nothing is trained."""
    return TrainConfig(epochs=0, augment="none")


VARIANTS = {
    "tpt-paper": Variant(TPTConfig(), recipe, "Shu et al. 2022 (arXiv:2209.07511): 64 views, rho 0.1, one step"),
    "tpt-paper-fine-grained": Variant(TPTConfig(augmix=True), recipe, "Shu et al. 2022: the same with AugMix"),
}
