"""The demo of the text side: a masked language model that ships with the package answers by filling a blank."""

import time
from collections.abc import Sequence
from pathlib import Path

from vlprompt import learners
from vlprompt.backbones import load_lm
from vlprompt.data import catalog
from vlprompt.data.features import FeatureStore
from vlprompt.protocols import few_shot, template_sensitivity
from vlprompt.report.sensitivity import sensitivity_table
from vlprompt.report.tables import few_shot_table
from vlprompt.runner import Bench, Entry

SHOTS = 16
WORDS = (  # of the label words to try: right, right too, beside the point, swapped
    (("terrible",), ("great",)),
    (("bad",), ("good",)),
    (("dog",), ("cat",)),
    (("great",), ("terrible",)),
)
PET = "prompt_oriented_fine_tuning"
ROWS = ("hard_prompt", PET, "prompt_tuning")
SETTINGS = {"prompt_tuning": {"length": 4}}
TRAINING = {"epochs": 20, "steps": 40, "batch_size": 8, "lr": 5e-4}  # published ones are for models of real size


def run(out: Path, seeds: Sequence[int], *, fresh: bool = False) -> None:
    """Print what wording does to zero-shot, a few-shot table, and what a saved prompt says of a text.

    Args:
        out: Folder for everything.
        seeds: Of the few-shot draws.
        fresh: Run again what already has a result.
    """
    began = time.perf_counter()
    lm, task = load_lm("tiny"), catalog.load_task("reviews")
    print(
        f"frozen model: the bundled tiny masked language model ({lm.fingerprint}), which knows 180 words of a made-up"
    )
    print(f"language; task: {len(task.test)} made-up reviews, in sentences and of things it was not trained on")
    print(f"one of them: {task.test[0].item['text']}\n")  # type: ignore[index]
    bench = Bench(lm, out, FeatureStore(), TRAINING, fresh=fresh)
    hard = Entry.parse("hard_prompt")
    print(sensitivity_table(list(template_sensitivity.run(bench, task, [hard], words=WORDS))))
    rows = [Entry.parse(name, SETTINGS) for name in ROWS]
    print(f"\n{few_shot_table(list(few_shot.run(bench, task, rows, (SHOTS,), seeds)))}\n")
    folder = out / "prompts" / "few_shot" / task.name
    prompt = next(folder.glob(f"prompt_tuning*-{SHOTS}shot-seed{seeds[0]}"))
    size = sum(file.stat().st_size for file in prompt.iterdir()) / 1024
    (answer,) = learners.load(prompt, lm).classify(["a brilliant story , and i loved the ending ."])
    print(f"prompt: {prompt} ({size:.1f} KB); loaded again, it calls")
    print(f"  'a brilliant story , and i loved the ending .' {answer.label} ({100 * answer.probability:.0f} %)")
    print(f"results: {bench.results_file}; {time.perf_counter() - began:.0f} s in all")
