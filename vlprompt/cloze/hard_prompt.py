"""Hard prompt: zero-shot cloze with hand-written words, calibrated or not.

The template and label words of Schick and Schuetze, EACL 2021 (arXiv:2001.07676), without training; calibration of Zhao
et al., ICML 2021 (arXiv:2102.09690). OpenPrompt's calibration over label words, another estimator, is "words".
"""

from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from vlprompt.cloze.parts import calibration
from vlprompt.cloze.parts.config import ClozeConfig
from vlprompt.cloze.parts.frozen import FrozenCloze
from vlprompt.cloze.parts.verbalizer import LEFT_TO_RIGHT, MASKS
from vlprompt.data.batch import Batch
from vlprompt.data.needs import Input, Needs
from vlprompt.errors import UsageError
from vlprompt.training.config import NO_TRAINING, Variant

Calibrate = Literal["none", "contextual", "contextual_identity", "words"]


@dataclass(frozen=True)
class HardPromptConfig(ClozeConfig):
    """A cloze without training."""

    calibrate: Calibrate = "none"  # "contextual": q / p_cf (Zhao et al.'s diagonal W); "contextual_identity": q - p_cf
    content_free: tuple[str, ...] = calibration.CONTENT_FREE  # content-free inputs, the text of every field

    def __post_init__(self) -> None:
        """Raise UsageError for a calibration that needs one blank, with words at several."""
        super().__post_init__()
        if self.calibrate != "none" and self.pieces in (*MASKS, *LEFT_TO_RIGHT):
            raise UsageError(f"calibrate {self.calibrate!r} reads one blank, pieces={self.pieces!r} several; use one.")


@final
class HardPrompt(FrozenCloze[HardPromptConfig]):
    """The scores of the label words, optionally corrected by those for content-free inputs; nothing is learned."""

    Config = HardPromptConfig
    needs = Needs(input=Input.TEXT_FEATURES, trains=False)

    def rebuild(self) -> None:
        """Look the label words up."""
        super().rebuild()
        if self.choices is not None and self.config.calibrate != "none":
            raise UsageError("candidates of each text have no content-free scores; set calibrate='none'.")

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        if self.config.calibrate == "none":
            return super().forward(batch)
        scores = self.word_scores(batch)
        empty = self.cached(f"content-free {self.config.words}", self.content_free_scores)
        if self.config.calibrate == "words":
            mean = self.verbalizer.words(empty[:, self.verbalizer.ids]).mean(0)
            return calibration.divide_words(self.verbalizer, self.verbalizer.words(scores), mean)
        prior = calibration.content_free_prior(self.verbalizer, calibration.log_probs(empty))
        correct = calibration.divide if self.config.calibrate == "contextual" else calibration.subtract
        return correct(self.verbalizer(scores), prior)

    @torch.no_grad()
    def content_free_scores(self) -> Tensor:
        """(N, V) scores of the whole vocabulary at the blank of the content-free inputs."""
        texts = calibration.content_free_examples(self.renderer.template.fields, self.config.content_free)
        every = torch.arange(self.backbone.vocabulary_size)
        return self.backbone.scores(self.renderer(texts), every)


VARIANTS = {
    "plain": Variant(HardPromptConfig(), NO_TRAINING, "Schick and Schuetze 2021 (arXiv:2001.07676), untrained"),
    "calibrated": Variant(
        HardPromptConfig(calibrate="contextual", rule="logsumexp"),
        NO_TRAINING,
        "Zhao et al. 2021 (arXiv:2102.09690): probabilities of words summed, divided by content-free ones",
    ),
    "openprompt": Variant(
        HardPromptConfig(rule="mean_log_prob"), NO_TRAINING, "Ding et al. 2022 (arXiv:2111.01998), ManualVerbalizer"
    ),
}
