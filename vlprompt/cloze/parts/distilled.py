"""A sequence classifier that learns the scores of an ensemble of patterns for unlabelled texts.

    loss = T^2 KL( softmax(s / T) || softmax(student / T) ),   s the ensemble's scores, T = 2

Hinton et al. 2015 (arXiv:1503.02531), as PET uses it (pet/utils.py, distillation_loss). The ensemble is trained at the
student's first step, and its scores are part of the state of an unfinished training: an interrupted student resumes
without another ensemble. (An interrupted ensemble starts again.)
"""

import abc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze.parts.base import ClozeLearner, Layout, fields_only
from vlprompt.cloze.parts.config import NULL_TEMPLATE, number
from vlprompt.cloze.parts.ensemble import Ensemble, EnsembleConfig
from vlprompt.cloze.parts.rendering import Renderer
from vlprompt.cloze.parts.template import Template
from vlprompt.cloze.parts.text_classifier import TextClassifier
from vlprompt.cloze.parts.training_texts import TrainingTexts
from vlprompt.cloze.parts.verbalizer import Verbalizer
from vlprompt.data.batch import Batch
from vlprompt.data.batches import Batches
from vlprompt.data.needs import Input, Needs
from vlprompt.data.task import Task
from vlprompt.errors import UsageError


@dataclass(frozen=True)
class DistilledConfig(EnsembleConfig):
    """An ensemble and its student."""

    temperature: float = number(2.0, above=0)  # T (pet/modeling.py)
    dropout: float = number(0.1, at_least=0, below=1)  # before the student's linear layer


C = TypeVar("C", bound=DistilledConfig)


class Distilled(ClozeLearner[C], abc.ABC):
    """A student of an ensemble; a subclass defines how the ensemble's scores are computed. Subclasses are final."""

    needs = Needs(input=Input.TEXTS, ordered=True, unlabelled=True)
    why_classes_fixed = "its head has a row for each class"

    def __init__(self, lm: LanguageModel, classes: Sequence[str], config: C | None = None, *, seed: int = 0) -> None:
        config = self.Config() if config is None else config
        patterns = config.patterns or (config.template or NULL_TEMPLATE,)
        own = replace(config, template=config.template or patterns[0], patterns=patterns)
        super().__init__(lm, classes, own, seed=seed)
        self._check_patterns()
        self.student = TextClassifier(lm, len(self.classes), self.config.dropout, seed)
        self.soft_labels, self.ready = torch.zeros(0, len(self.classes)), torch.zeros(())
        self._texts: TrainingTexts | None = None

    @classmethod
    def for_task(cls, backbone: LanguageModel, task: Task, config: C, *, seed: int = 0) -> Self:
        """Build the learner with all of the task's templates and its label words where the config has none."""
        patterns = config.patterns or (() if config.template or not task.words else task.templates)
        own = replace(config, patterns=patterns, words=config.words or task.words)
        return cls(backbone, task.classes, own, seed=seed)

    def make_layout(self, template: str) -> Layout:
        """The student reads the fields alone."""
        return fields_only(template)

    @abc.abstractmethod
    def ensemble_scores(self, texts: TrainingTexts) -> Tensor:
        """Train the ensemble; return its (N, C) scores of the unlabelled texts."""

    @property
    def ensemble(self) -> Ensemble:
        """The models, not trained yet."""
        return Ensemble(self.backbone, self.classes, self.config, self.seed)

    def _check_patterns(self) -> None:
        """Raise UsageError for a pattern or a label word that the members cannot use, before anything is trained."""
        own = self.config
        for pattern in own.patterns:
            Renderer(Template(pattern).check_blank(), self.backbone, max_length=own.max_length)
        Verbalizer(self.backbone, self.classes, own.words, rule=own.rule, pieces=own.pieces, space=own.space)

    def prepare(self, train: Batches, val: Batches | None) -> None:  # noqa: ARG002
        """Collect the texts; the ensemble is trained at the first step."""
        self._texts = TrainingTexts.of(train)
        device = self.backbone.device
        self.soft_labels = torch.zeros(len(self._texts.unlabelled), len(self.classes), device=device)
        self.ready = torch.zeros((), device=device)

    def training_state(self) -> dict[str, Tensor]:
        """The ensemble's scores, and whether they are computed yet."""
        return {"soft_labels": self.soft_labels, "ready": self.ready}

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C) of the student."""
        return self.student(self.sequences(batch))  # type: ignore[no-any-return]

    def loss(self, batch: Batch) -> Tensor:
        """The distance from the ensemble on the batch's unlabelled texts, a scalar.

        Raises:
            UsageError: It holds none.
        """
        if batch.unlabelled is None:
            raise UsageError(f"{self.method()} learns from unlabelled texts; make batches with vlprompt.data.feed.")
        targets = self.targets()[batch.unlabelled.index]
        return distillation_loss(self(batch.unlabelled), targets, self.config.temperature)

    def targets(self) -> Tensor:
        """(N, C) the ensemble's scores; trains the ensemble at the first call."""
        if not self.ready:
            assert self._texts is not None  # `fit` calls `prepare` first
            self.soft_labels.copy_(self.ensemble_scores(self._texts).detach())
            self.ready.fill_(1)
            self._texts = None
        return self.soft_labels


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 KL(teacher || student), both softened by T; scores (B, C), summed over classes, mean over texts."""
    soft, log_probs = (teacher / temperature).softmax(-1), (student / temperature).log_softmax(-1)
    return F.kl_div(log_probs, soft, reduction="batchmean") * temperature**2
