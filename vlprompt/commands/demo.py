"""The command `vlprompt demo`, and the last lines that both demos print."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from vlprompt.errors import VlpromptError
from vlprompt.experiments.defaults import FEW_SHOT_SHOTS, SEEDS
from vlprompt.experiments.results import Result

if TYPE_CHECKING:
    from vlprompt.data.task import Task
    from vlprompt.experiments.runner import Runner

SHOTS = FEW_SHOT_SHOTS[-1]
LEARNERS = ("zero_shot", "linear_probe", "coop", "coop:coop-paper-csc")


def run(out: Path = Path("runs/demo"), seeds: tuple[int, ...] = SEEDS, fresh: bool = False) -> None:
    """Train prompts for a bundled CLIP on a few handwritten digits.

    It prints zero-shot accuracy on all digits, a few-shot table of zero-shot, linear probe and CoOp, and one answer of
    a saved prompt.

    Args:
        out: Folder for results, prompts and the plot.
        seeds: One few-shot draw per seed.
        fresh: Repeat runs that already have a result.
    """
    from vlprompt.backbones import load_clip
    from vlprompt.data import catalog
    from vlprompt.data.features import FeatureStore
    from vlprompt.experiments.plan import folder_of
    from vlprompt.experiments.protocols import few_shot, zero_shot
    from vlprompt.experiments.runner import Runner
    from vlprompt.experiments.spec import LearnerSpec
    from vlprompt.report.tables import few_shot_table

    began = time.perf_counter()
    clip, task = load_clip("tiny"), catalog.load_task("digits")
    print(f"frozen model: the bundled tiny CLIP ({clip.fingerprint}); no handwriting was used in its training")
    # Digits are not flipped or cropped: the features of the plain images are computed once.
    runner = Runner(clip, out, FeatureStore(), {"augment": "none"}, fresh=fresh)
    (plain,) = zero_shot.run(runner, task.whole(), [LearnerSpec.parse("zero_shot")])
    print(f"zero-shot on all {plain.examples} handwritten digits: {100 * plain.metrics['top1']:.1f} %\n")
    results = []
    for result in few_shot.run(runner, task, [LearnerSpec.parse(name) for name in LEARNERS], seeds=seeds):
        results.append(result)
        row = f"{result.learner} {result.variant}".strip() + f", {result.shots} shots, seed {result.seed}"
        print(f"  {row}: {100 * result.metrics['top1']:.1f} % ({result.train_seconds:.1f} s)", flush=True)
    print(f"\n{few_shot_table(results)}\n")
    _draw(results, out / "accuracy_by_shots.png")
    shown = [each for each in results if (each.learner, each.variant, each.shots) == ("coop", "", SHOTS)]
    prompts = {each.seed: out / "prompts" / folder_of(each) for each in shown}
    before, after = _on_other_digits(runner, task, prompts)
    print(f"on all digits that are not in the draw: zero-shot {before:.1f} %, coop with {SHOTS} shots {after:.1f} %")
    example = task.test[0]
    what = f"a test image of a {task.classes[example.label]}"
    finish(runner, prompts[seeds[0]], task.images.open(example.item), what, began)


def finish(runner: "Runner", prompt: Path, item: Any, what: str, began: float) -> None:
    """Load a saved prompt, classify one item, and print the answer and where the results are."""
    from vlprompt import methods

    (answer,) = methods.load(prompt, runner.backbone).classify([item])
    size = sum(file.stat().st_size for file in prompt.iterdir()) / 1024
    print(f"prompt: {prompt} ({size:.1f} KB); loaded again, it classifies")
    print(f"  {what} as {answer.label} ({100 * answer.probability:.0f} %)")
    print(f"results: {runner.results_file}; {time.perf_counter() - began:.0f} s in total")


def _on_other_digits(runner: "Runner", task: "Task", prompts: dict[int, Path]) -> tuple[float, float]:
    """Accuracy of zero-shot and of each seed's prompt on all digits but its training images, in percent, averaged."""
    from vlprompt import learners, methods
    from vlprompt.training.evaluate import evaluate

    whole, accuracies = task.whole(), []
    zero = learners.ZeroShot.for_task(runner.backbone, task, learners.ZeroShotConfig())
    for seed, folder in prompts.items():
        drawn = {example.item for example in task.few_shot(SHOTS, seed).train}
        rest = replace(whole, test=tuple(example for example in whole.test if example.item not in drawn))
        pair = zero, methods.load(folder, runner.backbone)
        accuracies.append([100 * evaluate(learner, rest, store=runner.store).metrics["top1"] for learner in pair])
    return fmean(before for before, _ in accuracies), fmean(after for _, after in accuracies)


def _draw(results: Sequence[Result], path: Path) -> None:
    """Draw the plot if matplotlib is installed; the demo does not need it."""
    from vlprompt.report import plots

    try:
        plots.accuracy_by_shots(results, path)
        print(f"plot: {path}")
    except VlpromptError as error:
        print(f"no plot: {error}")
