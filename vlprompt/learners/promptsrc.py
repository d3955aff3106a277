"""PromptSRC: prompts that regulate themselves. Khattak et al., ICCV 2023 (arXiv:2307.06948).

    loss = CE + 25 mean|g - g~| + 10 mean|f - f~| + KL(softmax z~ || softmax z) / (B C)      (section 3.2)
    prompts = sum_e w_e prompts_e,  w_e a normal density over epochs e = 1..E, summing to 1   (section 3.3)

g, f, z are text features, image features and scores; with ~ those of the frozen model, on the same augmented images.
As in the authors' code (trainers/promptsrc.py) g~ is the mean of 60 templates' features before they are normalised. The
code averages the whole model; here only what is learned, since nothing else changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor

from vlprompt.backbones.clip import Clip
from vlprompt.config import CountOrZero, NonNegative, Positive
from vlprompt.data.batch import Batch, images_of
from vlprompt.data.batches import Batches
from vlprompt.data.templates import IMAGENET_60, Templates, ensemble
from vlprompt.prompts.deep import DeepConfig, DeepLearner
from vlprompt.training.config import TrainConfig, Variant


@dataclass(frozen=True)
class PromptSRCConfig(DeepConfig):
    """The prompts and their regularisation (configs/trainers/PromptSRC/vit_b16_c2_ep20_batch4_4+4ctx.yaml)."""

    n_text: CountOrZero = 4
    depth_text: CountOrZero = 9
    n_vision: CountOrZero = 4
    depth_vision: CountOrZero = 9
    text_weight: NonNegative = 25.0  # of the distance of text features
    image_weight: NonNegative = 10.0  # of the distance of image features
    gpa_mean: float = 15.0  # the epoch with the largest weight in the average of prompts
    gpa_std: Positive = 1.0  # standard deviation of these weights, in epochs
    templates: Templates = ()  # of the frozen text features; none: PromptSRC's 60 for ImageNet


@final
class PromptSRC(DeepLearner[PromptSRCConfig]):
    """Independent deep prompts of both towers that stay near the frozen model, averaged over training."""

    Config = PromptSRCConfig

    def __init__(
        self, clip: Clip, classes: Sequence[str], config: PromptSRCConfig | None = None, *, seed: int = 0
    ) -> None:
        super().__init__(clip, classes, config, seed=seed)
        self.averages: dict[str, Tensor] = {}  # of the prompts so far, by the names of what is learned

    def rebuild(self) -> None:
        """Lay out the prompts of the current class names."""
        super().rebuild()
        self.frozen: Tensor | None = None  # (C, E), computed when training first reads it

    def frozen_text(self) -> Tensor:
        """(C, E): the mean over templates of the frozen model's text features, not normalised."""
        if self.frozen is None:
            templates = ensemble(self.config.templates or _readable_templates(self.backbone))
            each = (self.backbone.encode_texts([template(name) for name in self.classes]) for template in templates)
            self.frozen = sum(each, start=torch.zeros((), device=self.backbone.device)) / len(templates)
        return self.frozen

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy, and the distances from the frozen model's features and scores."""
        return torch.stack(list(self.losses(batch).values())).sum()

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The weighted terms of the loss: "ce", "text", "image" and "scores"."""
        clip, config = self.backbone, self.config
        text, image = self.text()[0], self.image_features(batch)
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
        """Start a new average."""
        self.averages = {name: torch.zeros_like(parameter.data) for name, parameter in self.trainable().items()}

    def training_state(self) -> dict[str, Tensor]:
        """The average of the prompts so far."""
        return self.averages

    @torch.no_grad()
    def end_epoch(self, epoch: int, epochs: int) -> None:
        """Add an epoch's prompts to the average; after the last epoch, the average replaces the prompts."""
        weight = self.epoch_weights(epochs)[epoch - 1]
        for name, parameter in self.trainable().items():
            self.averages[name].add_(parameter, alpha=weight)
            if epoch == epochs:
                parameter.copy_(self.averages[name])

    def epoch_weights(self, epochs: int) -> list[float]:
        """The weight of each epoch's prompts; the sum is 1, also where all epochs are far from `gpa_mean`."""
        epoch = torch.arange(1, epochs + 1, dtype=torch.float64)
        away = (epoch - self.config.gpa_mean) / self.config.gpa_std
        return (-away.square() / 2).softmax(dim=0).tolist()


def _distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of normalised features, both (N, E)."""
    return F.l1_loss(F.normalize(a, dim=-1), F.normalize(b, dim=-1))


def _readable_templates(clip: Clip) -> list[str]:
    """PromptSRC's templates; for a model of few words, only those whose words it has all been trained on."""
    trained, pieces = clip.tokenizer.trained_ids, clip.tokenizer.pieces
    return [text for text in IMAGENET_60 if trained is None or trained.issuperset(pieces(text.replace("{}", "")))]


# Base-to-new and cross-dataset (vit_b16_c2_ep20_batch4_4+4ctx*.yaml).
RECIPE = TrainConfig(epochs=20, batch_size=4, lr=0.0025)
FEW_SHOT_RECIPE = TrainConfig(epochs=50, batch_size=4, lr=0.0025)  # vit_b16_c2_ep50_batch4_4+4ctx_few_shot.yaml

PAPER = "Khattak et al. 2023b (arXiv:2307.06948)"
VARIANTS = {
    "promptsrc-paper": Variant(PromptSRCConfig(), RECIPE, f"{PAPER}, base-to-new: 4+4 tokens, 9 layers"),
    "promptsrc-cross-dataset": Variant(
        PromptSRCConfig(depth_text=3, depth_vision=3, gpa_mean=6, gpa_std=10), RECIPE, f"{PAPER}: 3 layers"
    ),
    "promptsrc-few-shot": Variant(
        PromptSRCConfig(gpa_mean=30, gpa_std=30),
        FEW_SHOT_RECIPE,
        f"{PAPER}, few-shot: ImageNet, Caltech101, OxfordPets, Food101, UCF101, SUN397",
    ),
    "promptsrc-few-shot-late": Variant(
        PromptSRCConfig(gpa_mean=45, gpa_std=5),
        FEW_SHOT_RECIPE,
        f"{PAPER}, few-shot: StanfordCars, Flowers102, FGVCAircraft, DTD, EuroSAT",
    ),
}
