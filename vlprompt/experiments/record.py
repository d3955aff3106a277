"""What a finished run leaves: its result line, and predictions of test images without labels."""

import csv
import io
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path

from vlprompt.data.task import Task
from vlprompt.errors import printable, warn
from vlprompt.experiments.results import Result, peak_memory_mb
from vlprompt.files import write_files
from vlprompt.training.evaluate import Scores
from vlprompt.training.resume import TrainReport

Summary = Callable[[Mapping[str, float]], Mapping[str, float]]  # more metrics, computed from those of all parts


def completed(
    result: Result,
    parts: Collection[str],
    scores: Mapping[str, Scores],
    report: TrainReport,
    summary: Summary | None = None,
) -> Result:
    """Complete a result line.

    Args:
        result: The line as it was before training.
        parts: The evaluated parts; other scores are from before the learner adapted to the same examples.
        scores: All scores, by the prefix of their metrics ("" for none).
        report: On the training.
        summary: Computes more metrics.
    """
    metrics = {
        (f"{part}_{name}" if part else name): value
        for part, each in scores.items()
        for name, value in each.metrics.items()
    }
    examples = sum(len(scores[part].labels) for part in parts)
    seconds = sum(scores[part].predict_seconds for part in parts)
    return replace(
        result,
        metrics=metrics | dict(summary(metrics) if summary else {}),
        examples=examples,
        extra={**result.extra, "seconds_per_image": seconds / examples, "waiting_for_data": report.waiting},
        trainable_parameters=report.parameters,
        train_seconds=report.seconds,
        eval_seconds=sum(scores[part].seconds for part in parts),
        peak_memory_mb=peak_memory_mb(),
    )


def save_predictions(path: Path, task: Task, scores: Scores) -> None:
    """Write the predicted class of every test image and its probability, a line each, and warn where the file is."""
    confidence, best = scores.scores.softmax(dim=1).max(dim=1)
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["image", "class", "probability"])
    for example, label, probability in zip(task.test, best.tolist(), confidence.tolist(), strict=True):
        lines.writerow([_cell(task.images.name(example.item)), _cell(task.classes[label]), f"{probability:.6f}"])
    write_files({path: text.getvalue().encode("utf-8", "surrogateescape")})
    warn(f"{task.name}: no test image has a label, so there is no accuracy; predictions are in {path}.")


def _cell(text: str) -> str:
    """A name that no spreadsheet takes for a formula, and that stays in its line."""
    return printable(f"'{text}" if text[:1] in ("=", "+", "@") or text[:2] in ("-=", "-@") else text)
