"""CoOp: learn the words around a class name. Zhou et al., IJCV 2022 (arXiv:2109.01134).

Here a context that starts from words may be class-specific: every class starts from the same words. The authors' code
silently ignores the class-specific flag in that case. M counts tokens, theirs counts words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor, nn

from vlprompt.backbones.clip import Clip
from vlprompt.config import CountOrZero
from vlprompt.prompts.context import CLASS_SPECIFIC, Position, PromptLayout
from vlprompt.prompts.context_learner import ContextLearner
from vlprompt.prompts.recipes import recipe
from vlprompt.prompts.words import StartConfig, start_context
from vlprompt.training.config import TrainConfig, Variant


@dataclass(frozen=True)
class CoOpConfig(StartConfig):
    """The context of CoOp."""

    n_ctx: CountOrZero = 0  # M, learned context tokens; 0: as many as `words` have, or 16 (paper)
    words: str = ""  # start from these words ("a photo of a") instead of noise
    position: Position = "end"  # of the class name: end, middle or front
    class_specific: bool = False  # a context per class instead of one for all


@final
class CoOp(ContextLearner[CoOpConfig]):
    """One learned context for all classes, or one each."""

    Config = CoOpConfig

    def __init__(self, clip: Clip, classes: Sequence[str], config: CoOpConfig | None = None, *, seed: int = 0) -> None:
        super().__init__(clip, classes, config, seed=seed)
        each = [len(self.classes)] if self.config.class_specific else []
        self.why_classes_fixed = CLASS_SPECIFIC if self.config.class_specific else ""
        context = start_context(clip, self.config, *each, tokens=16, seed=seed)
        self.context = nn.Parameter(context)  # (M, D) or (C, M, D)
        self.rebuild()

    def rebuild(self) -> None:
        """Lay out the prompts of the current class names."""
        self.layout = PromptLayout(
            self.backbone,
            self.classes,
            self.context.shape[-2],
            position=self.config.position,
            class_specific=self.config.class_specific,
        )

    def context_layout(self) -> PromptLayout:
        """The place of the context in the prompts."""
        return self.layout

    def initial_contexts(self, features: Tensor, *, reference_quirks: bool = False) -> Tensor:  # noqa: ARG002
        """(1, M, D), or (1, C * M, D): the learned context, from which tuning starts for every image."""
        return self.context.reshape(1, -1, self.context.shape[-1])


def cocoop_paper_recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """CoOp as the CoCoOp paper trained it: 200 epochs, ImageNet 50 (CoOp, scripts/cocoop/base2new_train.sh)."""
    return TrainConfig(epochs=50 if dataset == "imagenet" else 200)


VARIANTS = {
    "coop-paper": Variant(CoOpConfig(n_ctx=16), recipe, "Zhou et al. 2022a (arXiv:2109.01134): M=16, from noise"),
    "coop-paper-csc": Variant(
        CoOpConfig(n_ctx=16, class_specific=True), recipe, "Zhou et al. 2022a: M=16, from noise, a context per class"
    ),
    "cocoop-paper": Variant(
        CoOpConfig(n_ctx=4, words="a photo of a"),
        cocoop_paper_recipe,
        "Zhou et al. 2022b (arXiv:2203.05557): M=4, from 'a photo of a'",
    ),
}
