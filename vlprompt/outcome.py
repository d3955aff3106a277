"""What a run leaves behind: the rest of its result line, and predictions where nothing could be measured."""

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from vlprompt import checkpoint, metrics, results
from vlprompt.backbones.loading import LOCAL
from vlprompt.data.task import Task
from vlprompt.errors import warn
from vlprompt.evaluate import Scores
from vlprompt.results import Result
from vlprompt.train import TrainReport


def without_path(backbone: str) -> str:
    """How result lines name a backbone: a local folder by its own name only, whoever's machine it lies on."""
    if not backbone.startswith(LOCAL):
        return backbone
    given = backbone.removeprefix(LOCAL)
    folder = given.removesuffix("/random")  # what load_clip appends for random weights
    return Path(folder).resolve().name + given[len(folder) :]


def joint_hash(tasks: Sequence[Task]) -> str:
    """The split hash of one task, or of several together."""
    hashes = list(dict.fromkeys(task.split_hash for task in tasks))
    return hashes[0] if len(hashes) == 1 else hashlib.sha256(" ".join(hashes).encode()).hexdigest()


def complete(
    result: Result, scores: Mapping[str, Scores], earlier: Mapping[str, Scores], report: TrainReport
) -> Result:
    """The result line with what came out; metrics carry the prefix of the task they were judged on."""
    measured = {
        (f"{part}_{name}" if part else name): value
        for part, judged in {**scores, **earlier}.items()
        for name, value in judged.metrics.items()
    }
    examples = sum(len(judged.labels) for judged in scores.values())
    each = sum(judged.predict_seconds for judged in scores.values()) / examples
    if {"base_top1", "new_top1"} <= measured.keys():
        measured["harmonic_mean"] = metrics.harmonic_mean(measured["base_top1"], measured["new_top1"])
    return replace(
        result,
        metrics=measured,
        examples=examples,
        extra={**result.extra, "seconds_per_image": each, "waiting_for_data": report.waiting},
        trainable_parameters=report.parameters,
        train_seconds=report.seconds,
        eval_seconds=sum(judged.seconds for judged in scores.values()),
        peak_memory_mb=results.peak_memory_mb(),
    )


def keep_predictions(path: Path, task: Task, scores: Scores) -> None:
    """Write what a learner says of test images without labels, a line for each, and say where."""
    confidence, best = scores.scores.softmax(dim=1).max(dim=1)
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["image", "class", "probability"])
    for example, label, sure in zip(task.test, best.tolist(), confidence.tolist(), strict=True):
        lines.writerow([task.images.name(example.item), task.classes[label], f"{sure:.6f}"])
    checkpoint.write_files({path: text.getvalue().encode("utf-8", "surrogateescape")})
    warn(f"{task.name}: no test image has a label, so there is no accuracy; predictions are in {path}.")
