"""DAPL: words shared by all domains and words of each, learned with pseudo-labels. Ge et al. 2022 (arXiv:2202.06687).

    prompt of class k in domain d:  [v]_1 .. [v]_M1 [d]_1 .. [d]_M2 CLASS, a DOMAIN image.
    loss = CE(source images, their labels) + weight * CE(target images, pseudo-labels of at least tau)

Pseudo-labels come from the frozen zero-shot head, on the view of the image that is trained on, as in the authors' code
(LeapLabTHU/DAPrompt, trainers/dapl.py). Any number of sources; the last domain is the target, and its prompts answer.

Where the code differs from the paper: it writes the domain into the prompt by hand (`domain_words`, "" for the paper's
prompt) and takes probabilities within a domain, where the paper takes them over all domains (`denominator` "joint").
`reference_quirks` brings back its slips: two full stops and underscores in those words, and a step without any
pseudo-label is thrown away whole (its loss is 0 / 0, and the loss scaler skips it), where here such a step learns from
the source alone. Another slip, a schedule that counts steps as epochs, is in the recipe of "dapl-released". One thing
it does is not offered: keeping the epoch that is best on the target's test labels. Here the last step counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self, final, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.backbones.clip import Clip
from vlprompt.backbones.prompts import TextPrompt, as_variants
from vlprompt.classifier import template_features
from vlprompt.data.batch import Batch
from vlprompt.data.task import Task
from vlprompt.errors import UsageError, unknown, warn
from vlprompt.init import normal
from vlprompt.layout import PromptLayout
from vlprompt.learners.base import PromptLearner, Reads, Variant, features_of
from vlprompt.recipe import TrainConfig
from vlprompt.templates import ensemble, readable

Denominator = Literal["domain", "joint"]


@dataclass(frozen=True)
class DAPLConfig:
    """The contexts of DAPL, and what counts as a pseudo-label. Defaults: configs/trainers/DAPL and scripts/main.sh."""

    n_ctx: int = 16  # M1, tokens that all domains share
    n_domain_ctx: int = 16  # M2, tokens of each domain, shared by its classes
    class_specific: bool = False  # the shared tokens are each class's own (the code's VisDA-17; not its Office-Home)
    domain_words: str = ", a {} image"  # what follows the class name, {} for the domain; "" for nothing (the paper)
    domains: tuple[str, ...] = ()  # names, the target last; none: the task's own, or "source" and "target"
    templates: tuple[str, ...] = ()  # of the zero-shot head; none: the task's own, or "a photo of a {}."
    temperature: float = 1.0  # T, divides the zero-shot scores
    tau: float = 0.5  # the least confidence of a pseudo-label
    weight: float = 1.0  # U, of the target's loss
    denominator: Denominator = "domain"  # probabilities within a domain (the code) or over all (the paper)
    reference_quirks: bool = False  # what the released code does by mistake, see above

    def __post_init__(self) -> None:
        """Raise UsageError for contexts without tokens, numbers out of range, or names that cannot be."""
        for name in ("domains", "templates"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.n_ctx < 1 or self.n_domain_ctx < 1:
            raise UsageError(f"n_ctx {self.n_ctx}, n_domain_ctx {self.n_domain_ctx}: each must be 1 token or more.")
        if not (0 <= self.tau <= 1 and self.temperature > 0 and self.weight >= 0):
            raise UsageError(
                f"tau {self.tau}, temperature {self.temperature}, weight {self.weight}: tau must be from 0 to 1, "
                "temperature above 0, weight 0 or more."
            )
        if self.denominator not in get_args(Denominator):
            raise unknown("denominator", self.denominator, get_args(Denominator))
        if self.domain_words.count("{}") != bool(self.domain_words):
            raise UsageError(f"domain_words {self.domain_words!r} must hold {{}} once, for the domain, or be empty.")
        if len(self.domains) == 1:
            raise UsageError(f"domains {list(self.domains)}: give a source and a target, or more sources.")
        if self.templates:
            ensemble(self.templates)


@final
class DAPL(PromptLearner[Clip]):
    """A context for all domains and one for each; the target's is learned from pseudo-labels."""

    keeps_whole_batches = "its loss weighs a batch's labelled against its unlabelled images"
    reads = Reads.FEATURES
    adapts = True
    frozen: Tensor  # (C, E) normalised text features of the zero-shot head

    def __init__(
        self, clip: Clip, classes: Sequence[str], config: DAPLConfig = DAPLConfig(), *, seed: int = 0
    ) -> None:
        super().__init__(clip, classes, config, seed=seed)
        self.domains = config.domains or ("source", "target")
        copies = (len(self.classes),) if config.class_specific else ()
        shared, own = (*copies, config.n_ctx), (len(self.domains), config.n_domain_ctx)
        width, device = clip.text_width, clip.device
        self.context = nn.Parameter(normal(*shared, width, seed=seed).to(device))  # (M1, D) or (C, M1, D)
        self.domain_context = nn.Parameter(normal(*own, width, seed=seed + 1_000_003).to(device))  # (G, M2, D)
        self.surest = torch.zeros(())  # the highest confidence on a target image so far
        self.rebuild()

    @classmethod
    def for_task(cls, backbone: Clip, task: Task, config: DAPLConfig, *, seed: int = 0) -> Self:
        """Take the task's domains, and its templates, where the configuration names none."""
        domains, templates = config.domains or task.domains, config.templates or task.templates
        return cls(backbone, task.classes, replace(config, domains=domains, templates=templates), seed=seed)

    def rebuild(self) -> None:
        """Lay the prompts out for the current class names, and encode the hand-written ones."""
        tokens = self.config.n_ctx + self.config.n_domain_ctx
        self.layouts = nn.ModuleList(
            PromptLayout(
                self.backbone,
                self.classes,
                tokens,
                class_specific=self.config.class_specific,
                closing=self._closing(domain),
            )
            for domain in self.domains
        )
        frozen = template_features(self.backbone, self.classes, self.config.templates)
        self.register_buffer("frozen", frozen, persistent=False)

    def _closing(self, domain: str) -> str:
        """What follows the class name."""
        words = self.config.domain_words
        if words and self.config.reference_quirks:
            return f" {words.replace('{}', domain)}.."
        return f"{words.replace('{}', readable(domain))}."

    @property
    def keeps_classes(self) -> str:
        """A context per class has nothing to say of a new class."""
        return "its context is class-specific; train with class_specific=False" if self.config.class_specific else ""

    def prompt(self) -> TextPrompt:
        """The prompts of all classes, a variant for each domain."""
        prompts = []
        for layout, own in zip(self.layouts, self.domain_context, strict=True):
            assert isinstance(layout, PromptLayout)
            repeated = own.expand(*self.context.shape[:-2], *own.shape)
            tokens = torch.cat([self.context, repeated], dim=-2)  # (M1 + M2, D) or (C, M1 + M2, D)
            prompts.append(layout.fill(tokens.reshape(1, -1, tokens.shape[-1])))
        return as_variants(prompts)

    def text(self) -> Tensor:
        """(G, C, E) text features, G domains, the target last."""
        return self.backbone.encode_text(self.prompt())

    def soft_tokens(self) -> Mapping[str, Tensor]:
        """The context of all domains, and that of each."""
        return {"context": self.context, "domain_context": self.domain_context}

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C) by the target's prompts."""
        return self.backbone.scores(features_of(batch), self.once("text", self.text)[-1])

    @torch.no_grad()
    def pseudo_labels(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The zero-shot head's confidence in its answers, (B,), and the answers, (B,) int64."""
        scores = self.backbone.scores(features_of(batch), self.frozen)
        confidence, labels = (scores / self.config.temperature).softmax(dim=-1).max(dim=-1)
        return confidence, labels

    def losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The source's loss and the target's, which is 0 without a pseudo-label."""
        target = _unlabelled(batch)
        confidence, guesses = self.pseudo_labels(target)
        sure = confidence >= self.config.tau
        self.surest = torch.maximum(self.surest.to(confidence.device), confidence.max())
        text = self.text()
        sources = torch.zeros_like(batch.labels) if batch.domains is None else batch.domains
        targets = torch.full_like(guesses, len(self.domains) - 1)
        on_source = self._cross_entropy(text, batch, sources, batch.labels).mean()
        each = self._cross_entropy(text, target, targets, guesses)
        return on_source, (each * sure).sum() / sure.sum().clamp(min=1)

    def _cross_entropy(self, text: Tensor, batch: Batch, domains: Tensor, labels: Tensor) -> Tensor:
        """(B,) of each example as its class in its domain; text (G, C, E), domains and labels (B,)."""
        scores = self.backbone.scores(features_of(batch), text.flatten(0, 1))  # (B, G * C)
        if self.config.denominator == "joint":
            return F.cross_entropy(scores, domains * len(self.classes) + labels, reduction="none")
        by_domain = scores.reshape(len(scores), len(self.domains), -1)  # (B, G, C)
        own = by_domain[torch.arange(len(scores), device=scores.device), domains]  # (B, C)
        return F.cross_entropy(own, labels, reduction="none")

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy on the source plus that on the target's pseudo-labels."""
        on_source, on_target = self.losses(batch)
        return on_source + float(self.config.weight) * on_target

    def backward(self, batch: Batch) -> Tensor:
        """Leave a step's gradients; with the reference's quirks none (so no step) where no pseudo-label is sure."""
        if self.config.reference_quirks and self.pseudo_labels(_unlabelled(batch))[0].max() < self.config.tau:
            return self.loss(batch).detach()
        return super().backward(batch)

    def end_epoch(self, epoch: int, epochs: int) -> None:  # noqa: ARG002
        """Say so, once, where an epoch brought no pseudo-label."""
        if epoch == 1 and self.surest < self.config.tau:
            warn(
                f"tau {self.config.tau:g} left no pseudo-label in the first epoch (the highest confidence was "
                f"{float(self.surest):.4g}), so only the source is learned from; lower dapl.tau."
            )


def recipe(shots: int = 0, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """The code's training: 25 epochs at 3e-3, 32 images of each domain a step (configs/trainers/DAPL/*.yaml)."""
    return TrainConfig(epochs=25, lr=0.003, warmup="linear")


def released_recipe(shots: int = 0, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """What the code makes of it: the schedule moves with every step, 3e-3 to 0 and back in 50 steps (dapl.py:425)."""
    return TrainConfig(epochs=25, lr=0.003, warmup="linear", schedule="cosine-by-step")


def _unlabelled(batch: Batch) -> Batch:
    """The unlabelled examples of a batch; raises UsageError where it holds none."""
    if batch.unlabelled is None:
        raise UsageError("dapl learns from unlabelled examples, the batch holds none; make batches with vlprompt.feed.")
    return batch.unlabelled


VARIANTS = {
    "dapl-office-home": Variant(DAPLConfig(), recipe, "Ge et al. 2022 (arXiv:2202.06687): M1=M2=16, slips mended"),
    "dapl-visda17": Variant(DAPLConfig(class_specific=True), recipe, "Ge et al. 2022: a shared context per class"),
    "dapl-equations": Variant(
        DAPLConfig(domain_words="", denominator="joint"), recipe, "Ge et al. 2022 as written: no domain words, joint"
    ),
    "dapl-released": Variant(
        DAPLConfig(reference_quirks=True), released_recipe, "LeapLabTHU/DAPrompt as released, but its last step"
    ),
}
