"""Continual learning: tasks one after another, evaluated after each on all so far; test images carry no task number.

Class-incremental (Split CIFAR-100, Split ImageNet-R): a data set's classes, some at a time, in an order drawn by the
seed. Domain-incremental (CORe50): the same classes in one domain after another. a[t, i] is the accuracy on task i after
task t among all classes seen by then. The result holds this matrix, and every published definition of average accuracy
and forgetting under its own name (`statistics.CONTINUAL`).

Baselines for pools of prompts: sequential fine-tuning (`linear`, `full`); the same with a class mask, where the softmax
covers the classes of the current task only during training (`masked`; `vpt` is the frozen model with one prompt for all
tasks); and training on all tasks at once, the upper bound (`joint`).

An interrupted run continues after any task and within one: after each task the learned tensors and the accuracies are
stored. To continue, the learner begins the earlier tasks again without training, which gives it its shape, and its
tensors are restored. Within a task `fit` stores its own state.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vlprompt import checkpoint
from vlprompt.backbones.matmul import fast_matmul
from vlprompt.data import feed
from vlprompt.data.incremental import TaskSequence, class_incremental, domain_incremental, sample_test
from vlprompt.data.task import Task
from vlprompt.errors import UsageError
from vlprompt.experiments.defaults import SEEDS, TASKS
from vlprompt.experiments.plan import Plan
from vlprompt.experiments.results import ALL_SHOTS, Result
from vlprompt.experiments.runner import Runner
from vlprompt.experiments.spec import LearnerSpec
from vlprompt.experiments.statistics import CONTINUAL
from vlprompt.learner import PromptLearner
from vlprompt.prompts.head import GrowingHead
from vlprompt.prompts.pool import Pooled
from vlprompt.training.resume import Resumable, TrainReport

PROTOCOL = "continual"
Rows = list[list[float]]  # [t][i]: accuracy on part i after task t


def run(
    runner: Runner,
    task: Task,
    specs: Sequence[LearnerSpec],
    *,
    masked: Sequence[LearnerSpec] = (),
    joint: Sequence[LearnerSpec] = (),
    tasks: int = TASKS,
    domains: bool = False,
    listed: bool = False,
    shots: int = ALL_SHOTS,
    test_shots: int | None = None,
    seeds: Sequence[int] = SEEDS,
) -> Iterator[Result]:
    """One result per spec and seed.

    Args:
        runner: The backbone, and where results go.
        task: The task whose classes or domains are divided.
        specs: Learners that learn one task after another.
        masked: Such learners with a class mask on their linear head.
        joint: Learners that train on all tasks at once; their results have no matrix.
        tasks: The number of tasks that the classes are divided into.
        domains: One task per domain instead.
        listed: Classes (or domains) in the order of the data set instead of one drawn by the seed.
        shots: Images per class, -1 for all.
        test_shots: Test images per class; None: all.
        seeds: Of the order, the draws, the initialisation and the order of training.

    Raises:
        UsageError: An impossible sequence of tasks, or a learner that cannot do this; before anything runs.
    """
    sequences = {}
    for seed in seeds:
        drawn, order = _drawn(task, shots, test_shots, seed), None if listed else seed
        sequences[seed] = domain_incremental(drawn, order) if domains else class_incremental(drawn, tasks, order)
    masked = [replace(spec, changed={**spec.changed, "mask": "classes"}) for spec in masked]
    joint = [replace(spec, changed={**spec.changed, "tasks": "joint"}) for spec in joint]
    for first in list(sequences.values())[:1]:
        _check(runner, specs, first, masked=False)
        _check(runner, masked, first, masked=True)
        runner.check(joint, first.joint(), _tests(first))
    for group, mask in ((specs, False), (masked, True)):
        for spec, (seed, sequence) in product(group, sequences.items()):
            yield _in_order(runner, spec, sequence, masked=mask, shots=shots * spec.trains, seed=seed)
    for spec, (seed, sequence) in product(joint, sequences.items()):
        yield _at_once(runner, spec, sequence, shots=shots * spec.trains, seed=seed)


def summary(rows: Rows) -> dict[str, float]:
    """Average accuracies and every definition of forgetting.

    With a common test set there is one accuracy after each task, and forgetting of a task is not defined.
    """
    if all(len(row) == 1 for row in rows):
        curve = [row[0] for row in rows]
        return {"average_accuracy": curve[-1], "average_accuracy_curve_mean": math.fsum(curve) / len(curve)}
    return {name: measure(rows) for name, measure in CONTINUAL.items()}


def _drawn(task: Task, shots: int, test_shots: int | None, seed: int) -> Task:
    """The task with the images to train and evaluate on."""
    drawn = task if shots == ALL_SHOTS else task.few_shot(shots, seed)
    return drawn if test_shots is None else sample_test(drawn, test_shots, seed)


def _tests(sequence: TaskSequence) -> dict[str, Task]:
    """The tasks to evaluate after the last stage."""
    return sequence.test_tasks(len(sequence.stages) - 1)


def _at_once(runner: Runner, spec: LearnerSpec, sequence: TaskSequence, *, shots: int, seed: int) -> Result:
    """Train on all tasks together, evaluate on each."""
    tests, notes = _tests(sequence), {"order": sequence.added}

    def average(metrics: Mapping[str, float]) -> dict[str, float]:
        return {"average_accuracy": math.fsum(metrics[f"{part}_top1"] for part in tests) / len(tests)}

    return runner.run(PROTOCOL, spec, sequence.joint(), tests, shots=shots, seed=seed, notes=notes, summary=average)


def _check(runner: Runner, specs: Sequence[LearnerSpec], sequence: TaskSequence, *, masked: bool) -> None:
    """Raise UsageError where `_in_order` would refuse one of the specs."""
    if specs and runner.processes.size > 1:
        raise UsageError(f"a sequence of tasks is learned by one process; there are {runner.processes.size}.")
    for spec in specs:
        _start(runner, spec, sequence, masked=masked, seed=0).begin_task(sequence.stages[1])


def _start(
    runner: Runner, spec: LearnerSpec, sequence: TaskSequence, *, masked: bool, seed: int
) -> PromptLearner[Any, Any]:
    """The learner before the first task.

    Raises:
        UsageError: It cannot be trained or evaluated on these tasks, or it has no linear head to mask.
    """
    learner = runner.build(spec, sequence.stages[0], sequence.test_tasks(0), seed=seed)
    if isinstance(learner, GrowingHead):
        learner.begin_stream(masked=masked)
    elif masked:
        raise UsageError(f"{learner.method()} has no linear head here, so its classes cannot be masked.")
    return learner


@dataclass(frozen=True)
class _Progress:
    """The finished tasks of a run: accuracies after each, seconds of training, and those spent waiting for images."""

    rows: Rows
    seconds: float = 0.0
    waited: float = 0.0

    def after(self, row: list[float], report: TrainReport) -> "_Progress":
        """The progress one task later."""
        waited = self.waited + report.waiting * report.seconds
        return _Progress([*self.rows, row], self.seconds + report.seconds, waited)


def _in_order(
    runner: Runner, spec: LearnerSpec, sequence: TaskSequence, *, masked: bool, shots: int, seed: int
) -> Result:
    """Train on one task after another, or continue such a run, or find the result of an equal one."""
    learner, stages = _start(runner, spec, sequence, masked=masked, seed=seed), sequence.stages
    plan = runner.plan(PROTOCOL, spec, learner, stages[-1], stages, shots=shots, seed=seed)
    return runner.once(plan, lambda: _train_in_order(runner, plan, learner, sequence))


def _train_in_order(runner: Runner, plan: Plan, learner: PromptLearner[Any, Any], sequence: TaskSequence) -> Result:
    """Train on one task after another, from where such a run was interrupted, and store the result."""
    stages = sequence.stages
    path = runner.state_path(plan, "-tasks.safetensors")
    progress = _resumed(learner, sequence, path)
    for number in range(len(progress.rows), len(stages)):
        if number:
            learner.begin_task(stages[number])
        report = runner.fit(plan, stages[number], f"task{number + 1}")
        scores = runner.evaluate(plan.spec.wrap(learner), stages[number], sequence.test_tasks(number))
        progress = progress.after([each.metrics["top1"] for each in scores.values()], report)
        if number + 1 < len(stages):  # after the last one the result is stored
            _save(learner, progress, path)
    waiting = progress.waited / progress.seconds if progress.seconds else 0.0
    learned = sum(tensor.numel() for tensor in learner.saved_tensors().values())  # in all tasks, frozen by now or not
    whole = TrainReport(report.losses, progress.seconds, learned, report.resumed_from, waiting)
    notes = {"matrix": progress.rows, "order": sequence.added, **_usage(runner, learner, sequence)}
    result = runner.save(plan, _tests(sequence), scores, whole, notes=notes, summary=lambda _: summary(progress.rows))
    path.unlink(missing_ok=True)
    return result


@fast_matmul()
def _usage(runner: Runner, learner: PromptLearner[Any, Any], sequence: TaskSequence) -> dict[str, Any]:
    """Of a pool of prompts after the last task: the share of each prompt in the test images of each task."""
    if not isinstance(learner, Pooled):
        return {}
    rows = []
    for task in _tests(sequence).values():
        queries = feed.plain_features(runner.backbone, task.images, task.test, runner.store).to(runner.backbone.device)
        with torch.no_grad():
            rows.append(learner.eval().usage(queries).mean(dim=0).double().tolist())
    return {"usage": [[round(share, 6) for share in row] for row in rows]}


def _state(learner: PromptLearner[Any, Any]) -> dict[str, Tensor]:
    """Tensors besides the saved ones that the training needs."""
    return learner.training_state() if isinstance(learner, Resumable) else {}


def _save(learner: PromptLearner[Any, Any], progress: _Progress, path: Path) -> None:
    """Store what a run needs to continue after a task."""
    tensors = {f"prompt/{name}": tensor for name, tensor in learner.saved_tensors().items()}
    tensors |= {f"memory/{name}": tensor for name, tensor in _state(learner).items()}
    checkpoint.save_state(path, tensors, asdict(progress))


def _resumed(learner: PromptLearner[Any, Any], sequence: TaskSequence, path: Path) -> _Progress:
    """The progress of an interrupted run, with its learner restored; no progress for a new run."""
    if not path.is_file():
        return _Progress([])
    tensors, meta = checkpoint.load_state(path)
    progress = _Progress(**meta)  # type: ignore[arg-type]
    for stage in sequence.stages[1 : len(progress.rows)]:
        learner.begin_task(stage)
    saved = {name.removeprefix("prompt/"): each for name, each in tensors.items() if name.startswith("prompt/")}
    learner.restore(saved, str(path))
    with torch.no_grad():
        for name, value in _state(learner).items():
            value.copy_(tensors[f"memory/{name}"])
    return progress
