"""CoOp: learn the words around a class name. Zhou et al., IJCV 2022 (arXiv:2109.01134).

Here a context that starts from words may be class-specific, every class starting from the same words; the authors'
code drops the class-specific flag without a word in that case. M counts tokens, theirs counts words.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor, nn

from vlprompt.backbones.clip import Clip
from vlprompt.backbones.prompts import TextPrompt
from vlprompt.data.batch import Batch
from vlprompt.errors import UsageError
from vlprompt.init import from_words, normal
from vlprompt.layout import Position, PromptLayout
from vlprompt.learners.base import PromptLearner, Reads, Variant, features_of
from vlprompt.recipe import TrainConfig


@dataclass(frozen=True)
class CoOpConfig:
    """The context of CoOp."""

    n_ctx: int = 16  # M, learned context tokens (paper: 16); with `words`, as many as these have tokens
    words: str = ""  # start from these words ("a photo of a") instead of noise
    position: Position = "end"  # where the class name stands: end, middle or front
    class_specific: bool = False  # a context per class instead of one for all

    def __post_init__(self) -> None:
        """Raise UsageError for a context without tokens."""
        if self.n_ctx < 1:
            raise UsageError(f"n_ctx is {self.n_ctx}; a context needs 1 token or more.")


@final
class CoOp(PromptLearner[Clip]):
    """One learned context for all classes, or one each; image features never change."""

    reads = Reads.FEATURES

    def __init__(self, clip: Clip, classes: Sequence[str], config: CoOpConfig = CoOpConfig(), *, seed: int = 0) -> None:
        super().__init__(clip, classes, config, seed=seed)
        copies = (len(self.classes),) if config.class_specific else ()
        if config.words:
            words = from_words(clip, config.words)
            start = words.expand(*copies, *words.shape).clone()
        else:
            start = normal(*copies, config.n_ctx, clip.text_width, seed=seed)
        self.context = nn.Parameter(start.to(clip.device))  # (M, D) or (C, M, D)
        self.rebuild()

    def rebuild(self) -> None:
        """Lay the prompts out for the current class names."""
        self.layout = PromptLayout(
            self.backbone,
            self.classes,
            self.context.shape[-2],
            position=self.config.position,
            class_specific=self.config.class_specific,
        )

    @property
    def keeps_classes(self) -> str:
        """A context per class has nothing to say of a new class."""
        return "its context is class-specific; train with class_specific=False" if self.config.class_specific else ""

    def prompt(self) -> TextPrompt:
        """The prompts of all classes, one variant."""
        return self.layout.fill(self.starts())

    def starts(self, features: Tensor | None = None, *, reference_quirks: bool = False) -> Tensor:  # noqa: ARG002
        """(1, M, D), or (1, C * M, D): the learned context, which is where tuning starts for every image."""
        return self.context.reshape(1, -1, self.context.shape[-1])

    def text(self) -> Tensor:
        """(1, C, E) text features."""
        return self.backbone.encode_text(self.prompt())

    def soft_tokens(self) -> Mapping[str, Tensor]:
        """The learned context."""
        return {"context": self.context}

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        return self.backbone.scores(features_of(batch), self.once("text", self.text))


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:
    """The CoOp paper's training: 50, 100 or 200 epochs by shots, ImageNet always 50 (CoOp, COOP.md)."""
    epochs = 50 if shots <= 1 or dataset == "imagenet" else 100 if shots <= 4 else 200
    return TrainConfig(epochs=epochs)


def cocoop_paper_recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """CoOp as the CoCoOp paper trained it: 200 epochs, ImageNet 50 (CoOp, scripts/cocoop/base2new_train.sh)."""
    return TrainConfig(epochs=50 if dataset == "imagenet" else 200)


VARIANTS = {
    "coop-paper": Variant(CoOpConfig(), recipe, "Zhou et al. 2022a (arXiv:2109.01134): M=16, from noise"),
    "coop-paper-csc": Variant(
        CoOpConfig(class_specific=True), recipe, "Zhou et al. 2022a: M=16, from noise, a context per class"
    ),
    "cocoop-paper": Variant(
        CoOpConfig(n_ctx=4, words="a photo of a"),
        cocoop_paper_recipe,
        "Zhou et al. 2022b (arXiv:2203.05557): M=4, from 'a photo of a'",
    ),
}
