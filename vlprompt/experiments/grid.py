"""A grid of training settings; the best point is chosen on images held out of training.

VPT's protocol (Jia et al., ECCV 2022; KMnP/vpt, tune_vtab.py): every point is trained on a part of the training images
and evaluated on the rest after its last epoch; the best one then trains on all of them, once per seed. Every point is a
run with its own result line (protocol "grid"), so an interrupted search continues where it stopped. Test images are not
used.
"""

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from vlprompt.config import by_owner, value_list
from vlprompt.data.splits import by_class
from vlprompt.data.task import Task
from vlprompt.errors import UsageError
from vlprompt.experiments.results import Result
from vlprompt.experiments.runner import Runner
from vlprompt.experiments.spec import LearnerSpec
from vlprompt.training.config import TrainConfig

Grid = Mapping[str, Sequence[Any]]  # training settings and the values to try: {"lr": [0.1, 1.0]}


def parse(texts: Iterable[str]) -> Grid:
    """Read "train.lr=0.1,1" and the like.

    Raises:
        UsageError: A text has another form, or is not a training setting.
    """
    given = by_owner(texts)
    if wrong := sorted(given.keys() - {"train"}):
        raise UsageError(f"a grid is of training settings, as train.lr=0.1,1; {wrong[0]}.… was given.")
    return {name: value_list(values) for name, values in given.get("train", {}).items()}


def search(
    runner: Runner, spec: LearnerSpec, drawn: Task, grid: Grid, *, shots: int, seed: int
) -> Generator[Result, None, Runner]:
    """Train and evaluate every point, yield the results, and return the runner with the best one; of equals the first.

    Args:
        runner: The backbone, and where results go.
        spec: What to train; one that is not trained in epochs leaves the runner unchanged.
        drawn: The images to train on, some of which are held out; see `held_out`.
        grid: What to try.
        shots: Images per class, for the results.
        seed: Of the initialisation and the order of training.

    Raises:
        UsageError: An unknown setting, or too few images; before anything runs.
    """
    recipe = spec.recipe(shots, drawn)
    if not (spec.trains and recipe.epochs):
        return runner
    runners = [replace(runner, training={**runner.training, **point}) for point in points(grid, recipe)]
    task, best, top1 = held_out(drawn), runner, -1.0
    for each in runners:
        result = each.run("grid", spec, task, shots=shots, seed=seed)
        yield result
        if result.metrics["top1"] > top1:
            best, top1 = each, result.metrics["top1"]
    return best


def points(grid: Grid, recipe: TrainConfig) -> list[dict[str, Any]]:
    """Every combination, the last setting changing fastest.

    A linear warm-up starts at the same fraction of the learning rate as in the recipe.

    Raises:
        UsageError: A setting without values.
    """
    if empty := [name for name, values in grid.items() if not values]:
        raise UsageError(f"the grid has no values of {empty[0]}; give some, as train.{empty[0]}=0.1,1.")
    found = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    if recipe.warmup == "linear" and "lr" in grid and "warmup_lr" not in grid:
        fraction = recipe.warmup_lr / recipe.lr
        found = [{**point, "warmup_lr": fraction * point["lr"]} for point in found]
    return found


def held_out(task: Task) -> Task:
    """The task to search on: evaluated on its validation images, or else on a fifth of each class's training images.

    These are then not trained on (VPT: 200 of the 1,000 images of a task of VTAB-1k).

    Raises:
        UsageError: There are no validation images, and a class has only one training image.
    """
    if task.val:
        return replace(task, val=(), test=task.val, test_name="val")
    classes = by_class([example.label for example in task.train]).values()
    if min(len(members) for members in classes) < 2:
        raise UsageError(
            f"{task.name} has no validation images to choose settings on, and 1 shot leaves none to hold out; give 2 "
            "shots or more."
        )
    held = {position for members in classes for position in members[-max(1, len(members) // 5) :]}
    train = tuple(example for position, example in enumerate(task.train) if position not in held)
    test = tuple(example for position, example in enumerate(task.train) if position in held)
    return replace(task, train=train, test=test, test_name="val")
