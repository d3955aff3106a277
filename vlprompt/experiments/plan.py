"""Plan: a run before any of it is done; and the check that it is possible."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vlprompt.backbones.sources import LOCAL
from vlprompt.config import make_config
from vlprompt.data import feed
from vlprompt.data.identity import Contents, joint_hash
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
        contents: Contents,
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
            contents: Identifies the data.
            training: Training settings that replace the recipe's.
            protocol: The protocol's name.
            spec: The method and its settings.
            learner: What is trained.
            task: The task that the result is named after.
            tasks: All tasks that it is trained and evaluated on, for the split hash.
            shots: Examples per class.
            seed: Of everything random.
        """
        config = train_config(spec, training, task, shots=shots, seed=seed)
        result = Result(
            protocol=protocol,
            learner=spec.kind.method(),
            variant=spec.settings,
            backbone=without_path(backbone.name),
            fingerprint=backbone.fingerprint,
            precision=backbone.precision,
            task=task.name,
            split_hash=joint_hash(map(contents.split_hash, tasks)),
            data_hash=joint_hash(map(contents.data_hash, tasks)),
            classes=len(task.classes),
            shots=shots,
            seed=seed,
            config=spec.configs(learner),
            train_config=asdict(config) if config.epochs else {},
            augment=config.augment,
            backbone_parameters=sum(p.numel() for p in backbone.parameters()),
            versions=versions(),
        )
        return cls(spec, learner, config, result, folder_of(result))


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


def train_config(spec: LearnerSpec, training: Mapping[str, Any], task: Task, *, shots: int, seed: int) -> TrainConfig:
    """The training settings of a run: the recipe, with those changes that have an effect on this method."""
    recipe = spec.recipe(shots, task)
    changes = {name: value for name, value in training.items() if name not in without_effect(recipe, training)}
    config: TrainConfig = make_config(TrainConfig, {**asdict(recipe), **changes, "seed": seed})
    return config


def without_effect(recipe: TrainConfig, training: Mapping[str, Any]) -> list[str]:
    """The training settings that change nothing where a method has this recipe.

    Of a method that is not trained in steps, only the views of its training images can change.
    """
    if recipe.epochs:
        return []
    views = "" if recipe.augment == "none" else "augment"
    return [name for name, value in training.items() if name != views and value != getattr(recipe, name, None)]


def folder_of(result: Result) -> str:
    """A readable folder name that differs for different runs, such as few_shot/digits/coop-16shot-seed1-0123abcd."""
    names = (f"{result.learner} {result.variant}".rstrip(), *result.task.split("/"))
    row, *task = (re.sub(r"[^\w.=-]+", "-", name).lstrip(".") or "-" for name in names)
    shots = "all" if result.shots == ALL_SHOTS else result.shots
    return "/".join([result.protocol, *task, f"{row}-{shots}shot-seed{result.seed}-{result.key[:8]}"])


def without_path(backbone: str) -> str:
    """The name of a backbone in results: of a local folder its last part only, which is the same on every machine."""
    if not backbone.startswith(LOCAL):
        return backbone
    given = backbone.removeprefix(LOCAL)
    folder = given.removesuffix("/random")  # load_clip appends this for random weights
    return Path(folder).resolve().name + given[len(folder) :]
