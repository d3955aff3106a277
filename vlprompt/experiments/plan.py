"""Plan: a run before any of it is done; and the check that it is possible."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vlprompt.backbones.sources import LOCAL
from vlprompt.config import make_config
from vlprompt.data import feed
from vlprompt.data.task import Task
from vlprompt.errors import UsageError
from vlprompt.experiments.results import ALL_SHOTS, Result, versions
from vlprompt.experiments.spec import LearnerSpec
from vlprompt.learner import PromptLearner
from vlprompt.training.config import TrainConfig

Tasks = Mapping[str, Task]  # tasks to evaluate on, by the prefix of their metrics ("" for none)


@dataclass(frozen=True)
class Plan:
    """A run before any of it is done.

    Attributes:
        spec: The method and its settings.
        learner: What is trained.
        config: How it is trained.
        result: The result line without what is measured; its key identifies the run.
        folder: The sub-folder of its prompt and its predictions.
    """

    spec: LearnerSpec
    learner: PromptLearner[Any, Any]
    config: TrainConfig
    result: Result
    folder: str

    @classmethod
    def make(
        cls,
        backbone: Any,
        training: Mapping[str, Any],
        protocol: str,
        spec: LearnerSpec,
        learner: PromptLearner[Any, Any],
        task: Task,
        tasks: Sequence[Task],
        *,
        shots: int,
        seed: int,
    ) -> "Plan":
        """Describe a run.

        Args:
            backbone: The frozen model.
            training: Training settings that replace the recipe's.
            protocol: The protocol's name.
            spec: The method and its settings.
            learner: What is trained.
            task: The task that the result is named after.
            tasks: All tasks that it is trained and evaluated on, for the split hash.
            shots: Examples per class.
            seed: Of everything random.
        """
        recipe = asdict(spec.trained.published.training(shots, task.dataset))
        changes = training if recipe["epochs"] else {}  # what is not trained in epochs has nothing to change
        config: TrainConfig = make_config(TrainConfig, {**recipe, **changes, "seed": seed})
        result = Result(
            protocol=protocol,
            learner=spec.kind.method(),
            variant=spec.settings,
            backbone=without_path(backbone.name),
            fingerprint=backbone.fingerprint,
            precision=backbone.precision,
            task=task.name,
            split_hash=joint_hash(tasks),
            classes=len(task.classes),
            shots=shots,
            seed=seed,
            config=spec.configs(learner),
            train_config=asdict(config) if config.epochs else {},
            augment=config.augment,
            backbone_parameters=sum(p.numel() for p in backbone.parameters()),
            versions=versions(),
        )
        return cls(spec, learner, config, result, folder_of(protocol, spec, task, shots, seed))


def check_possible(learner: PromptLearner[Any, Any], train: Task, test_tasks: Tasks) -> None:
    """Check before training what would fail after it.

    Raises:
        UsageError: The learner needs unlabelled examples and there are none; or a test task has no test examples, or
            classes that the learner cannot change to.
    """
    feed.need_unlabelled(learner.needs, train)
    for task in test_tasks.values():
        if learner.why_classes_fixed and not set(task.classes) <= set(train.classes):
            reason = learner.why_classes_fixed
            raise UsageError(f"{learner.method()} cannot be evaluated on classes it was not trained for: {reason}.")
        if not task.test:
            raise UsageError(f"{task.name} has no test images.")


def folder_of(protocol: str, spec: LearnerSpec, task: Task, shots: int, seed: int) -> str:
    """A readable folder name, such as few_shot/digits/coop-16shot-seed1."""
    row = re.sub(r"[^A-Za-z0-9.=_-]+", "-", spec.label)
    return f"{protocol}/{task.name}/{row}-{'all' if shots == ALL_SHOTS else shots}shot-seed{seed}"


def without_path(backbone: str) -> str:
    """The name of a backbone in results: of a local folder its last part only, which is the same on every machine."""
    if not backbone.startswith(LOCAL):
        return backbone
    given = backbone.removeprefix(LOCAL)
    folder = given.removesuffix("/random")  # load_clip appends this for random weights
    return Path(folder).resolve().name + given[len(folder) :]


def joint_hash(tasks: Sequence[Task]) -> str:
    """The split hash of one task, or of several together."""
    hashes = list(dict.fromkeys(task.split_hash for task in tasks))
    return hashes[0] if len(hashes) == 1 else hashlib.sha256(" ".join(hashes).encode()).hexdigest()
