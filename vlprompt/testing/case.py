"""Case: one learner class with a small model, task and settings, as the checks use it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vlprompt import methods
from vlprompt.data import feed
from vlprompt.data.batch import Batch
from vlprompt.data.batches import Batches
from vlprompt.data.features import FeatureStore
from vlprompt.data.task import Task
from vlprompt.learner import PromptLearner
from vlprompt.training.config import TrainConfig
from vlprompt.training.fit import fit
from vlprompt.training.resume import TrainReport

PLAIN = {"warmup": "none", "schedule": "constant", "augment": "none"}  # rates of a few epochs are the recipe's own


@dataclass(frozen=True)
class Case:
    """What a check is given.

    Attributes:
        kind: The learner's class.
        backbone: A small frozen model.
        task: A small task.
        config: Settings.
        store: Features of the model.
        folder: A folder for the check's files, not created yet.
    """

    kind: type[PromptLearner[Any, Any]]
    backbone: Any
    task: Task
    config: Any
    store: FeatureStore
    folder: Path

    @property
    def recipe(self) -> TrainConfig:
        """The training settings of the method's first variant."""
        return methods.variant(self.kind)[1].training(2, self.task.dataset)

    @property
    def steps(self) -> bool:
        """Whether the method is trained by steps."""
        learner = self.build()
        own_rule = type(learner).backward is not PromptLearner.backward
        return learner.needs.trains and self.recipe.epochs > 0 and bool(learner.trainable() or own_rule)

    def build(self, seed: int = 1) -> PromptLearner[Any, Any]:
        """An untrained learner."""
        return self.kind.for_task(self.backbone, self.task, self.config, seed=seed)

    def trained(self, epochs: int = 2, largest_rate: float = 1.0) -> PromptLearner[Any, Any]:
        """A learner after a few epochs at its recipe's learning rate, or at the largest one that is given."""
        learner = self.build()
        self.fit(learner, epochs, largest_rate)
        return learner.eval()

    def fit(
        self, learner: PromptLearner[Any, Any], epochs: int, largest_rate: float = 1.0, batch_size: int = 10
    ) -> TrainReport:
        """Train a learner for a few epochs."""
        recipe = self.recipe
        if recipe.epochs:
            rate = min(recipe.lr, largest_rate)
            recipe = replace(recipe, epochs=epochs, batch_size=batch_size, lr=rate, **PLAIN)  # type: ignore[arg-type]
        return fit(learner, self.task, recipe, store=self.store)

    def train_batches(self, learner: PromptLearner[Any, Any], batch_size: int) -> Batches:
        """Training batches of plain examples."""
        config = TrainConfig(augment="none", batch_size=batch_size)
        return feed.train_batches(learner.needs, learner.backbone, self.task, config, self.store)

    def test_batch(self, learner: PromptLearner[Any, Any]) -> Batch:
        """All test examples in one batch."""
        return self.batch_of(learner, self.task)

    def batch_of(self, learner: PromptLearner[Any, Any], task: Task) -> Batch:
        """The test examples of a task in one batch."""
        size = len(task.test)
        batches = feed.test_batches(learner.needs, learner.backbone, task, task.test, self.store, batch_size=size)
        return next(batches.epoch(0)).to(learner.backbone.device)
