"""The command `vlprompt cloze demo`."""

import time
from pathlib import Path

from vlprompt.commands.demo import finish
from vlprompt.experiments.defaults import TEXT_SEEDS

SHOTS = 16
WORD_SETS = (  # label words to compare: right, right too, unrelated, swapped
    (("terrible",), ("great",)),
    (("bad",), ("good",)),
    (("dog",), ("cat",)),
    (("great",), ("terrible",)),
)
LEARNERS = ("hard_prompt", "prompt_oriented_fine_tuning", "prompt_tuning")
SETTINGS = {"prompt_tuning": {"length": 4}}
TRAINING = {"epochs": 20, "steps": 40, "batch_size": 8, "lr": 5e-4}  # published settings are for larger models
TEXT = "a brilliant story , and i loved the ending ."


def run(out: Path = Path("runs/cloze-demo"), seeds: tuple[int, ...] = TEXT_SEEDS[:3], fresh: bool = False) -> None:
    """Train prompts for a bundled language model on a few made-up reviews.

    It prints what wording does to zero-shot accuracy, a few-shot table, and one answer of a saved prompt.

    Args:
        out: Folder for results and prompts.
        seeds: One few-shot draw per seed.
        fresh: Repeat runs that already have a result.
    """
    from vlprompt.backbones import load_lm
    from vlprompt.data import catalog
    from vlprompt.data.features import FeatureStore
    from vlprompt.experiments.plan import folder_of
    from vlprompt.experiments.protocols import few_shot, template_sensitivity
    from vlprompt.experiments.runner import Runner
    from vlprompt.experiments.spec import LearnerSpec
    from vlprompt.report.sensitivity import sensitivity_table
    from vlprompt.report.tables import few_shot_table

    began = time.perf_counter()
    lm, task = load_lm("tiny"), catalog.load_task("reviews")
    print(f"frozen model: the bundled tiny masked language model ({lm.fingerprint}) of a made-up language of 180 words")
    print(f"task: {len(task.test)} made-up reviews; the model was trained on other sentences about other things")
    print(f"one of them: {task.test[0].item['text']}\n")  # type: ignore[index]
    runner = Runner(lm, out, FeatureStore(), TRAINING, fresh=fresh)
    hard_prompt, *_ = specs = [LearnerSpec.parse(name, SETTINGS) for name in LEARNERS]
    print(sensitivity_table(list(template_sensitivity.run(runner, task, [hard_prompt], words=WORD_SETS))))
    results = list(few_shot.run(runner, task, specs, (SHOTS,), seeds))
    print(f"\n{few_shot_table(results)}\n")
    tuned = next(each for each in results if each.learner == "prompt_tuning")
    finish(runner, out / "prompts" / folder_of(tuned), TEXT, f"'{TEXT}'", began)
