"""The command `vlprompt cloze`."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vlprompt.commands.options import TextRun
from vlprompt.commands.output import print_results
from vlprompt.experiments.defaults import TEXT_SEEDS

if TYPE_CHECKING:
    from vlprompt.data.task import Task
    from vlprompt.experiments.spec import LearnerSpec

SHOWN = 20  # classes whose label words are printed


def run(
    options: TextRun,
    learners: tuple[str, ...] = ("hard_prompt", "prompt_oriented_fine_tuning"),
    shots: tuple[int, ...] = (16,),
    seeds: tuple[int, ...] = TEXT_SEEDS,
) -> None:
    """Train on K texts per class: a language model fills a blank with a word for the class.

    Args:
        options: Data, language model and output folder.
        learners: Methods to run: prompt_tuning, hard_prompt:calibrated for a published setting, FILE.py:CLASS for your
            own.
        shots: Training texts per class.
        seeds: One run per seed, which sets the draw, the initialisation and the order of training.
    """
    from vlprompt.experiments.protocols import few_shot

    specs, task = options.specs(learners), options.open_task()
    for line in label_word_lines(specs, task):
        print(line, file=sys.stderr)
    print_results(few_shot.run(options.runner(specs), task, specs, shots, seeds), options, "few_shot")


def label_word_lines(specs: "Sequence[LearnerSpec]", task: "Task") -> list[str]:
    """One line for each set of label words that some methods use, with the class that each word means."""
    sets = dict.fromkeys(spec.config.words or task.words for spec in specs if hasattr(spec.config, "words"))
    return [f"label words: {_pairs(task.classes, words)}" for words in sets if len(words) == len(task.classes)]


def _pairs(classes: Sequence[str], words: Sequence[Sequence[str]]) -> str:
    """Classes and their words, escaped: class 'no' is 'bad' or 'dull', class 'yes' is 'good'."""
    shown = zip(classes[:SHOWN], words[:SHOWN], strict=True)
    pairs = [f"class {name!r} is {' or '.join(map(repr, own))}" for name, own in shown]
    return ", ".join([*pairs, *[f"and {len(classes) - SHOWN} more"] * (len(classes) > SHOWN)])
