"""A grid of training settings, the best of them chosen on images held out of training.

VPT's protocol (Jia et al., ECCV 2022; KMnP/vpt, tune_vtab.py): every point is trained on a part of the training images
and judged on the rest after its last epoch; the best then trains on all of them, once for each seed. Every point is a
run with a result line of its own (protocol "grid"), so an interrupted search goes on from where it was. Test images
play no part in it.
"""

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from vlprompt.data.splits import by_class
from vlprompt.data.task import Task
from vlprompt.errors import UsageError
from vlprompt.recipe import TrainConfig
from vlprompt.results import Result
from vlprompt.runner import Bench, Entry
from vlprompt.settings import by_owner, several

Grid = Mapping[str, Sequence[Any]]  # training settings and the values to try: {"lr": [0.1, 1.0]}


def parse(texts: Iterable[str]) -> Grid:
    """Read "train.lr=0.1,1" and the like.

    Raises:
        UsageError: One does not read so, or is not a setting of training.
    """
    given = by_owner(texts)
    if wrong := sorted(given.keys() - {"train"}):
        raise UsageError(f"a grid is of training settings, as train.lr=0.1,1; {wrong[0]}.… was given.")
    return {name: several(values) for name, values in given.get("train", {}).items()}


def search(
    bench: Bench, entry: Entry, drawn: Task, grid: Grid, *, shots: int, seed: int
) -> Generator[Result, None, Bench]:
    """Train and judge every point, yield the results, return the bench with the best; of equals the first.

    Args:
        bench: Where and on which backbone.
        entry: What to train; one that is not trained in steps leaves the bench as it is.
        drawn: The images to learn from, some of which are held out; see `held_out`.
        grid: What to try; without any the bench stays as it is.
        shots: Images a class, for the results.
        seed: Of the start and the order of training.

    Raises:
        UsageError: A setting that there is not, or too few images; before anything runs.
    """
    recipe = entry.parts[-1].published.recipe(shots, drawn.name)
    if not (grid and entry.learns and recipe.epochs):
        return bench
    benches = [replace(bench, training={**bench.training, **point}) for point in points(grid, recipe)]
    task, best, most = held_out(drawn), bench, -1.0
    for each in benches:
        result = each.run("grid", entry, task, {"": task}, shots=shots, seed=seed)
        yield result
        if result.metrics["top1"] > most:
            best, most = each, result.metrics["top1"]
    return best


def points(grid: Grid, recipe: TrainConfig) -> list[dict[str, Any]]:
    """Every combination, the last setting changing fastest; a linear warm-up starts at the recipe's share of the rate.

    Raises:
        UsageError: A setting without values.
    """
    if empty := [name for name, values in grid.items() if not values]:
        raise UsageError(f"the grid has no values of {empty[0]}; give some, as train.{empty[0]}=0.1,1.")
    found = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    if recipe.warmup == "linear" and "lr" in grid and "warmup_lr" not in grid:
        share = recipe.warmup_lr / recipe.lr
        found = [{**point, "warmup_lr": share * point["lr"]} for point in found]
    return found


def held_out(task: Task) -> Task:
    """The task to search on, judged on validation images; without any, on a fifth of each class's training images.

    These are then not trained on (VPT: 200 of the 1,000 images of a task of VTAB-1k).

    Raises:
        UsageError: A class has only one training image.
    """
    if task.val:
        return replace(task, val=(), test=task.val, test_name="val")
    classes = by_class([example.label for example in task.train]).values()
    if min(len(members) for members in classes) < 2:
        raise UsageError(
            f"{task.name} has no validation images to choose settings on, and 1 shot leaves none to hold out; give 2 "
            "shots or more."
        )
    held = {place for members in classes for place in members[-max(1, len(members) // 5) :]}
    train, test = (
        tuple(example for place, example in enumerate(task.train) if (place in held) is judged)
        for judged in (False, True)
    )
    return replace(task, train=train, test=test, test_name="val")
