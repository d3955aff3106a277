"""An ensemble of patterns: members are trained one after another; each scores the unlabelled texts and is deleted.

    s(y|x) = sum_k w_k logit_k(y|x) / sum_k w_k,   w_k = accuracy of member k before training

The accuracy is that on the texts labelled by hand, also in later generations of iPET. Schick and Schuetze, EACL 2021
(arXiv:2001.07676), section 3.3; pet/modeling.py, merge_logits_lists and train_single_model.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal, final

import torch
from torch import Tensor

from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze.parts.config import number
from vlprompt.cloze.parts.pattern import Pattern, PatternConfig
from vlprompt.cloze.parts.recipes import PATTERN_RECIPE
from vlprompt.cloze.parts.template import Template
from vlprompt.cloze.parts.training_texts import TrainingTexts
from vlprompt.data.batches import text_batches
from vlprompt.data.images import Example
from vlprompt.errors import warn
from vlprompt.randomness import mixed
from vlprompt.training.callbacks import progress
from vlprompt.training.config import TrainConfig
from vlprompt.training.fit import fit

Reduction = Literal["wmean", "mean"]
TEST_BATCH = 100


@dataclass(frozen=True)
class EnsembleConfig(PatternConfig):
    """Patterns and their models' training; the student reads the fields of `template`, or of the first pattern."""

    patterns: tuple[str, ...] = ()  # cloze templates; empty: `template`, or else all that the task has
    repetitions: int = number(3, at_least=1)  # models of each pattern (pet/modeling.py, pet_repetitions)
    reduction: Reduction = "wmean"  # weighted by accuracy before training, or a plain "mean" (cli.py, --reduction)
    steps: int = number(250, at_least=0)  # of each model (the README's SuperGLUE command, --pet_max_steps)
    batch_size: int = number(16, at_least=1)  # of each model (the same: 2 x 8 accumulated)
    lr: float = number(1e-5, above=0)  # of each model (cli.py), otherwise trained as `prompt_oriented_fine_tuning`

    def __post_init__(self) -> None:
        """Raise UsageError for patterns that cannot be parsed."""
        super().__post_init__()
        for pattern in self.patterns:
            Template(pattern).check_blank()

    def member(self, pattern: str) -> PatternConfig:
        """The settings of one model of a pattern."""
        own = {field.name: getattr(self, field.name) for field in fields(PatternConfig)}
        return PatternConfig(**{**own, "template": pattern})

    def training(self, seed: int) -> TrainConfig:
        """How one model is trained."""
        steps, size = self.steps, self.batch_size
        return replace(PATTERN_RECIPE, epochs=steps, steps=steps, batch_size=size, lr=self.lr, seed=seed)


@final
class Member(Pattern[PatternConfig]):
    """One model of an ensemble."""

    Config = PatternConfig


@dataclass(frozen=True)
class Votes:
    """The members' scores of some texts.

    Attributes:
        logits: (M, N, C) class scores.
        weights: (M,) weight of each member.
    """

    logits: Tensor
    weights: Tensor

    def merge(self, members: Sequence[int] = ()) -> Tensor:
        """(N, C) weighted mean of the scores of all members, or of some; the plain mean if all their weights are 0."""
        chosen = list(members) or list(range(len(self.logits)))
        weights = self.weights[chosen]
        if not bool(weights.any()):
            warn("no model of the ensemble was right on any training text before training; all have equal weight.")
            weights = torch.ones_like(weights)
        return torch.einsum("m,mnc->nc", weights / weights.sum(), self.logits[chosen])


class Ensemble:
    """Trains members.

    Args:
        lm: The model that each starts from.
        classes: C names.
        config: With patterns.
        seed: Of all random draws.
    """

    def __init__(self, lm: LanguageModel, classes: Sequence[str], config: EnsembleConfig, seed: int) -> None:
        self.lm, self.classes, self.config, self.seed = lm, classes, config, seed
        self.patterns = [pattern for pattern in config.patterns for _ in range(config.repetitions)]

    def __len__(self) -> int:
        return len(self.patterns)

    def votes(self, texts: Sequence[TrainingTexts], label: str, *stream: int) -> Votes:
        """Train every member on its own texts, one after another, and let it vote.

        Args:
            texts: One for each member, with the same unlabelled texts.
            label: Shown with the progress bar.
            stream: Numbers that select the members' random draws, such as the generation.
        """
        votes = [self.vote(number, texts[number], *stream) for number in progress(range(len(self)), label)]
        weights = torch.tensor([weight for _, weight in votes]).to(votes[0][0])
        return Votes(torch.stack([scores for scores, _ in votes]), weights)

    def vote(self, number: int, texts: TrainingTexts, *stream: int) -> tuple[Tensor, float]:
        """Train member `number`; return its (N, C) scores of the unlabelled texts and its weight."""
        seed = mixed(self.seed, "member", number, *stream) % 2**31
        member = Member(self.lm, self.classes, self.config.member(self.patterns[number]), seed=seed).eval()
        right = class_scores(member, texts.by_hand).argmax(1).cpu() == texts.labels
        weight = float(right.double().mean()) if self.config.reduction == "wmean" else 1.0
        size = self.config.batch_size
        data = text_batches(texts.labelled, batch_size=size, seed=seed)
        if member.needs.unlabelled:
            unlabelled = text_batches(texts.unlabelled, batch_size=size, seed=mixed(seed, "unlabelled"))
            data = data.beside(unlabelled, torch.zeros(len(texts.labelled), dtype=torch.int64))
        with torch.enable_grad():
            fit(member, data, self.config.training(seed))
        return class_scores(member, texts.unlabelled), weight


@torch.no_grad()
def class_scores(learner: Pattern[PatternConfig], examples: Sequence[Example]) -> Tensor:
    """(N, C) class scores of some texts, in order."""
    batches = text_batches(examples, batch_size=TEST_BATCH).epoch(0)
    return torch.cat([learner(batch.to(learner.backbone.device)) for batch in batches])
