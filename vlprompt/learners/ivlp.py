"""IVLP: independent deep prompts in both towers, or in one of them (VPT for CLIP, language prompting).

The baselines of MaPLe. Khattak et al., CVPR 2023 (arXiv:2210.03117), Table 1; image prompts are those of
VPT (Jia et al., ECCV 2022, arXiv:2203.12119), placed as in MaPLe's code (trainers/independentVL.py, trainers/vpt.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor

from vlprompt.backbones.clip import Clip
from vlprompt.data.batch import Batch
from vlprompt.deep_prompts import DeepPrompts
from vlprompt.errors import UsageError
from vlprompt.learners.base import PromptLearner, Reads, Variant, images_of
from vlprompt.recipe import TrainConfig


@dataclass(frozen=True)
class IVLPConfig:
    """The prompts of both towers (configs/trainers/IVLP/vit_b16_c2_ep5_batch4_2+2ctx.yaml)."""

    n_text: int = 2  # learned tokens in each layer of the text tower
    depth_text: int = 12  # layers of it with learned tokens, the input counted; 0 for none
    n_vision: int = 2  # learned tokens in each layer of the image tower
    depth_vision: int = 12  # layers of it with learned tokens, the input counted; 0 for none
    words: str = "a photo of a"  # the first n_text tokens start the text prompt, the others stay; "" for noise

    def __post_init__(self) -> None:
        """Raise UsageError where nothing would be learned, or a tower has tokens without depth."""
        text, vision = (self.n_text, self.depth_text), (self.n_vision, self.depth_vision)
        if min(*text, *vision) < 0 or (0 in text and any(text)) or (0 in vision and any(vision)):
            raise UsageError(
                f"n_text {self.n_text}, depth_text {self.depth_text}, n_vision {self.n_vision}, depth_vision "
                f"{self.depth_vision}: tokens and depth of a tower must both be 1 or more, or both 0."
            )
        if not any((*text, *vision)):
            raise UsageError("ivlp: both towers have depth 0, so there is nothing to learn; use zero_shot.")


@final
class IVLP(PromptLearner[Clip]):
    """Deep prompts of the text tower and of the image tower that know nothing of each other."""

    reads = Reads.IMAGES

    def __init__(self, clip: Clip, classes: Sequence[str], config: IVLPConfig = IVLPConfig(), *, seed: int = 0) -> None:
        super().__init__(clip, classes, config, seed=seed)
        self.prompts = DeepPrompts(
            clip,
            n_text=config.n_text,
            depth_text=config.depth_text,
            n_vision=config.n_vision,
            depth_vision=config.depth_vision,
            words=config.words,
            seed=seed,
        )
        self.rebuild()

    def rebuild(self) -> None:
        """Lay the prompts out for the current class names."""
        self.prompts.lay_out(self.backbone, self.classes)

    @property
    def keeps_classes(self) -> str:
        """Any names will do."""
        return ""

    def text(self) -> Tensor:
        """(1, C, E) text features."""
        return self.prompts.encode_text(self.backbone)

    def soft_tokens(self) -> Mapping[str, Tensor]:
        """The tokens at the text tower's input; those of later layers stand among states, not among words."""
        return {} if self.prompts.text is None else {"prompts": self.prompts.text[0]}

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        features = self.prompts.encode_image(self.backbone, images_of(batch))
        return self.backbone.scores(features, self.once("text", self.text))


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """Both towers: batches of 4, 5 epochs (vit_b16_c2_ep5_batch4_2+2ctx.yaml)."""
    return TrainConfig(epochs=5, batch_size=4, lr=0.0035)


def one_tower_recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """One tower (VPT/vit_b16_c2_ep5_batch4_4.yaml, IVLP/vit_b16_c2_ep5_batch4_4ctx_language_only.yaml)."""
    return TrainConfig(epochs=5, batch_size=4, lr=0.0025)


VARIANTS = {
    "ivlp-paper": Variant(IVLPConfig(), recipe, "Khattak et al. 2023a (arXiv:2210.03117): 2+2 tokens, 12 layers"),
    "vpt-deep": Variant(
        IVLPConfig(n_text=0, depth_text=0, n_vision=8),
        one_tower_recipe,
        "Khattak et al. 2023a, deep vision prompting: 8 tokens, 12 layers, 'a photo of a {}.'",
    ),
    "vpt-shallow": Variant(
        IVLPConfig(n_text=0, depth_text=0, n_vision=8, depth_vision=1),
        one_tower_recipe,
        "as vpt-deep, at the input only (Jia et al. 2022, arXiv:2203.12119)",
    ),
    "language-only": Variant(
        IVLPConfig(n_text=4, n_vision=0, depth_vision=0),
        one_tower_recipe,
        "Khattak et al. 2023a, deep language prompting: 4 tokens, 12 layers",
    ),
}
