"""PromptSRC: prompts that regulate themselves. Khattak et al., ICCV 2023 (arXiv:2307.06948).

    loss = CE + 25 mean|g - g~| + 10 mean|f - f~| + KL(softmax z~ || softmax z) / (B C)      (section 3.2)
    prompts = sum_e w_e prompts_e,  w_e a normal density over epochs e = 1..E, summing to 1   (section 3.3)

g, f, z are text features, image features and scores; with ~ those of the frozen model, on the same augmented images.
As in the authors' code (trainers/promptsrc.py) g~ is the mean of 60 templates' features before they are normalised. The
code averages the whole model; here only what is learned, which is all that changes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor

from vlprompt.backbones.clip import Clip
from vlprompt.data.batch import Batch
from vlprompt.data.loaders import Batches
from vlprompt.deep_prompts import DeepPrompts
from vlprompt.errors import UsageError
from vlprompt.learners.base import PromptLearner, Reads, Variant, images_of
from vlprompt.recipe import TrainConfig
from vlprompt.templates import IMAGENET_60, ensemble


@dataclass(frozen=True)
class PromptSRCConfig:
    """The prompts and what holds them back (configs/trainers/PromptSRC/vit_b16_c2_ep20_batch4_4+4ctx.yaml)."""

    n_text: int = 4  # learned tokens in each layer of the text tower
    depth_text: int = 9  # layers of it with learned tokens, the input counted
    n_vision: int = 4  # learned tokens in each layer of the image tower
    depth_vision: int = 9  # layers of it with learned tokens, the input counted
    words: str = "a photo of a"  # the first n_text tokens start the text prompt, the others stay; "" for noise
    text_weight: float = 25.0  # of the distance of text features
    image_weight: float = 10.0  # of the distance of image features
    gpa_mean: float = 15.0  # the epoch that counts most in the average of prompts
    gpa_std: float = 1.0  # how many epochs around it count
    templates: tuple[str, ...] = ()  # of the frozen text features; none: PromptSRC's 60 for ImageNet

    def __post_init__(self) -> None:
        """Raise UsageError for prompts without tokens or depth, weights below 0, or a template without a place."""
        object.__setattr__(self, "templates", tuple(self.templates))
        for name in ("n_text", "depth_text", "n_vision", "depth_vision"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be 1 or more.")
        if not (self.text_weight >= 0 and self.image_weight >= 0 and self.gpa_std > 0):
            raise UsageError("promptsrc: text_weight and image_weight must be 0 or more, gpa_std above 0.")
        if self.templates:
            ensemble(self.templates)


@final
class PromptSRC(PromptLearner[Clip]):
    """Independent deep prompts of both towers that stay near the frozen model, averaged over training."""

    reads = Reads.IMAGES

    def __init__(
        self, clip: Clip, classes: Sequence[str], config: PromptSRCConfig = PromptSRCConfig(), *, seed: int = 0
    ) -> None:
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
        self.frozen: Tensor | None = None  # (C, E), made when training first asks for it
        for name, parameter in self.trainable().items():
            self.register_buffer(_average_of(name), torch.zeros_like(parameter.data), persistent=False)
        self.rebuild()

    def rebuild(self) -> None:
        """Lay the prompts out for the current class names."""
        self.prompts.lay_out(self.backbone, self.classes)
        self.frozen = None

    @property
    def keeps_classes(self) -> str:
        """Any names will do."""
        return ""

    def text(self) -> Tensor:
        """(1, C, E) text features."""
        return self.prompts.encode_text(self.backbone)

    def frozen_text(self) -> Tensor:
        """(C, E): the mean over templates of the frozen model's text features, as they are."""
        if self.frozen is None:
            templates = ensemble(self.config.templates or _known_of_sixty(self.backbone))
            each = (self.backbone.encode_texts([template(name) for name in self.classes]) for template in templates)
            self.frozen = sum(each, start=torch.zeros((), device=self.backbone.device)) / len(templates)
        return self.frozen

    def soft_tokens(self) -> Mapping[str, Tensor]:
        """The tokens at the text tower's input; those of later layers stand among states, not among words."""
        return {} if self.prompts.text is None else {"prompts": self.prompts.text[0]}

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        features = self.prompts.encode_image(self.backbone, images_of(batch))
        return self.backbone.scores(features, self.once("text", self.text))

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy, and the distances from the frozen model's features and scores."""
        return torch.stack(list(self.losses(batch).values())).sum()

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The terms of the loss, weighted: "ce", "text", "image" and "scores"."""
        clip, config = self.backbone, self.config
        text, image = self.text()[0], self.prompts.encode_image(clip, images_of(batch))
        with torch.no_grad():
            frozen_text, frozen_image = self.frozen_text(), clip.encode_image(images_of(batch))
            teacher = clip.scores(frozen_image, frozen_text).log_softmax(dim=-1)
        scores = clip.scores(image, text)
        student = scores.log_softmax(dim=-1)
        return {
            "ce": F.cross_entropy(scores, batch.labels),
            "text": config.text_weight * _distance(text, frozen_text),
            "image": config.image_weight * _distance(image, frozen_image),
            "scores": F.kl_div(student, teacher, reduction="sum", log_target=True) / scores.numel(),
        }

    def prepare(self, train: Batches, val: Batches | None) -> None:  # noqa: ARG002
        """Forget the average of a training before."""
        for average in self.memory().values():
            average.zero_()

    def memory(self) -> dict[str, Tensor]:
        """The average of the prompts so far, by the names of what is learned."""
        return {name: self.get_buffer(_average_of(name)) for name in self.trainable()}

    @torch.no_grad()
    def end_epoch(self, epoch: int, epochs: int) -> None:
        """Add an epoch's prompts to the average; after the last, the average takes their place."""
        share = self.shares(epochs)[epoch - 1]
        for average, parameter in zip(self.memory().values(), self.trainable().values(), strict=True):
            average.add_(parameter, alpha=share)
            if epoch == epochs:
                parameter.copy_(average)

    def shares(self, epochs: int) -> list[float]:
        """How much each epoch's prompts count; the sum is 1, and stays so where all epochs are far from the mean."""
        epoch = torch.arange(1, epochs + 1, dtype=torch.float64)
        away = (epoch - self.config.gpa_mean) / self.config.gpa_std
        return (-away.square() / 2).softmax(dim=0).tolist()  # type: ignore[no-any-return]


def _distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of normalised features, both (N, E)."""
    return F.l1_loss(F.normalize(a, dim=-1), F.normalize(b, dim=-1))


def _known_of_sixty(clip: Clip) -> list[str]:
    """PromptSRC's templates; of these, to a model of few words, only those it has seen all words of."""
    known, pieces = clip.tokenizer.known, clip.tokenizer.pieces
    return [text for text in IMAGENET_60 if known is None or known.issuperset(pieces(text.replace("{}", "")))]


def _average_of(name: str) -> str:
    """The buffer that holds the average of a learned tensor."""
    return f"average_{name.replace('.', '_')}"


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """Base-to-new and cross-dataset: batches of 4, 20 epochs (vit_b16_c2_ep20_batch4_4+4ctx*.yaml)."""
    return TrainConfig(epochs=20, batch_size=4, lr=0.0025)


def few_shot_recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """Few-shot: 50 epochs (vit_b16_c2_ep50_batch4_4+4ctx_few_shot.yaml)."""
    return TrainConfig(epochs=50, batch_size=4, lr=0.0025)


PAPER = "Khattak et al. 2023b (arXiv:2307.06948)"
VARIANTS = {
    "promptsrc-paper": Variant(PromptSRCConfig(), recipe, f"{PAPER}, base-to-new: 4+4 tokens, 9 layers"),
    "promptsrc-cross-dataset": Variant(
        PromptSRCConfig(depth_text=3, depth_vision=3, gpa_mean=6, gpa_std=10), recipe, f"{PAPER}: 3 layers"
    ),
    "promptsrc-few-shot": Variant(
        PromptSRCConfig(gpa_mean=30, gpa_std=30),
        few_shot_recipe,
        f"{PAPER}, few-shot: ImageNet, Caltech101, OxfordPets, Food101, UCF101, SUN397",
    ),
    "promptsrc-few-shot-late": Variant(
        PromptSRCConfig(gpa_mean=45, gpa_std=5),
        few_shot_recipe,
        f"{PAPER}, few-shot: StanfordCars, Flowers102, FGVCAircraft, DTD, EuroSAT",
    ),
}
