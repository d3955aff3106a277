"""Accuracy and speed of bfloat16: python -m benchmarks.accuracy.bf16 [--seeds 1 2 3] [--steps N].

Each method is trained and evaluated on Caltech101 with `lit_tiny`, a substitute for CLIP (or --task and --backbone), in
float32 and in bfloat16: the towers use that type, prompts and optimiser always float32. Seconds are those of training
and evaluation; features that a store could hold are encoded before, and the image tower is timed separately. A method
fails where its accuracies differ by more than the 95 % interval over seeds, or over test images where nothing is
random. Seeds differ by more than precisions do, so the difference within a seed is shown too, with its own interval.

VPT uses AdamW here, as in the tables of ViTs: with its published SGD a few hundred steps are too few.
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

from benchmarks.speed.common.measure import matrix_rate
from vlprompt import methods
from vlprompt.backbones import load_clip
from vlprompt.backbones.matmul import fast_matmul
from vlprompt.data import catalog, feed
from vlprompt.data.features import FeatureStore
from vlprompt.data.task import Task
from vlprompt.experiments.statistics import interval95
from vlprompt.report.forms import Row, Table
from vlprompt.training.evaluate import evaluate
from vlprompt.training.fit import fit

METHODS = ("zero_shot", "coop", "cocoop", "vpt", "tpt")
PRECISIONS = ("fp32", "bf16")
SETTINGS: dict[str, dict[str, Any]] = {"tpt": {"views": 8, "confident": 0.25}}  # as in caltech101_test_time.toml
TRAINING: dict[str, dict[str, Any]] = {"vpt": {"optimizer": "adamw", "lr": 0.005}}  # caltech101_vit_few_shot.toml


@dataclass(frozen=True)
class Evaluated:
    """A method in one precision.

    Attributes:
        accuracies: Of each seed; one where nothing is random.
        seconds: Of training and evaluation, the median over seeds.
        correct: (S, N), whether each seed's prediction for each image is correct.
    """

    accuracies: tuple[float, ...]
    seconds: float
    correct: Tensor

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return statistics.mean(self.accuracies)

    @property
    def half_width(self) -> float:
        """Half-width of the 95 % interval: over seeds, or of a share of N images."""
        if len(self.accuracies) > 1:
            return interval95(self.accuracies)[1] or 0.0
        return 1.96 * math.sqrt(self.mean * (1 - self.mean) / self.correct.shape[1])


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 where a method's accuracy differs in bfloat16."""
    options = _parser().parse_args(arguments)
    task = catalog.load_task(options.task, options.root)
    few = task.test[:: max(1, len(task.test) // options.images)][: options.images]
    task = replace(task, test=few)
    found: dict[tuple[str, str], Evaluated] = {}
    tower: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for precision in PRECISIONS:
            clip = load_clip(options.backbone, precision=precision)
            tower[precision] = tower_seconds(clip)
            for method in METHODS:
                found[method, precision] = evaluated(clip, method, task, options, FeatureStore(folder))
                print(f"{method} {precision}: {found[method, precision].mean:.4f}", flush=True)
    print(table(found, tower).show("terminal"))
    return int(any(differ(found[method, "fp32"], found[method, "bf16"]) for method in METHODS))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.accuracy.bf16", description="Compare bfloat16 and float32.")
    shared = os.environ.get("VLPROMPT_SHARED", "../shared")
    parser.add_argument("--task", default="caltech101")
    parser.add_argument("--root", default=f"{shared}/data")
    parser.add_argument("--backbone", default=f"local-dir:{shared}/models/lit_tiny")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--shots", type=int, default=16)
    parser.add_argument("--steps", type=int, default=300, help="of training, instead of the recipe's")
    parser.add_argument("--images", type=int, default=500, help="test images, evenly spread over the split")
    return parser


def evaluated(clip: Any, method: str, task: Task, options: argparse.Namespace, store: FeatureStore) -> Evaluated:
    """Train and evaluate a method, once for each seed where it is trained."""
    kind, (_, published) = methods.learner_class(method), methods.variant(method)
    config = replace(published.config, **SETTINGS.get(method, {}))
    accuracies, seconds, correct = [], [], []
    for seed in options.seeds if kind.needs.trains else [1]:
        few = task.few_shot(options.shots, seed=seed)
        learner = kind.for_task(clip, few, config, seed=seed)
        recipe = replace(published.training(options.shots, task.dataset), steps=options.steps, warmup="none")
        recipe = replace(recipe, augment="none", batch_size=min(recipe.batch_size, 32), seed=seed)
        recipe = replace(recipe, **TRAINING.get(method, {}))
        trained = 0.0
        if learner.needs.trains:
            batches = feed.train_batches(learner.needs, clip, few, recipe, store)  # features are encoded here, untimed
            trained = fit(learner, batches, recipe).seconds
        scores = evaluate(learner, few, ["top1"], store=store)
        accuracies.append(scores.metrics["top1"])
        seconds.append(trained + scores.predict_seconds)
        correct.append(scores.scores.argmax(dim=-1) == scores.labels)
    return Evaluated(tuple(accuracies), statistics.median(seconds), torch.stack(correct))


def tower_seconds(clip: Any) -> float:
    """Seconds of the image tower for 16 images, the best of three."""
    side = clip.preprocess.size
    images = torch.randn(16, 3, side, side, generator=torch.Generator().manual_seed(0))
    seconds = []
    with torch.no_grad(), fast_matmul():
        for _ in range(4):  # the first is slower
            began = time.perf_counter()
            clip.encode_image(images)
            seconds.append(time.perf_counter() - began)
    return min(seconds)


def differ(fp32: Evaluated, bf16: Evaluated) -> bool:
    """Whether accuracies differ by more than chance."""
    return abs(fp32.mean - bf16.mean) > max(fp32.half_width, bf16.half_width)


def difference(fp32: Evaluated, bf16: Evaluated) -> tuple[float, float]:
    """The gain of bf16, and half of its 95 % interval: over seeds, each compared with itself, or over images."""
    gains = bf16.correct.double() - fp32.correct.double()  # (S, N)
    if len(gains) > 1:
        mean, half_width = interval95(gains.mean(dim=1).tolist())
        return mean, half_width or 0.0
    return float(gains.mean()), 1.96 * float(gains.std()) / math.sqrt(gains.shape[1])


def table(found: dict[tuple[str, str], Evaluated], tower: dict[str, float]) -> Table:
    """Accuracies and seconds of both precisions."""
    rows: list[Row] = []
    for method in METHODS:
        fp32, bf16 = (found[method, precision] for precision in PRECISIONS)
        shown = [f"{100 * each.mean:.1f} ± {100 * each.half_width:.1f}" for each in (fp32, bf16)]
        gain, half_width = difference(fp32, bf16)
        shown.append(f"{round(100 * gain, 1) + 0.0:+.1f} ± {100 * half_width:.1f}")  # no -0.0
        times = (f"{fp32.seconds:.3g} s", f"{bf16.seconds:.3g} s", f"{fp32.seconds / bf16.seconds:.2f}")
        rows.append((method, (*shown, *times, "DIFFERENT" if differ(fp32, bf16) else "same")))
    times = (f"{tower['fp32']:.3g} s", f"{tower['bf16']:.3g} s", f"{tower['fp32'] / tower['bf16']:.2f}")
    rows.append(("image tower, 16 images", (None, None, None, *times, " ")))
    with fast_matmul():
        rates = [matrix_rate(), matrix_rate(dtype=torch.bfloat16)]
    shown = [*(f"{rate:.0f}" for rate in rates), f"{rates[1] / rates[0]:.2f}"]
    rows.append(("matrix product, GFLOP/s", (None, None, None, *shown, " ")))
    header = ("top-1, %", "fp32", "bf16", "difference", "fp32", "bf16", "times faster", "accuracy")
    return Table("bfloat16 and float32", header, (("", tuple(rows)),))


if __name__ == "__main__":
    sys.exit(main())
