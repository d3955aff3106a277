"""The command `vlprompt sensitivity`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from vlprompt.commands.options import TextRunOptions
from vlprompt.commands.output import print_results
from vlprompt.errors import UsageError
from vlprompt.experiments.defaults import SHOTS, TEXT_SEEDS


@dataclass(frozen=True, kw_only=True)
class SensitivityOptions(TextRunOptions):
    """Options of the command; the bundled data and model by default."""

    task: str = "reviews"
    backbone: str = "tiny"


def run(
    options: Annotated[SensitivityOptions, tyro.conf.OmitArgPrefixes, tyro.conf.arg(name="run")],
    learners: tuple[str, ...] = ("hard_prompt",),
    templates: tuple[str, ...] = (),
    word_sets: tuple[str, ...] = (),
    shots: int = SHOTS,
    seeds: tuple[int, ...] = TEXT_SEEDS,
) -> None:
    """Evaluate every template with every set of label words.

    Args:
        options: Data, language model and output folder.
        learners: Methods to run, one table each.
        templates: Templates to compare, as "{text} It was {mask}." Without any: the data set's.
        word_sets: Sets of label words to compare, one argument per set; spaces separate classes, commas the words of a
            class: "bad good" "cat dog". Without any: the data set's words, and the same in reverse order.
        shots: Training texts per class, for methods that are trained.
        seeds: One run per seed, which sets the draw, the initialisation and the order of training.
    """
    from vlprompt.experiments.protocols import template_sensitivity

    specs, task = options.specs(learners), options.open_task()
    words = [_label_words(given, task.classes) for given in word_sets]
    results = template_sensitivity.run(options.runner(specs), task, specs, templates, words, shots, seeds)
    print_results(results, options, "template_sensitivity")


def _label_words(given: str, classes: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """The label words of each class in "bad,dull good,great"."""
    words = tuple(tuple(own.split(",")) for own in given.split())
    if len(words) != len(classes):
        raise UsageError(f"--word-sets {given!r} has words for {len(words)} classes; they are {', '.join(classes)}.")
    return words
