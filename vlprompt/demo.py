"""The demo: a frozen CLIP that ships with the package learns prompts from a few handwritten digits."""

import time
from collections.abc import Sequence
from pathlib import Path

from vlprompt import learners
from vlprompt.backbones import load_clip
from vlprompt.data import catalog
from vlprompt.data.features import FeatureStore
from vlprompt.errors import VlpromptError
from vlprompt.protocols import few_shot, zero_shot
from vlprompt.report import plots, tables
from vlprompt.results import Result
from vlprompt.runner import Bench, Entry

ROWS = ("zero_shot", "linear_probe", "coop", "coop:coop-paper-csc")


def run(out: Path, seeds: Sequence[int], *, fresh: bool = False) -> None:
    """Print zero-shot on all digits, the few-shot table, and where the prompts and the plot are.

    Args:
        out: Folder for everything.
        seeds: Of the few-shot draws.
        fresh: Run again what already has a result.
    """
    began = time.perf_counter()
    clip, task = load_clip("tiny"), catalog.open_task("digits", None)
    print(f"frozen model: the bundled tiny CLIP ({clip.fingerprint}); no handwriting was used in its training")
    # Digits are not flipped or cropped: the features of the plain images are computed once.
    bench = Bench(clip, out, FeatureStore(), {"augment": "none"}, fresh=fresh)
    (plain,) = zero_shot.run(bench, task.whole(), [Entry.parse("zero_shot")])
    print(f"zero-shot on all {plain.examples} handwritten digits: {100 * plain.metrics['top1']:.1f} %\n")
    found = []
    for result in few_shot.run(bench, task, [Entry.parse(name) for name in ROWS], seeds=seeds):
        found.append(result)
        row = f"{result.learner} {result.variant}".strip() + f", {result.shots} shots, seed {result.seed}"
        print(f"  {row}: {100 * result.metrics['top1']:.1f} % ({result.train_seconds:.1f} s)", flush=True)
    print(f"\n{tables.few_shot_table(found)}\n")
    _draw(found, out / "accuracy_by_shots.png")
    prompt = out / "prompts" / "few_shot" / task.name / f"coop-16shot-seed{seeds[0]}"
    size = sum(file.stat().st_size for file in prompt.iterdir()) / 1024
    learner = learners.load(prompt, clip)
    example = task.test[0]
    answer = learner.classify([task.images.open(example.item)])[0]
    print(f"prompt: {prompt} ({size:.1f} KB); loaded again, it calls a test image of a")
    print(f"  {task.classes[example.label]} a {answer.label} ({100 * answer.probability:.0f} %)")
    print(f"results: {bench.results_file}; {time.perf_counter() - began:.0f} s in all")


def _draw(found: Sequence[Result], path: Path) -> None:
    """The plot, where matplotlib is installed; the demo does not need it."""
    try:
        plots.accuracy_by_shots(found, path)
        print(f"plot: {path}")
    except VlpromptError as error:
        print(f"no plot: {error}")
