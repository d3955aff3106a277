"""Time and memory of the field's full grids, from measured costs: python -m benchmarks.scale [--write].

Prints the page `benchmarks/scale.md`; with --write it is written there. Every figure follows from the latest lines of
`results/speed.jsonl`, the recipes of the learners, the sizes of the data sets and the assumptions below.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlprompt import learners
from vlprompt.data import catalog
from vlprompt.runner import Entry

HERE = Path(__file__).resolve().parent
PAGE, RESULTS = HERE / "scale.md", HERE / "results" / "speed.jsonl"

DATA = ("imagenet", "caltech101", "oxford_pets", "stanford_cars", "oxford_flowers", "food101", "fgvc_aircraft",
        "sun397", "dtd", "eurosat", "ucf101")  # fmt: skip
SHOTS, SEEDS = (1, 2, 4, 8, 16), 3
IMAGE_GFLOP = 35.1  # ViT-B/16 at 224 pixels, one image forward: 17.6e9 multiply-adds
TRAINED = 3  # a pass forward and backward costs three forward
GPU_GFLOP = 989_000  # bfloat16, dense, of an H100 or H200 by its data sheet
GPU_SHARE = 0.35  # of it that is reached; assumed, not measured
GPU_STEP = 0.010  # seconds a step takes at least, starting its kernels; assumed
MACHINES, WORKERS = 16, 8  # a small cluster: machines of 16 cores, two cores for each worker
EFFICIENCY = 0.8  # of several workers beside one another, until `sweep` has been measured
R_TRAIN, R_TEST, R_TASKS = 24_000, 6_000, 10  # Split ImageNet-R


def latest(path: Path) -> Callable[..., Mapping[str, float] | None]:
    """The figures of the last line of a benchmark with some settings, or None where there is none."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    def found(benchmark: str, **setting: Any) -> Mapping[str, float] | None:
        fits = [line for line in lines if line["benchmark"] == benchmark and setting.items() <= line["setting"].items()]
        return fits[-1]["figures"] if fits else None

    return found


@dataclass(frozen=True)
class Costs:
    """Seconds and bytes on the machine that was measured.

    Attributes:
        text: Of CoOp's text side, forward and backward, for a class.
        cocoop: Of CoCoOp's step with one image, for a class.
        cocoop_judging: Of its text side forward only, for a class and a test image.
        maple: Of MaPLe's text side, for a class.
        promptsrc: Of PromptSRC's.
        image: Of ViT-B/16 for one image, forward.
        gflop: Operations in a second that these reached.
        memory: GB of a process that trains CoOp with 1,000 classes.
        efficiency: Of several workers.
        image_is_measured: Whether `image` was timed; else it is operations by rate.
    """

    text: float
    cocoop: float
    cocoop_judging: float
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
            raise ValueError(f"{path} lacks a benchmark; run python -m benchmarks.speed")
        tpt, sweep = find("tpt", views=64), find("sweep", workers=2)
        image = tpt["image_tower_s"] / 64 if tpt else IMAGE_GFLOP / text["ours_gflop_per_s"]
        return cls(
            text=text["ours_s"] / 300,
            cocoop=cocoop["ours_s"] / 100,
            cocoop_judging=eight["ours_s"] / 8 / 100 / TRAINED,
            maple=deep["maple"]["ours_s"] / 100,  # type: ignore[index]
            promptsrc=deep["promptsrc"]["ours_s"] / 100,  # type: ignore[index]
            image=image,
            gflop=text["ours_gflop_per_s"],
            memory=memory["peak_gb"],
            efficiency=sweep["times_faster"] / 2 if sweep else EFFICIENCY,
            image_is_measured=tpt is not None,
        )


@dataclass(frozen=True)
class Way:
    """What a method costs.

    Attributes:
        entry: As on the command line; its recipe gives epochs and batch size.
        step: Seconds of the text side of a step, for a class.
        seen: Passes forward through the image tower for each training image and epoch.
        judged: The same for each test image of every run; 0 where the store has its features.
        judging: Seconds of the text side for each test image and class.
    """

    entry: str
    step: float
    seen: float
    judged: float = 0.0
    judging: float = 0.0


def ways(costs: Costs) -> dict[str, Way]:
    """The methods of the few-shot grid, by how they are called in the table."""
    return {
        "coop, plain images": Way("coop", costs.text, seen=0),
        "coop": Way("coop", costs.text, seen=1),
        "kgcoop": Way("kgcoop", costs.text, seen=1),
        "prograd": Way("prograd", costs.text, seen=1),
        "cocoop": Way("cocoop", costs.cocoop, seen=1, judging=costs.cocoop_judging),
        "maple": Way("maple", costs.maple, seen=TRAINED, judged=1),
        "promptsrc": Way("promptsrc:promptsrc-few-shot", costs.promptsrc, seen=TRAINED + 1, judged=1),
    }


@dataclass(frozen=True)
class Work:
    """Seconds of computing and number of steps."""

    seconds: float
    steps: float

    def on_gpu(self, costs: Costs) -> float:
        """Seconds on one GPU: the same operations at its rate, and no step in less than it takes to start."""
        return max(self.seconds * costs.gflop / (GPU_GFLOP * GPU_SHARE), self.steps * GPU_STEP)


def run_of(way: Way, task: str, shots: int, costs: Costs) -> Work:
    """One few-shot run."""
    known, recipe = catalog.describe(task), Entry.parse(way.entry).published.recipe(shots, task)
    images, tests = shots * known.classes, known.sizes["test"]
    steps = recipe.epochs * max(1, images // recipe.batch_size)
    text = steps * way.step * known.classes + tests * way.judging * known.classes
    passes = steps * min(recipe.batch_size, images) * way.seen + tests * way.judged
    return Work(text + passes * costs.image, steps + tests * (way.judging > 0) + tests * way.judged / 100)


def few_shot(way: Way, costs: Costs) -> list[Work]:
    """All runs of a method."""
    return [run_of(way, task, shots, costs) for task in DATA for shots in SHOTS] * SEEDS


def test_time(costs: Costs) -> list[Work]:
    """TPT over ImageNet in shares: for each image 64 views, a step of 1,000 classes and one more pass forward."""
    images = catalog.describe("imagenet").sizes["test"] / (MACHINES * WORKERS)
    each = 64 * costs.image + 1000 * costs.text * (1 + 1 / TRAINED)
    return [Work(images * each, images)] * (MACHINES * WORKERS)


def continual(method: str, costs: Costs) -> list[Work]:
    """Split ImageNet-R: what the frozen model says once, training by the recipe, a test after every task."""
    recipe = learners.variant(method)[1].recipe(R_TRAIN, "imagenet_r")
    passes = R_TRAIN + R_TEST + recipe.epochs * R_TRAIN * TRAINED + R_TEST * (R_TASKS + 1) / 2
    return [Work(passes * costs.image, recipe.epochs * R_TRAIN / recipe.batch_size)] * SEEDS


def duration(seconds: float) -> str:
    """Seconds in a unit that fits them."""
    for size, name in ((365.25 * 86400, "years"), (86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {name}"
    return f"{seconds:.2g} seconds"


def times(works: Sequence[Work], costs: Costs) -> tuple[float, float, float]:
    """Seconds of some runs on the machine that was measured, on a GPU and on the cluster."""
    whole, longest = sum(work.seconds for work in works), max(work.seconds for work in works)
    # However many workers there are, a run is done by one of them.
    shared = whole / (MACHINES * WORKERS * costs.efficiency)
    return whole, sum(work.on_gpu(costs) for work in works), max(shared, longest)


def row(name: str, works: Sequence[Work], costs: Costs) -> str:
    """A line of a table."""
    return f"| {name} | " + " | ".join(map(duration, times(works, costs))) + " |"


HEAD = "| {} | one machine (2 cores) | one GPU | {} machines of 16 cores |\n|---|---|---|---|"


def page(path: Path = RESULTS) -> str:
    """The page."""
    costs = Costs.measured(path)
    head = lambda what: HEAD.format(what, MACHINES)  # noqa: E731
    grids = [row(name, few_shot(way, costs), costs) for name, way in ways(costs).items()]
    streams = [row("tpt, 50,000 images, 64 views", test_time(costs), costs)]
    methods = ("l2p", "dual_prompt", "coda_prompt")
    sequences = [row(f"{name}, {SEEDS} seeds", continual(name, costs), costs) for name in methods]
    stored = sum(catalog.describe(task).sizes["test"] for task in DATA)
    text = (HERE / "scale_template.md").read_text(encoding="utf-8")
    return text.format(
        **vars(costs),
        how="measured (`tpt`)" if costs.image_is_measured else f"{IMAGE_GFLOP} GFLOP at the rate above",
        per_gpu=GPU_GFLOP * GPU_SHARE,
        gpu_share=GPU_SHARE,
        gpu_step=GPU_STEP,
        workers=MACHINES * WORKERS,
        runs=len(DATA) * len(SHOTS) * SEEDS,
        few_shot="\n".join([head("11 data sets x 5 shots x 3 seeds"), *grids]),
        test_time="\n".join([head("ImageNet"), *streams]),
        continual="\n".join([head("Split ImageNet-R, 10 tasks"), *sequences]),
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
