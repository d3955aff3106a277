"""Hard prompt: zero-shot cloze with hand-written words, calibrated or not.

The template and label words of Schick and Schuetze, EACL 2021 (arXiv:2001.07676), without training; calibration of Zhao
et al., ICML 2021 (arXiv:2102.09690). OpenPrompt's calibration over label words, which is another estimator, is "words".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final, get_args

import torch
from torch import Tensor

from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze import calibration
from vlprompt.cloze.base import ClozeConfig
from vlprompt.cloze.frozen import FrozenCloze
from vlprompt.cloze.verbalizer import LEFT_TO_RIGHT, MASKS
from vlprompt.data.batch import Batch
from vlprompt.errors import UsageError, unknown
from vlprompt.learners.base import Variant
from vlprompt.recipe import TrainConfig

Calibrate = Literal["none", "contextual", "contextual_identity", "words"]


@dataclass(frozen=True)
class HardPromptConfig(ClozeConfig):
    """A cloze without training."""

    calibrate: Calibrate = "none"  # "contextual": q / p_cf (Zhao et al.'s diagonal W); "contextual_identity": q - p_cf
    content_free: tuple[str, ...] = calibration.CONTENT_FREE  # what fields say that say nothing

    def __post_init__(self) -> None:
        """Raise UsageError for a calibration that is not known."""
        super().__post_init__()
        object.__setattr__(self, "content_free", tuple(self.content_free))
        if self.calibrate not in get_args(Calibrate):
            raise unknown("calibration", self.calibrate, get_args(Calibrate))
        if self.calibrate != "none" and self.pieces in (*MASKS, *LEFT_TO_RIGHT):
            raise UsageError(f"calibrate {self.calibrate!r} reads one blank, pieces={self.pieces!r} several; use one.")


@final
class HardPrompt(FrozenCloze):
    """Nothing is learned: the scores of the label words, less what an empty text would score."""

    learns = False
    config: HardPromptConfig

    def __init__(
        self,
        lm: LanguageModel,
        classes: Sequence[str],
        config: HardPromptConfig = HardPromptConfig(),
        *,
        seed: int = 0,
    ) -> None:
        super().__init__(lm, classes, config, seed=seed)
        if self.choices is not None and config.calibrate != "none":
            raise UsageError(
                "candidates that each text brings along have no content-free scores; set calibrate='none'."
            )

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        if self.config.calibrate == "none":
            return super().forward(batch)
        scores = self.word_scores(batch)
        empty = self.once(f"content-free {self.config.words}", self.empty)
        if self.config.calibrate == "words":
            mean = self.verbalizer.words(empty[:, self.verbalizer.ids]).mean(0)
            return calibration.words_divided(self.verbalizer, self.verbalizer.words(scores), mean)
        prior = calibration.content_free(self.verbalizer, calibration.log_probs(empty))
        take_out = calibration.divided if self.config.calibrate == "contextual" else calibration.subtracted
        return take_out(self.verbalizer(scores), prior)

    @torch.no_grad()
    def empty(self) -> Tensor:
        """(N, V) scores of the whole vocabulary at the blank of the content-free inputs."""
        texts = calibration.filled(self.renderer.template.fields, self.config.content_free)
        every = torch.arange(self.backbone.vocabulary_size)
        return self.backbone.scores(self.renderer(texts), every)


def recipe(shots: int = 0, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """Nothing is trained."""
    return TrainConfig(epochs=0, augment="none")


VARIANTS = {
    "plain": Variant(HardPromptConfig(), recipe, "Schick and Schuetze 2021 (arXiv:2001.07676), untrained"),
    "calibrated": Variant(
        HardPromptConfig(calibrate="contextual", rule="logsumexp"),
        recipe,
        "Zhao et al. 2021 (arXiv:2102.09690): probabilities of words summed, divided by content-free ones",
    ),
    "openprompt": Variant(
        HardPromptConfig(rule="mean_log_prob"), recipe, "Ding et al. 2022 (arXiv:2111.01998), ManualVerbalizer"
    ),
}
