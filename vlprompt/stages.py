"""A learner trained on tasks that come one after another and judged after each on all so far; resumable after any.

What is kept after a task is what was learned until then and the accuracies found: whoever goes on from there begins the
tasks before anew, without training, so that the learner has the shape it had, and puts back what it knew. Within a task
`fit` keeps its own state.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from vlprompt import checkpoint, feed, metrics
from vlprompt.data.streams import Stream
from vlprompt.errors import UsageError
from vlprompt.learners.base import PromptLearner
from vlprompt.pool import Pooled
from vlprompt.results import Result
from vlprompt.runner import Bench, Entry, Plan
from vlprompt.train import TrainReport

Rows = list[list[float]]  # [t][i]: accuracy on part i after task t


@dataclass(frozen=True)
class Course:
    """How far a run has come.

    Attributes:
        rows: Accuracies after each task so far.
        seconds: Spent on training.
        waited: Of these, until images were read.
    """

    rows: Rows
    seconds: float = 0.0
    waited: float = 0.0

    def after(self, row: list[float], report: TrainReport) -> "Course":
        """One task further."""
        waited = self.waited + report.waiting * report.seconds
        return Course([*self.rows, row], self.seconds + report.seconds, waited)


def check(bench: Bench, entry: Entry, stream: Stream, *, masked: bool) -> None:
    """Say before anything runs what an entry cannot do.

    Raises:
        UsageError: With the learner's reason; or several processes were to train together.
    """
    if bench.team.size > 1:
        raise UsageError(f"tasks one after another are learned by one process; {bench.team.size} were given.")
    learner = start(bench, entry, stream, masked=masked, seed=0)
    learner.begin_task(stream.stages[1])


def start(bench: Bench, entry: Entry, stream: Stream, *, masked: bool, seed: int) -> PromptLearner[Any]:
    """The learner before the first task.

    Raises:
        UsageError: It cannot learn or be judged on this, or there is nothing to mask.
    """
    learner = bench.build(entry, stream.stages[0], stream.judged(0), seed=seed)
    learner.begin_stream(masked=masked)
    return learner


def run(
    bench: Bench,
    protocol: str,
    entry: Entry,
    stream: Stream,
    *,
    masked: bool,
    shots: int,
    seed: int,
    notes: Mapping[str, Any],
) -> Result:
    """Train on one task after the other, or go on with it, or find the result of the same run.

    Args:
        bench: Where and on which backbone.
        protocol: The protocol's name, for the result.
        entry: What to train.
        stream: The tasks.
        masked: Whether a linear head compares the classes of one task only while it is trained.
        shots: Images a class, for the result.
        seed: Of everything random.
        notes: What else to keep in the result.

    Raises:
        UsageError: The learner cannot do this; before any training starts.
    """
    learner = start(bench, entry, stream, masked=masked, seed=seed)
    plan = bench.plan(protocol, entry, learner, stream.stages[-1], stream.stages, shots=shots, seed=seed)
    known = bench.known(plan)
    if known is not None:
        return known
    state = bench.place(plan, "-tasks").with_suffix(".safetensors")
    course = _taken_up(learner, stream, state)
    for number in range(len(course.rows), len(stream.stages)):
        stage = stream.stages[number]
        if number:
            learner.begin_task(stage)
        report = bench.fit(plan, stage, f"task{number + 1}")
        scores, _ = bench.judge(entry.around(learner), stage, stream.judged(number))
        course = course.after([each.metrics["top1"] for each in scores.values()], report)
        if number + 1 < len(stream.stages):  # after the last there is the result
            _keep(learner, course, state)
    waiting = course.waited / course.seconds if course.seconds else 0.0
    whole = TrainReport(report.losses, course.seconds, _learned(learner), report.resumed_from, waiting)
    more = {"matrix": course.rows, **notes, **_usage(bench, plan, stream)}
    result = bench.keep(plan, scores, whole, notes=more, summary=lambda _: summary(course.rows))
    state.unlink(missing_ok=True)
    return result


def summary(rows: Rows) -> dict[str, float]:
    """Average accuracies and every definition of forgetting.

    Where all tasks are judged on the same examples there is one accuracy after each, and no forgetting of a task.
    """
    if all(len(row) == 1 for row in rows):
        curve = [row[0] for row in rows]
        return {"average_accuracy": curve[-1], "average_accuracy_curve_mean": math.fsum(curve) / len(curve)}
    return {name: measure(rows) for name, measure in metrics.CONTINUAL.items()}


def _learned(learner: PromptLearner[Any]) -> int:
    """How many numbers were learned over all tasks, those that are frozen by now included."""
    return sum(tensor.numel() for tensor in {**learner.trainable(), **learner.found()}.values())


def _usage(bench: Bench, plan: Plan, stream: Stream) -> dict[str, Any]:
    """Of a pool of prompts: the share of each in the test images of each task, after the last."""
    learner = plan.learner
    if not isinstance(learner, Pooled):
        return {}
    rows = []
    for task in stream.judged(len(stream.stages) - 1).values():
        queries = feed.plain_features(learner, task, task.test, bench.store).to(learner.backbone.device)
        with torch.no_grad():
            rows.append(learner.eval().usage(queries).mean(dim=0).double().tolist())
    return {"usage": [[round(share, 6) for share in row] for row in rows]}


def _keep(learner: PromptLearner[Any], course: Course, path: Path) -> None:
    """Write what a run needs to go on after a task."""
    tensors = {f"prompt/{name}": tensor for name, tensor in {**learner.trainable(), **learner.found()}.items()}
    tensors |= {f"memory/{name}": tensor for name, tensor in learner.memory().items()}
    checkpoint.save_state(path, tensors, asdict(course))


def _taken_up(learner: PromptLearner[Any], stream: Stream, path: Path) -> Course:
    """How far an interrupted run had come, the learner brought there; the beginning where there is none."""
    if not path.is_file():
        return Course([])
    tensors, meta = checkpoint.load_state(path)
    course = Course(**meta)  # type: ignore[arg-type]
    for stage in stream.stages[1 : len(course.rows)]:
        learner.begin_task(stage)
    kept = {name.removeprefix("prompt/"): each for name, each in tensors.items() if name.startswith("prompt/")}
    learner.restore(kept, str(path))
    with torch.no_grad():
        for name, value in learner.memory().items():
            value.copy_(tensors[f"memory/{name}"])
    return course
