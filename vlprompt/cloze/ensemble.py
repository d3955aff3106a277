"""An ensemble of patterns: members trained one after the other, each leaving its votes behind and nothing else.

    s(y|x) = sum_k w_k logit_k(y|x) / sum_k w_k,   w_k = accuracy of member k on the training set before training

Schick and Schuetze, EACL 2021 (arXiv:2001.07676), section 3.3; pet/modeling.py, merge_logits_lists.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, final, get_args

import torch
from torch import Tensor

from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze.material import Material
from vlprompt.cloze.pattern import Pattern, PatternConfig
from vlprompt.cloze.template import Template
from vlprompt.data.images import Example
from vlprompt.data.loaders import Batches, TextBatches, mixed
from vlprompt.data.unlabelled import WithUnlabelled
from vlprompt.errors import UsageError, unknown, warn
from vlprompt.recipe import TrainConfig
from vlprompt.steps import train_inside
from vlprompt.track import progress

Reduction = Literal["wmean", "mean"]
AT_ONCE = 100  # texts in a batch that is only judged


@dataclass(frozen=True)
class EnsembleConfig(PatternConfig):
    """Patterns and how their models are trained; the student reads the fields of `template`, or of the first."""

    patterns: tuple[str, ...] = ()  # cloze templates; none: `template`, or else all that the task has
    repetitions: int = 3  # models of each pattern (pet/modeling.py, pet_repetitions)
    reduction: Reduction = "wmean"  # votes weighted by accuracy before training, or "mean" (cli.py, --reduction)
    steps: int = 250  # of each model (the README's SuperGLUE command, --pet_max_steps)
    batch_size: int = 16  # of each model (the same: 2 x 8 accumulated)
    lr: float = 1e-5  # of each model (cli.py), falling in a line; AdamW with weight decay 0.01, clip norm 1

    def __post_init__(self) -> None:
        """Raise UsageError for patterns that cannot be read and numbers out of range."""
        super().__post_init__()
        object.__setattr__(self, "patterns", tuple(self.patterns))
        for pattern in self.patterns:
            Template(pattern).check_blank()
        if self.reduction not in get_args(Reduction):
            raise unknown("reduction", self.reduction, get_args(Reduction))
        if self.repetitions < 1 or self.steps < 0 or self.batch_size < 1 or not self.lr > 0:
            raise UsageError(
                f"repetitions {self.repetitions}, steps {self.steps}, batch_size {self.batch_size}, lr {self.lr}: "
                "repetitions and batch_size must be 1 or more, steps 0 or more, lr above 0."
            )

    def member(self, pattern: str) -> PatternConfig:
        """What one model of a pattern is made with."""
        own = {field.name: getattr(self, field.name) for field in fields(PatternConfig)}
        return PatternConfig(**{**own, "template": pattern})

    def training(self, seed: int) -> TrainConfig:
        """How one model is trained."""
        return TrainConfig(
            epochs=self.steps, steps=self.steps, batch_size=self.batch_size, lr=self.lr, optimizer="adamw",
            weight_decay=0.01, schedule="linear", per_step=True, warmup="none", clip_norm=1.0, augment="none",
            seed=seed,
        )  # fmt: skip


@final
class Member(Pattern):
    """One model of an ensemble; it lives while it is trained and has voted."""


@dataclass(frozen=True)
class Votes:
    """What the members say of some texts.

    Attributes:
        logits: (M, N, C) class scores.
        weights: (M,) how much each member counts.
    """

    logits: Tensor
    weights: Tensor

    def merged(self, members: Sequence[int] = ()) -> Tensor:
        """(N, C) weighted mean of all members' scores, or of some; plain where all of them weigh nothing."""
        chosen = list(members) or list(range(len(self.logits)))
        weights = self.weights[chosen]
        if not bool(weights.any()):
            warn("no model of the ensemble was right on any training text before training; all count the same.")
            weights = torch.ones_like(weights)
        return torch.einsum("m,mnc->nc", weights / weights.sum(), self.logits[chosen])


class Ensemble:
    """Trains members.

    Args:
        lm: The model that each starts from.
        classes: C names.
        config: With patterns.
        seed: Of everything random.
    """

    def __init__(self, lm: LanguageModel, classes: Sequence[str], config: EnsembleConfig, seed: int) -> None:
        self.lm, self.classes, self.config, self.seed = lm, classes, config, seed
        self.patterns = [pattern for pattern in config.patterns for _ in range(config.repetitions)]

    def __len__(self) -> int:
        return len(self.patterns)

    def votes(self, materials: Sequence[Material], told: str, *extra: Any) -> Votes:
        """Train every member on its own material, one after the other, and let it vote.

        Args:
            materials: One for each member; their unlabelled texts are the same.
            told: What the progress bar says.
            extra: What else tells the members' random draws from those of others.
        """
        found = [self.vote(number, materials[number], *extra) for number in progress(range(len(self)), told)]
        weights = torch.tensor([weight for _, weight in found]).to(found[0][0])
        return Votes(torch.stack([scores for scores, _ in found]), weights)

    def vote(self, number: int, material: Material, *extra: Any) -> tuple[Tensor, float]:
        """Train member `number`; its (N, C) scores of the unlabelled texts, and its weight.

        Args:
            number: Which member.
            material: What it learns from and votes on.
            extra: What else tells its random draws from those of others.
        """
        own = mixed(self.seed, "member", number, *extra) % 2**31
        member = Member(self.lm, self.classes, self.config.member(self.patterns[number]), seed=own).eval()
        right = scores(member, material.train).argmax(1).cpu() == material.labels
        weight = float(right.double().mean()) if self.config.reduction == "wmean" else 1.0
        data: Batches = TextBatches(material.train, batch_size=self.config.batch_size, seed=own)
        if member.adapts:
            beside = TextBatches(material.unlabelled, batch_size=self.config.batch_size, seed=mixed(own, "unlabelled"))
            data = WithUnlabelled(data, torch.zeros(len(material.train), dtype=torch.int64), beside)
        train_inside(member, data, self.config.training(own))
        return scores(member, material.unlabelled), weight


@torch.no_grad()
def scores(learner: Pattern, examples: Sequence[Example]) -> Tensor:
    """(N, C) class scores of some texts, in order."""
    batches = TextBatches(examples, batch_size=AT_ONCE).epoch(0)
    return torch.cat([learner(batch.to(learner.backbone.device)) for batch in batches])
