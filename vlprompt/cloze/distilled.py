"""A sequence classifier that learns what an ensemble of patterns says of unlabelled texts.

    loss = T^2 KL( softmax(s / T) || softmax(student / T) ),   s the ensemble's scores, T = 2

Hinton et al. 2015 (arXiv:1503.02531), as PET uses it (pet/utils.py, distillation_loss). The ensemble is trained when
the student's first step asks for its scores, and the scores are part of the state of an unfinished training: a student
that was interrupted goes on without another ensemble. (An ensemble that was interrupted begins anew.)
"""

import abc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze.base import NULL_TEMPLATE, ClozeLearner
from vlprompt.cloze.ensemble import Ensemble, EnsembleConfig
from vlprompt.cloze.material import Material
from vlprompt.cloze.rendering import Renderer
from vlprompt.cloze.template import Template, without_words
from vlprompt.cloze.text_classifier import TextClassifier
from vlprompt.cloze.verbalizer import Verbalizer
from vlprompt.data.batch import Batch
from vlprompt.data.loaders import Batches
from vlprompt.data.task import Task
from vlprompt.errors import UsageError
from vlprompt.recipe import TrainConfig


@dataclass(frozen=True)
class DistilledConfig(EnsembleConfig):
    """An ensemble and its student."""

    temperature: float = 2.0  # T (pet/modeling.py)
    dropout: float = 0.1  # before the student's linear layer

    def __post_init__(self) -> None:
        """Raise UsageError for a temperature or a share that is none."""
        super().__post_init__()
        if not (self.temperature > 0 and 0 <= self.dropout < 1):
            raise UsageError(
                f"temperature {self.temperature}, dropout {self.dropout}: temperature must be above 0, dropout from 0 "
                "to below 1."
            )


class Distilled(ClozeLearner, abc.ABC):
    """A student of an ensemble; a subclass says how the ensemble comes to its scores. Subclasses are final."""

    in_order = True
    adapts = True
    config: DistilledConfig

    def __init__(self, lm: LanguageModel, classes: Sequence[str], config: DistilledConfig, *, seed: int = 0) -> None:
        patterns = config.patterns or (config.template or NULL_TEMPLATE,)
        fields = without_words(Template(config.template or patterns[0]))
        super().__init__(lm, classes, replace(config, template=fields, patterns=patterns), seed=seed)
        self._check_patterns()
        self.student = TextClassifier(lm, len(self.classes), config.dropout, seed)
        self.soft_labels, self.known = torch.zeros(0, len(self.classes)), torch.zeros(())
        self._material: Material | None = None

    @classmethod
    def for_task(cls, backbone: LanguageModel, task: Task, config: Any, *, seed: int = 0) -> Self:
        """Use all of the task's templates and its label words where the configuration names none."""
        patterns = config.patterns or (() if config.template or not task.words else task.templates)
        own = replace(config, patterns=patterns, words=config.words or task.words)
        return cls(backbone, task.classes, own, seed=seed)

    @property
    def has_blank(self) -> bool:
        """The student has none."""
        return False

    @property
    def keeps_classes(self) -> str:
        """The student has a row for each class."""
        return "its head has a row for each class"

    @abc.abstractmethod
    def ensemble_scores(self, material: Material) -> Tensor:
        """(N, C) what the ensemble says of the unlabelled texts, after training it."""

    @property
    def ensemble(self) -> Ensemble:
        """The models that are yet to be trained."""
        return Ensemble(self.backbone, self.classes, self.config, self.seed)

    def _check_patterns(self) -> None:
        """Say before training what a pattern or a label word cannot do."""
        own = self.config
        for pattern in own.patterns:
            Renderer(Template(pattern).check_blank(), self.backbone, max_length=own.max_length)
        Verbalizer(self.backbone, self.classes, own.words, rule=own.rule, pieces=own.pieces, space=own.space)

    def prepare(self, train: Batches, val: Batches | None) -> None:  # noqa: ARG002
        """Remember the texts; the ensemble is trained when it is asked for."""
        self._material = Material.of(train)
        device = self.backbone.device
        self.soft_labels = torch.zeros(len(self._material.unlabelled), len(self.classes), device=device)
        self.known = torch.zeros((), device=device)

    def memory(self) -> dict[str, Tensor]:
        """The ensemble's scores, and whether they are there yet."""
        return {"soft_labels": self.soft_labels, "known": self.known}

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C) of the student."""
        return self.student(self.sequences(batch))  # type: ignore[no-any-return]

    def loss(self, batch: Batch) -> Tensor:
        """The distance from the ensemble on the batch's unlabelled texts, a scalar.

        Raises:
            UsageError: It holds none.
        """
        if batch.unlabelled is None:
            raise UsageError(f"{self.method()} learns from unlabelled texts; make batches with vlprompt.feed.")
        soft = self.wanted()[batch.unlabelled.index]
        return distillation(self(batch.unlabelled), soft, self.config.temperature)

    def wanted(self) -> Tensor:
        """(N, C) the ensemble's scores, from an ensemble that is trained now if none was."""
        if not self.known:
            assert self._material is not None  # `fit` calls `prepare` first
            self.soft_labels.copy_(self.ensemble_scores(self._material).detach())
            self.known.fill_(1)
            self._material = None
        return self.soft_labels


def distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 KL(teacher || student), both softened by T; scores (B, C), summed over classes, mean over texts."""
    soft, hard = (teacher / temperature).softmax(-1), (student / temperature).log_softmax(-1)
    return F.kl_div(hard, soft, reduction="batchmean") * temperature**2


def student_recipe() -> TrainConfig:
    """PET's: 5,000 steps of batch 16 (the README's SuperGLUE command, --sc_max_steps), the rest as for its patterns.

    Each epoch the unlabelled texts are shuffled anew, and as many are used as there are labelled ones.
    """
    return TrainConfig(
        epochs=5000, steps=5000, batch_size=16, lr=1e-5, optimizer="adamw", weight_decay=0.01, schedule="linear",
        per_step=True, warmup="none", clip_norm=1.0, augment="none",
    )  # fmt: skip
