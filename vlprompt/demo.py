"""The demo: a frozen CLIP that ships with the package learns prompts from a few handwritten digits."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from vlprompt import learners
from vlprompt.backbones import load_clip
from vlprompt.data import catalog
from vlprompt.data.features import FeatureStore
from vlprompt.data.task import Task
from vlprompt.errors import VlpromptError
from vlprompt.evaluate import evaluate
from vlprompt.protocols import few_shot, zero_shot
from vlprompt.report import plots, tables
from vlprompt.results import Result
from vlprompt.runner import Bench, Entry

SHOTS = few_shot.SHOTS[-1]
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
    prompts = [out / "prompts" / "few_shot" / task.name / f"coop-{SHOTS}shot-seed{seed}" for seed in seeds]
    before, after = _on_all_not_drawn(bench, task, dict(zip(seeds, prompts, strict=True)))
    print(f"on every digit that was not drawn: zero-shot {before:.1f} %, coop with {SHOTS} shots {after:.1f} %")
    prompt = prompts[0]
    size = sum(file.stat().st_size for file in prompt.iterdir()) / 1024
    learner = learners.load(prompt, clip)
    example = task.test[0]
    answer = learner.classify([task.images.open(example.item)])[0]
    print(f"prompt: {prompt} ({size:.1f} KB); loaded again, it calls a test image of a")
    print(f"  {task.classes[example.label]} a {answer.label} ({100 * answer.probability:.0f} %)")
    print(f"results: {bench.results_file}; {time.perf_counter() - began:.0f} s in all")


def _on_all_not_drawn(bench: Bench, task: Task, prompts: dict[int, Path]) -> tuple[float, float]:
    """Accuracy of zero-shot and of the prompts on all digits but the drawn ones, in percent, mean over the seeds."""
    whole, judged = task.whole(), []
    zero = learners.ZeroShot.for_task(bench.backbone, task, learners.ZeroShotConfig())
    for seed, folder in prompts.items():
        drawn = {example.item for example in task.few_shot(SHOTS, seed).train}
        rest = replace(whole, test=tuple(example for example in whole.test if example.item not in drawn))
        pair = zero, learners.load(folder, bench.backbone)
        judged.append([100 * evaluate(learner, rest, store=bench.store).metrics["top1"] for learner in pair])
    return fmean(before for before, _ in judged), fmean(after for _, after in judged)


def _draw(found: Sequence[Result], path: Path) -> None:
    """The plot, where matplotlib is installed; the demo does not need it."""
    try:
        plots.accuracy_by_shots(found, path)
        print(f"plot: {path}")
    except VlpromptError as error:
        print(f"no plot: {error}")
