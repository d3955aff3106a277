"""ProGrad: only learn what general knowledge does not object to. Zhu et al., ICCV 2023 (arXiv:2205.14865).

    g_d: gradient of the cross-entropy;  g_g: gradient of KL(zero-shot || prompt) at temperature T
    g = g_d                                     where <g_d, g_g> >= 0
    g = g_d - lambda * <g_d, g_g> / |g_g|^2 * g_g    otherwise

As in the authors' code (BeierZhu/Prompt-align, trainers/prograd.py) the context's M tokens open with zeros, before the
words of the data set's template; here the words are counted in tokens, theirs in words, which splits "pet,".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.backbones.clip import Clip
from vlprompt.classifier import template_features
from vlprompt.data.batch import Batch
from vlprompt.data.task import Task
from vlprompt.errors import UsageError
from vlprompt.init import from_words
from vlprompt.layout import PromptLayout
from vlprompt.learners.base import PromptLearner, Reads, Variant, features_of
from vlprompt.recipe import TrainConfig
from vlprompt.templates import ensemble


@dataclass(frozen=True)
class ProGradConfig:
    """The context of ProGrad and its gradient rule."""

    n_ctx: int = 16  # M (paper, section 4.1; scripts/prograd.sh)
    template: str = ""  # of the zero-shot model and the start; none: the task's first, or "a photo of a {}."
    strength: float = 1.0  # lambda; the README says 0.8 for Flowers102, DTD and EuroSAT at 8 and 16 shots
    temperature: float = 1.0  # T (configs/trainers/ProGrad/*.yaml)

    def __post_init__(self) -> None:
        """Raise UsageError for a context without tokens, a template without a place, or a temperature of 0."""
        if self.n_ctx < 1 or not self.strength >= 0 or not self.temperature > 0:
            raise UsageError("prograd: n_ctx must be 1 or more, strength 0 or more, temperature above 0.")
        if self.template:
            ensemble([self.template])


@final
class ProGrad(PromptLearner[Clip]):
    """One learned context for all classes; its gradient never works against the zero-shot model."""

    keeps_whole_batches = "it projects the gradient of a whole batch"
    reads = Reads.FEATURES
    frozen: Tensor  # (C, E) normalised text features of the zero-shot model

    def __init__(
        self, clip: Clip, classes: Sequence[str], config: ProGradConfig = ProGradConfig(), *, seed: int = 0
    ) -> None:
        super().__init__(clip, classes, config, seed=seed)
        self.template = opening(config.template or "a photo of a {}.")
        words = from_words(clip, self.template.partition("{}")[0])
        if len(words) > config.n_ctx:
            raise UsageError(f"n_ctx is {config.n_ctx}, the template {self.template!r} needs {len(words)} tokens.")
        start = torch.cat([words.new_zeros(config.n_ctx - len(words), words.shape[1]), words])
        self.context = nn.Parameter(start.to(clip.device))  # (M, D)
        self.rebuild()

    @classmethod
    def for_task(cls, backbone: Clip, task: Task, config: ProGradConfig, *, seed: int = 0) -> Self:
        """Use the task's template where the configuration names none."""
        return cls(backbone, task.classes, replace(config, template=config.template or task.templates[0]), seed=seed)

    def rebuild(self) -> None:
        """Lay the prompts out for the current class names, and encode the zero-shot ones."""
        self.layout = PromptLayout(self.backbone, self.classes, len(self.context))
        frozen = template_features(self.backbone, self.classes, [self.template])
        self.register_buffer("frozen", frozen, persistent=False)

    @property
    def keeps_classes(self) -> str:
        """Any names will do."""
        return ""

    def text(self) -> Tensor:
        """(1, C, E) text features."""
        return self.backbone.encode_text(self.layout.fill(self.context[None]))

    def soft_tokens(self) -> Mapping[str, Tensor]:
        """The learned context."""
        return {"context": self.context}

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        return self.backbone.scores(features_of(batch), self.once("text", self.text))

    def backward(self, batch: Batch) -> Tensor:
        """Leave the projected gradient on the context; returns the cross-entropy."""
        scores = self(batch)
        loss = F.cross_entropy(scores, batch.labels)
        (general,) = torch.autograd.grad(self.divergence(scores, batch), self.context, retain_graph=True)
        (own,) = torch.autograd.grad(loss, self.context)
        self.context.grad = without_conflict(own, general, self.config.strength)
        return loss.detach()

    def divergence(self, scores: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy from the zero-shot model's answers, which has the gradient of the KL divergence."""
        temperature = float(self.config.temperature)
        teacher = (self.backbone.scores(features_of(batch), self.frozen) / temperature).softmax(dim=-1)
        return F.cross_entropy(scores / temperature, teacher) * temperature**2


def without_conflict(own: Tensor, general: Tensor, strength: float) -> Tensor:
    """`own`, less `strength` of its part along `general` where the two point apart."""
    direction = F.normalize(general.flatten(), dim=0).view_as(general)
    along = (own * direction).sum()
    return own - strength * along.clamp(max=0) * direction


def opening(template: str) -> str:
    """The template with all words before the name, where a context stands; this makes the authors' out of CoOp's.

    "a photo of a {}, a type of pet." becomes "a type of pet, a photo of a {}.", "{} texture." "a texture of {}."
    """
    before, _, after = (part.strip(" ,.") for part in template.partition("{}"))
    if not after:
        return template
    return f"{after}, {before} {{}}." if before else f"a {after} of {{}}."


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:
    """CoOp's training by shots, ImageNet 50 epochs (ProGrad.public/README.md, configs/trainers/ProGrad/*.yaml)."""
    return TrainConfig(epochs=50 if shots <= 1 or dataset == "imagenet" else 100 if shots <= 4 else 200)


VARIANTS = {"prograd-paper": Variant(ProGradConfig(), recipe, "Zhu et al. 2023 (arXiv:2205.14865): M=16, lambda=1")}
