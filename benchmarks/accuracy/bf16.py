"""Whether bfloat16 costs accuracy, and what it saves: python -m benchmarks.accuracy.bf16 [--seeds 1 2 3] [--steps N].

Caltech101 with the stand-in `lit_tiny` (or --task and --backbone), each method trained and judged in float32 and in
bfloat16: towers in that type, prompts and optimiser in float32 always. Seconds are those of training and of judging,
with features that a store could keep encoded before; the image tower is timed by itself. A method fails where its
accuracies lie further apart than the 95 % interval of seeds, or of so many test images where nothing is drawn. Seeds
differ by more than precisions do, so the difference within a seed is shown too, with an interval of its own.

VPT has AdamW here, as in the tables of ViTs: by its published SGD it has hardly begun after some hundred steps.
"""

import argparse
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.speed.measure import matrix_rate
from vlprompt import feed, learners
from vlprompt.backbones import load_clip
from vlprompt.backbones.products import fast_products
from vlprompt.data import catalog
from vlprompt.data.features import FeatureStore
from vlprompt.data.task import Task
from vlprompt.evaluate import evaluate
from vlprompt.metrics import interval95
from vlprompt.report.forms import Row, Table
from vlprompt.train import fit

METHODS = ("zero_shot", "coop", "cocoop", "vpt", "tpt")
PRECISIONS = ("fp32", "bf16")
SETTINGS: dict[str, dict[str, Any]] = {"tpt": {"views": 8, "confident": 0.25}}  # as in caltech101_test_time.toml
TRAINING: dict[str, dict[str, Any]] = {"vpt": {"optimizer": "adamw", "lr": 0.005}}  # caltech101_vit_few_shot.toml


@dataclass(frozen=True)
class Judged:
    """A method in one precision.

    Attributes:
        accuracies: Of each seed; one where nothing is drawn.
        seconds: Of training and of judging, the median seed's.
        right: (S, N), whether each seed's answer to each image was.
    """

    accuracies: tuple[float, ...]
    seconds: float
    right: Tensor

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return statistics.mean(self.accuracies)

    @property
    def half(self) -> float:
        """Half of the 95 % interval: over seeds, or of a share of so many images."""
        if len(self.accuracies) > 1:
            return interval95(self.accuracies)[1] or 0.0
        return 1.96 * math.sqrt(self.mean * (1 - self.mean) / self.right.shape[1])


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 where a method is not as good in bfloat16."""
    asked = _parser().parse_args(arguments)
    task = catalog.load_task(asked.task, asked.root)
    few = task.test[:: max(1, len(task.test) // asked.images)][: asked.images]
    task = replace(task, test=few)
    found: dict[tuple[str, str], Judged] = {}
    tower: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for precision in PRECISIONS:
            clip = load_clip(asked.backbone, precision=precision)
            tower[precision] = tower_seconds(clip)
            for method in METHODS:
                found[method, precision] = judged(clip, method, task, asked, FeatureStore(folder))
                print(f"{method} {precision}: {found[method, precision].mean:.4f}", flush=True)
    print(table(found, tower).show("terminal"))
    return int(any(apart(found[method, "fp32"], found[method, "bf16"]) for method in METHODS))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.accuracy.bf16", description="Judge bfloat16.")
    shared = os.environ.get("VLPROMPT_SHARED", "../shared")
    parser.add_argument("--task", default="caltech101")
    parser.add_argument("--root", default=f"{shared}/data")
    parser.add_argument("--backbone", default=f"local-dir:{shared}/models/lit_tiny")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--shots", type=int, default=16)
    parser.add_argument("--steps", type=int, default=300, help="of training, instead of the recipe's")
    parser.add_argument("--images", type=int, default=500, help="of the test split that are judged, evenly spread")
    return parser


def judged(clip: Any, method: str, task: Task, asked: argparse.Namespace, store: FeatureStore) -> Judged:
    """Train and judge a method, once for each seed where it learns."""
    kind, (_, published) = learners.learner_class(method), learners.variant(method)
    config = replace(published.config, **SETTINGS.get(method, {}))
    accuracies, seconds, right = [], [], []
    for seed in asked.seeds if kind.learns else [1]:
        drawn = task.few_shot(asked.shots, seed=seed)
        learner = kind.for_task(clip, drawn, config, seed=seed)
        recipe = replace(published.recipe(asked.shots, task.name), steps=asked.steps, warmup="none")
        recipe = replace(recipe, augment="none", batch_size=min(recipe.batch_size, 32), seed=seed)
        recipe = replace(recipe, **TRAINING.get(method, {}))
        batches = feed.training(learner, drawn, recipe, store) if kind.learns else None  # encoded before it is timed
        trained = fit(learner, batches, recipe).seconds if batches else 0.0
        scores = evaluate(learner, drawn, ["top1"], store=store)
        accuracies.append(scores.metrics["top1"])
        seconds.append(trained + scores.predict_seconds)
        right.append(scores.scores.argmax(dim=-1) == scores.labels)
    return Judged(tuple(accuracies), statistics.median(seconds), torch.stack(right))


def tower_seconds(clip: Any) -> float:
    """Of the image tower, for 16 images; the best of three."""
    side = clip.preprocess.size
    images = torch.randn(16, 3, side, side, generator=torch.Generator().manual_seed(0))
    taken = []
    with torch.no_grad(), fast_products():
        for _ in range(4):  # the first is slower
            began = time.perf_counter()
            clip.encode_image(images)
            taken.append(time.perf_counter() - began)
    return min(taken)


def apart(exact: Judged, rough: Judged) -> bool:
    """Whether accuracies differ by more than chance explains."""
    return abs(exact.mean - rough.mean) > max(exact.half, rough.half)


def difference(exact: Judged, rough: Judged) -> tuple[float, float]:
    """By how much the second is better, and half of the 95 % interval: over seeds, each against itself, or images."""
    gained = rough.right.double() - exact.right.double()  # (S, N)
    if len(gained) > 1:
        mean, half = interval95(gained.mean(dim=1).tolist())
        return mean, half or 0.0
    return float(gained.mean()), 1.96 * float(gained.std()) / math.sqrt(gained.shape[1])


def table(found: dict[tuple[str, str], Judged], tower: dict[str, float]) -> Table:
    """Accuracies and seconds of both precisions side by side."""
    rows: list[Row] = []
    for method in METHODS:
        exact, rough = (found[method, precision] for precision in PRECISIONS)
        shown = [f"{100 * each.mean:.1f} ± {100 * each.half:.1f}" for each in (exact, rough)]
        gained, half = difference(exact, rough)
        shown.append(f"{round(100 * gained, 1) + 0.0:+.1f} ± {100 * half:.1f}")  # no -0.0
        times = (f"{exact.seconds:.3g} s", f"{rough.seconds:.3g} s", f"{exact.seconds / rough.seconds:.2f}")
        rows.append((method, (*shown, *times, "DIFFERENT" if apart(exact, rough) else "same")))
    times = (f"{tower['fp32']:.3g} s", f"{tower['bf16']:.3g} s", f"{tower['fp32'] / tower['bf16']:.2f}")
    rows.append(("image tower, 16 images", (None, None, None, *times, " ")))
    with fast_products():
        rates = [matrix_rate(), matrix_rate(dtype=torch.bfloat16)]
    rows.append(
        ("matrix product, GFLOP/s", (None, None, None, *(f"{r:.0f}" for r in rates), f"{rates[1] / rates[0]:.2f}", " "))
    )
    header = ("top-1, %", "fp32", "bf16", "difference", "fp32", "bf16", "times faster", "accuracy")
    return Table("bfloat16 beside float32", header, (("", tuple(rows)),))


if __name__ == "__main__":
    sys.exit(main())
