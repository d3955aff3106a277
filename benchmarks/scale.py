"""Time and memory of the field's full grids, from measured costs: python -m benchmarks.scale [--write].

Prints the page `benchmarks/scale.md`, or writes it there with --write. Every figure follows from the latest lines of
`results/speed.jsonl`, the recipes of the learners, the sizes of the data sets and the assumptions below.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlprompt import methods
from vlprompt.data import descriptors
from vlprompt.experiments.spec import LearnerSpec

HERE = Path(__file__).resolve().parent
PAGE, RESULTS = HERE / "scale.md", HERE / "results" / "speed.jsonl"

DATA = ("imagenet", "caltech101", "oxford_pets", "stanford_cars", "oxford_flowers", "food101", "fgvc_aircraft",
        "sun397", "dtd", "eurosat", "ucf101")  # fmt: skip
SHOTS, SEEDS = (1, 2, 4, 8, 16), 3
IMAGE_GFLOP = 35.1  # ViT-B/16 at 224 pixels, one image forward: 17.6e9 multiply-adds
TRAINED = 3  # cost of a forward and backward pass, in forward passes
GPU_GFLOP = 989_000  # bfloat16, dense, of an H100 or H200 by its data sheet
GPU_SHARE = 0.35  # reached share of it; assumed, not measured
GPU_STEP = 0.010  # least seconds of a step, to launch its kernels; assumed
MACHINES, WORKERS = 16, 8  # a small cluster: machines of 16 cores, two cores for each worker
EFFICIENCY = 0.8  # of several workers at the same time, until `sweep` is measured
R_TRAIN, R_TEST, R_TASKS = 24_000, 6_000, 10  # Split ImageNet-R


def latest(path: Path) -> Callable[..., Mapping[str, float] | None]:
    """A function that returns the figures of the last line of a benchmark with some settings, or None."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    def found(benchmark: str, **setting: Any) -> Mapping[str, float] | None:
        fits = [line for line in lines if line["benchmark"] == benchmark and setting.items() <= line["setting"].items()]
        return fits[-1]["figures"] if fits else None

    return found


@dataclass(frozen=True)
class Costs:
    """Seconds and bytes on the measured machine.

    Attributes:
        text: Seconds of CoOp's text side, forward and backward, for a class.
        cocoop: Of CoCoOp's step with one image, for a class.
        cocoop_test: Of its text side, forward only, for a class and a test image.
        maple: Of MaPLe's text side, for a class.
        promptsrc: Of PromptSRC's.
        image: Of ViT-B/16 for one image, forward.
        gflop: The rate of these operations, GFLOP/s.
        memory: GB of a process that trains CoOp with 1,000 classes.
        efficiency: Of several workers.
        image_is_measured: Whether `image` was timed; else it is computed from operations and rate.
    """

    text: float
    cocoop: float
    cocoop_test: float
    maple: float
    promptsrc: float
    image: float
    gflop: float
    memory: float
    efficiency: float
    image_is_measured: bool

    @classmethod
    def measured(cls, path: Path) -> "Costs":
        """From a file of results."""
        find = latest(path)
        text, cocoop = find("text_side", classes=300, context=16), find("cocoop", batch=1)
        eight, memory = find("cocoop", batch=8), find("memory", classes=1000)
        deep = {method: find("deep_text", method=method) for method in ("maple", "promptsrc")}
        if not (text and cocoop and eight and memory and all(deep.values())):
            raise ValueError(f"{path} lacks a benchmark; run: python -m benchmarks.speed")
        tpt, sweep = find("tpt", views=64), find("sweep", workers=2)
        image = tpt["image_tower_s"] / 64 if tpt else IMAGE_GFLOP / text["ours_gflop_per_s"]
        return cls(
            text=text["ours_s"] / 300,
            cocoop=cocoop["ours_s"] / 100,
            cocoop_test=eight["ours_s"] / 8 / 100 / TRAINED,
            maple=deep["maple"]["ours_s"] / 100,  # type: ignore[index]
            promptsrc=deep["promptsrc"]["ours_s"] / 100,  # type: ignore[index]
            image=image,
            gflop=text["ours_gflop_per_s"],
            memory=memory["peak_gb"],
            efficiency=sweep["times_faster"] / 2 if sweep else EFFICIENCY,
            image_is_measured=tpt is not None,
        )


@dataclass(frozen=True)
class Method:
    """The costs of a method.

    Attributes:
        spec: As on the command line; its recipe determines epochs and batch size.
        step: Seconds of the text side of a step, for a class.
        train_passes: Forward passes through the image tower for each training image and epoch.
        test_passes: The same for each test image of every run; 0 where the store has its features.
        test_text: Seconds of the text side for each test image and class.
    """

    spec: str
    step: float
    train_passes: float
    test_passes: float = 0.0
    test_text: float = 0.0


def grid_methods(costs: Costs) -> dict[str, Method]:
    """The methods of the few-shot grid, by their names in the table."""
    return {
        "coop, plain images": Method("coop", costs.text, train_passes=0),
        "coop": Method("coop", costs.text, train_passes=1),
        "kgcoop": Method("kgcoop", costs.text, train_passes=1),
        "prograd": Method("prograd", costs.text, train_passes=1),
        "cocoop": Method("cocoop", costs.cocoop, train_passes=1, test_text=costs.cocoop_test),
        "maple": Method("maple", costs.maple, train_passes=TRAINED, test_passes=1),
        "promptsrc": Method("promptsrc:promptsrc-few-shot", costs.promptsrc, train_passes=TRAINED + 1, test_passes=1),
    }


@dataclass(frozen=True)
class Work:
    """Seconds of computation and number of steps."""

    seconds: float
    steps: float

    def on_gpu(self, costs: Costs) -> float:
        """Seconds on one GPU: the same operations at its rate, and at least the launch time of each step."""
        return max(self.seconds * costs.gflop / (GPU_GFLOP * GPU_SHARE), self.steps * GPU_STEP)


def run_of(method: Method, task: str, shots: int, costs: Costs) -> Work:
    """One few-shot run."""
    data, recipe = descriptors.describe(task), LearnerSpec.parse(method.spec).published.training(shots, task)
    images, tests = shots * data.classes, data.sizes["test"]
    steps = recipe.epochs * max(1, images // recipe.batch_size)
    text = steps * method.step * data.classes + tests * method.test_text * data.classes
    passes = steps * min(recipe.batch_size, images) * method.train_passes + tests * method.test_passes
    test_steps = tests * (method.test_text > 0) + tests * method.test_passes / 100
    return Work(text + passes * costs.image, steps + test_steps)


def few_shot(method: Method, costs: Costs) -> list[Work]:
    """All runs of a method."""
    return [run_of(method, task, shots, costs) for task in DATA for shots in SHOTS] * SEEDS


def test_time(costs: Costs) -> list[Work]:
    """TPT over ImageNet in shards: for each image 64 views, a step with 1,000 classes and one more forward pass."""
    images = descriptors.describe("imagenet").sizes["test"] / (MACHINES * WORKERS)
    each = 64 * costs.image + 1000 * costs.text * (1 + 1 / TRAINED)
    return [Work(images * each, images)] * (MACHINES * WORKERS)


def continual(method: str, costs: Costs) -> list[Work]:
    """Split ImageNet-R: the frozen model's features once, training by the recipe, a test after every task."""
    recipe = methods.variant(method)[1].training(R_TRAIN, "imagenet_r")
    passes = R_TRAIN + R_TEST + recipe.epochs * R_TRAIN * TRAINED + R_TEST * (R_TASKS + 1) / 2
    return [Work(passes * costs.image, recipe.epochs * R_TRAIN / recipe.batch_size)] * SEEDS


def duration(seconds: float) -> str:
    """Seconds in a suitable unit."""
    for size, name in ((365.25 * 86400, "years"), (86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {name}"
    return f"{seconds:.2g} seconds"


def times(works: Sequence[Work], costs: Costs) -> tuple[float, float, float]:
    """Seconds of some runs on the measured machine, on a GPU and on the cluster."""
    whole, longest = sum(work.seconds for work in works), max(work.seconds for work in works)
    cluster = max(whole / (MACHINES * WORKERS * costs.efficiency), longest)  # one worker executes a run
    return whole, sum(work.on_gpu(costs) for work in works), cluster


def row(name: str, works: Sequence[Work], costs: Costs) -> str:
    """A line of a table."""
    return f"| {name} | " + " | ".join(map(duration, times(works, costs))) + " |"


HEAD = "| {} | one machine (2 cores) | one GPU | {} machines of 16 cores |\n|---|---|---|---|"


def page(path: Path = RESULTS) -> str:
    """The page."""
    costs = Costs.measured(path)
    grids = [row(name, few_shot(method, costs), costs) for name, method in grid_methods(costs).items()]
    streams = [row("tpt, 50,000 images, 64 views", test_time(costs), costs)]
    pools = ("l2p", "dual_prompt", "coda_prompt")
    sequences = [row(f"{name}, {SEEDS} seeds", continual(name, costs), costs) for name in pools]
    stored = sum(descriptors.describe(task).sizes["test"] for task in DATA)
    text = (HERE / "scale_template.md").read_text(encoding="utf-8")
    return text.format(
        **vars(costs),
        how="measured (`tpt`)" if costs.image_is_measured else f"{IMAGE_GFLOP} GFLOP at the rate above",
        per_gpu=GPU_GFLOP * GPU_SHARE,
        gpu_share=GPU_SHARE,
        gpu_step=GPU_STEP,
        workers=MACHINES * WORKERS,
        runs=len(DATA) * len(SHOTS) * SEEDS,
        few_shot="\n".join([HEAD.format("11 data sets x 5 shots x 3 seeds", MACHINES), *grids]),
        test_time="\n".join([HEAD.format("ImageNet", MACHINES), *streams]),
        continual="\n".join([HEAD.format("Split ImageNet-R, 10 tasks", MACHINES), *sequences]),
        stored=stored,
        stored_mb=stored * 512 * 4 / 1e6,
        views_gb=50_000 * 64 * 512 * 4 / 1e9,
        once=duration(stored * costs.image),
        machine_gb=costs.memory * WORKERS,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the page, or write it."""
    parser = argparse.ArgumentParser("python -m benchmarks.scale", description="Full grids from measured costs.")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name} instead")
    if parser.parse_args(arguments).write:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        print(page(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
