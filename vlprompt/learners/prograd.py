"""ProGrad: learn only what does not conflict with general knowledge. Zhu et al., ICCV 2023 (arXiv:2205.14865).

    g_d: gradient of the cross-entropy;  g_g: gradient of KL(zero-shot || prompt) at temperature T
    g = g_d                                     where <g_d, g_g> >= 0
    g = g_d - lambda * <g_d, g_g> / |g_g|^2 * g_g    otherwise

As in the authors' code (BeierZhu/Prompt-align, trainers/prograd.py) the context of M tokens starts with zeros, followed
by the words of the data set's template. Here the words are counted in tokens. The code counts words, so of the nine
tokens of "a type of pet, a photo of a" it learns eight, and the last stays as it is: `reference_quirks` does that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.backbones.clip import Clip
from vlprompt.config import Count, NonNegative, Positive, Settings
from vlprompt.data.batch import Batch, features_of
from vlprompt.data.needs import Needs
from vlprompt.data.templates import DEFAULT_TEMPLATE, OptionalTemplate
from vlprompt.errors import UsageError
from vlprompt.prompts.context_learner import AnchoredContext
from vlprompt.prompts.deep import split_words
from vlprompt.prompts.recipes import recipe
from vlprompt.prompts.words import from_words
from vlprompt.training.config import Variant


@dataclass(frozen=True)
class ProGradConfig(Settings):
    """The context of ProGrad and its gradient rule."""

    n_ctx: Count = 16  # M (paper, section 4.1; scripts/prograd.sh)
    template: OptionalTemplate = ""  # of zero-shot model and start; none: the task's first, or "a photo of a {}."
    strength: NonNegative = 1.0  # lambda; the README gives 0.8 for Flowers102, DTD and EuroSAT at 8 and 16 shots
    temperature: Positive = 1.0  # T (configs/trainers/ProGrad/*.yaml)
    reference_quirks: bool = False  # as many tokens of the template are learned as it has words, see above


@final
class ProGrad(AnchoredContext[ProGradConfig]):
    """One learned context for all classes; its gradient never conflicts with the zero-shot model's."""

    Config = ProGradConfig
    needs = Needs(why_not_distributed="it projects the gradient of a whole batch")
    from_task = ("template",)

    def __init__(
        self, clip: Clip, classes: Sequence[str], config: ProGradConfig | None = None, *, seed: int = 0
    ) -> None:
        super().__init__(clip, classes, config, seed=seed)
        n_ctx, template = self.config.n_ctx, words_first(self.config.template or DEFAULT_TEMPLATE)
        before = template.partition("{}")[0]
        if self.config.reference_quirks:
            before, self.fixed = split_words(clip, before, len(before.split()))
        words = from_words(clip, before)
        if len(words) > n_ctx:
            raise UsageError(f"n_ctx is {n_ctx}, the template {template!r} needs {len(words)} tokens.")
        self.templates = (template,)
        start = torch.cat([words.new_zeros(n_ctx - len(words), words.shape[1]), words])
        self.context = nn.Parameter(start.to(clip.device))  # (M, D)
        self.rebuild()

    def backward(self, batch: Batch) -> Tensor:
        """Set the context's gradient to the projected one; returns the cross-entropy."""
        loss, own, general = self.gradients(batch)
        self.context.grad = without_conflict(own, general, self.config.strength)
        return loss

    def gradients(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The cross-entropy, and the context's gradients (M, D) of the cross-entropy and of the divergence."""
        scores = self(batch)
        loss = F.cross_entropy(scores, batch.labels)
        (general,) = torch.autograd.grad(self.divergence(scores, batch), self.context, retain_graph=True)
        (own,) = torch.autograd.grad(loss, self.context)
        return loss.detach(), own, general

    def divergence(self, scores: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy with the zero-shot model's predictions, which has the gradient of the KL divergence."""
        temperature = self.config.temperature
        teacher = (self.backbone.scores(features_of(batch), self.frozen) / temperature).softmax(dim=-1)
        return F.cross_entropy(scores / temperature, teacher) * temperature**2


def without_conflict(own: Tensor, general: Tensor, strength: float) -> Tensor:
    """`own` minus `strength` times its component along `general`, where the two point in opposite directions."""
    direction = F.normalize(general.flatten(), dim=0).view_as(general)
    along = (own * direction).sum()
    return own - strength * along.clamp(max=0) * direction


def words_first(template: str) -> str:
    """The template with all words before the name, where the context is; CoOp's templates become the authors'.

    "a photo of a {}, a type of pet." becomes "a type of pet, a photo of a {}.", "{} texture." "a texture of {}."
    """
    before, _, after = (part.strip(" ,.") for part in template.partition("{}"))
    if not after:
        return template
    return f"{after}, {before} {{}}." if before else f"a {after} of {{}}."


# CoOp's training by shots (ProGrad.public/README.md, configs/trainers/ProGrad/*.yaml).
PAPER = "Zhu et al. 2023 (arXiv:2205.14865): M=16"
VARIANTS = {
    "prograd-paper": Variant(ProGradConfig(), recipe, f"{PAPER}, lambda=1"),
    "prograd-paper-08": Variant(
        ProGradConfig(strength=0.8), recipe, f"{PAPER}, lambda=0.8: Flowers102, DTD and EuroSAT at 8 and 16 shots"
    ),
}
