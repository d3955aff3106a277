"""DAPL: words shared by all domains and words of each, learned with pseudo-labels. Ge et al. 2022 (arXiv:2202.06687).

    prompt of class k in domain d:  [v]_1 .. [v]_M1 [d]_1 .. [d]_M2 CLASS, a DOMAIN image.
    loss = CE(source images, their labels) + weight * CE(target images, pseudo-labels of at least tau)

Pseudo-labels come from the frozen zero-shot head, on the view of the image that is trained on, as in the authors' code
(LeapLabTHU/DAPrompt, trainers/dapl.py). There may be several sources; the last domain is the target, whose prompts
classify.

Where the code differs from the paper: it writes the domain into the prompt by hand (`domain_words`, "" for the paper's
prompt) and takes probabilities within a domain, where the paper takes them over all domains (`denominator` "joint").
`reference_quirks` restores faults of the code: two full stops and underscores in those words, and no step at all where
no pseudo-label is confident enough (the loss is 0 / 0, so the loss scaler skips it); here such a step learns from the
source alone. Another fault, a schedule that counts steps as epochs, is in the recipe of "dapl-released". Not offered:
the code chooses the epoch with the best accuracy on the target's test labels; here the last step counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.backbones.clip import Clip
from vlprompt.backbones.prompt_types import TextPrompt, stack_prompts
from vlprompt.config import Count, Fraction, NonNegative, Positive, Settings
from vlprompt.data.batch import Batch, features_of
from vlprompt.data.needs import Needs
from vlprompt.data.templates import OneName, Templates, readable
from vlprompt.errors import UsageError, warn
from vlprompt.prompts.context import CLASS_SPECIFIC, PromptLayout
from vlprompt.prompts.cosine import CosineLearner
from vlprompt.prompts.zero_shot_head import template_features
from vlprompt.randomness import normal
from vlprompt.training.config import TrainConfig, Variant

Denominator = Literal["domain", "joint"]
DomainWords = Annotated[str, OneName("empty, or with {} once, for the domain", optional=True)]


@dataclass(frozen=True)
class DAPLConfig(Settings):
    """The contexts of DAPL and its pseudo-labels. Defaults: configs/trainers/DAPL and scripts/main.sh."""

    n_ctx: Count = 16  # M1, tokens that all domains share
    n_domain_ctx: Count = 16  # M2, tokens of each domain, shared by its classes
    class_specific: bool = False  # the shared tokens are each class's own (the code's VisDA-17; not its Office-Home)
    domain_words: DomainWords = ", a {} image"  # words after the class name, {} for the domain; "" for none (the paper)
    domains: tuple[str, ...] = ()  # names, the target last; none: the task's own, or "source" and "target"
    templates: Templates = ()  # of the zero-shot head; none: the task's own, or "a photo of a {}."
    temperature: Positive = 1.0  # T, divides the zero-shot scores
    tau: Fraction = 0.5  # the least confidence of a pseudo-label
    weight: NonNegative = 1.0  # U, of the target's loss
    denominator: Denominator = "domain"  # probabilities within a domain (the code) or over all (the paper)
    reference_quirks: bool = False  # faults of the released code, see above

    def __post_init__(self) -> None:
        """Raise UsageError for a single domain."""
        super().__post_init__()
        if len(self.domains) == 1:
            raise UsageError(f"domains {list(self.domains)}: give a source and a target, or more sources.")


@final
class DAPL(CosineLearner[DAPLConfig]):
    """A context for all domains and one for each; the target's is learned from pseudo-labels."""

    Config = DAPLConfig
    needs = Needs(
        unlabelled=True, why_not_distributed="its loss weighs a batch's labelled against its unlabelled images"
    )
    from_task = ("domains", "templates")
    frozen: Tensor  # (C, E) normalised text features of the zero-shot head

    def __init__(self, clip: Clip, classes: Sequence[str], config: DAPLConfig | None = None, *, seed: int = 0) -> None:
        super().__init__(clip, classes, config, seed=seed)
        specific, n_ctx = self.config.class_specific, self.config.n_ctx
        self.why_classes_fixed = CLASS_SPECIFIC if specific else ""
        self.domains = self.config.domains or ("source", "target")
        shared = (len(self.classes), n_ctx) if specific else (n_ctx,)
        own, width = (len(self.domains), self.config.n_domain_ctx), clip.text_width
        self.context = nn.Parameter(normal(*shared, width, seed=seed).to(clip.device))  # (M1, D) or (C, M1, D)
        self.domain_context = nn.Parameter(normal(*own, width, seed=seed + 1_000_003).to(clip.device))  # (G, M2, D)
        self.highest = torch.zeros(())  # confidence on a target image so far
        self.rebuild()

    def rebuild(self) -> None:
        """Lay out the prompts of the current class names, and encode the hand-written ones."""
        tokens, specific = self.config.n_ctx + self.config.n_domain_ctx, self.config.class_specific
        self.layouts = nn.ModuleList(
            PromptLayout(self.backbone, self.classes, tokens, class_specific=specific, closing=self._closing(domain))
            for domain in self.domains
        )
        frozen = template_features(self.backbone, self.classes, self.config.templates)
        self.register_buffer("frozen", frozen, persistent=False)

    def _closing(self, domain: str) -> str:
        """The words after the class name."""
        words = self.config.domain_words
        if words and self.config.reference_quirks:
            return f" {words.replace('{}', domain)}.."
        return f"{words.replace('{}', readable(domain))}."

    def prompt(self) -> TextPrompt:
        """The prompts of all classes, a variant for each domain."""
        prompts = []
        for layout, own in zip(self.layouts, self.domain_context, strict=True):
            assert isinstance(layout, PromptLayout)
            repeated = own.expand(*self.context.shape[:-2], *own.shape)
            tokens = torch.cat([self.context, repeated], dim=-2)  # (M1 + M2, D) or (C, M1 + M2, D)
            prompts.append(layout.fill(tokens.reshape(1, -1, tokens.shape[-1])))
        return stack_prompts(prompts)

    def text(self) -> Tensor:
        """(G, C, E) text features in G domains, the target last."""
        return self.backbone.encode_text(self.prompt())

    def class_features(self) -> Tensor:
        """(C, E) of the target's prompts."""
        return self.cached("text", self.text)[-1]

    def soft_tokens(self) -> Mapping[str, Tensor]:
        """The context of all domains, and that of each."""
        return {"context": self.context, "domain_context": self.domain_context}

    @torch.no_grad()
    def pseudo_labels(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The zero-shot head's confidence in its predictions, (B,), and the predictions, (B,) int64."""
        scores = self.backbone.scores(features_of(batch), self.frozen)
        confidence, labels = (scores / self.config.temperature).softmax(dim=-1).max(dim=-1)
        return confidence, labels

    def losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The source's loss and the target's, which is 0 without a pseudo-label."""
        target = _unlabelled(batch)
        confidence, guesses = self.pseudo_labels(target)
        sure = confidence >= self.config.tau
        self.highest = torch.maximum(self.highest.to(confidence.device), confidence.max())
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
        return on_source + self.config.weight * on_target

    def backward(self, batch: Batch) -> Tensor:
        """Compute gradients; with `reference_quirks` none (so no step) where no pseudo-label reaches tau."""
        if self.config.reference_quirks and self.pseudo_labels(_unlabelled(batch))[0].max() < self.config.tau:
            return self.loss(batch).detach()
        return super().backward(batch)

    def end_epoch(self, epoch: int, epochs: int) -> None:  # noqa: ARG002
        """Warn, once, where the first epoch had no pseudo-label."""
        if epoch == 1 and self.highest < self.config.tau:
            warn(
                f"tau {self.config.tau:g} left no pseudo-label in the first epoch (the highest confidence was "
                f"{float(self.highest):.4g}), so DAPL learns from the source only; lower dapl.tau."
            )


def _unlabelled(batch: Batch) -> Batch:
    """The unlabelled examples of a batch; UsageError if it has none."""
    if batch.unlabelled is None:
        raise UsageError("dapl learns from unlabelled examples, the batch has none; use batches of vlprompt.data.feed.")
    return batch.unlabelled


# The code's: 32 images of each domain a step (configs/trainers/DAPL/*.yaml).
RECIPE = TrainConfig(epochs=25, lr=0.003, warmup="linear")

# As the code runs it: the schedule moves with every step, 3e-3 to 0 and back in 50 steps (dapl.py:425).
RELEASED_RECIPE = TrainConfig(epochs=25, lr=0.003, warmup="linear", schedule="cosine-by-step")

VARIANTS = {
    "dapl-office-home": Variant(DAPLConfig(), RECIPE, "Ge et al. 2022 (arXiv:2202.06687): M1=M2=16, faults corrected"),
    "dapl-visda17": Variant(DAPLConfig(class_specific=True), RECIPE, "Ge et al. 2022: a shared context per class"),
    "dapl-equations": Variant(
        DAPLConfig(domain_words="", denominator="joint"), RECIPE, "Ge et al. 2022 as written: no domain words, joint"
    ),
    "dapl-released": Variant(
        DAPLConfig(reference_quirks=True), RELEASED_RECIPE, "LeapLabTHU/DAPrompt as released, but its last step"
    ),
}
