"""Base-to-new: train on half of the classes, evaluate on both halves. Zhou et al., CVPR 2022 (CoCoOp), section 4.1.

Each half is evaluated among its own class names only. Few-shot sampling covers all classes; then they are halved.
"""

from collections.abc import Iterator, Mapping, Sequence

from vlprompt.data.task import Task
from vlprompt.experiments.defaults import SEEDS, SHOTS
from vlprompt.experiments.results import Result
from vlprompt.experiments.runner import Runner
from vlprompt.experiments.spec import LearnerSpec
from vlprompt.experiments.statistics import harmonic_mean


def run(
    runner: Runner, task: Task, specs: Sequence[LearnerSpec], shots: int = SHOTS, seeds: Sequence[int] = SEEDS
) -> Iterator[Result]:
    """One result per spec and seed, with `base_top1`, `new_top1` and their harmonic mean.

    Args:
        runner: The backbone, and where results go.
        task: With labelled training images of two classes or more.
        specs: The learners.
        shots: Images per class to draw.
        seeds: Of the draw, the initialisation and the order of training.

    Raises:
        UsageError: A learner cannot change its classes; before anything runs.
    """
    base, new = task.base_and_new()
    runner.check(specs, base, {"base": base, "new": new})
    for spec in specs:
        for drawn, count, seed in spec.draws(task, shots, seeds):
            base, new = drawn.base_and_new()
            halves = {"base": base, "new": new}
            yield runner.run("base_to_new", spec, base, halves, shots=count, seed=seed, summary=_harmonic_mean)


def _harmonic_mean(metrics: Mapping[str, float]) -> dict[str, float]:
    """The harmonic mean of both accuracies, unless the labels of a half are unknown."""
    if not {"base_top1", "new_top1"} <= metrics.keys():
        return {}
    return {"harmonic_mean": harmonic_mean(metrics["base_top1"], metrics["new_top1"])}
