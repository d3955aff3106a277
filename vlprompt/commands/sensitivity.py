"""The command `vlprompt sensitivity`."""

from dataclasses import dataclass

from tyro.conf import OmitArgPrefixes

from vlprompt.errors import UsageError
from vlprompt.protocols import template_sensitivity
from vlprompt.report.sensitivity import sensitivity_table
from vlprompt.text_cli import Texts
from vlprompt.where import Where, show


@dataclass(frozen=True)
class Tried(Texts):
    """The language model, the texts and the folder of a run; the bundled ones by default."""

    task: str = "reviews"
    backbone: str = "tiny"


def run(
    where: OmitArgPrefixes[Tried],
    learners: tuple[str, ...] = ("hard_prompt",),
    templates: tuple[str, ...] = (),
    word_sets: tuple[str, ...] = (),
    shots: int = template_sensitivity.SHOTS,
    seeds: tuple[int, ...] = template_sensitivity.SEEDS,
) -> None:
    """How much of an accuracy is the wording's: every template with every set of label words.

    Args:
        where: The language model, the texts and the folder of the run.
        learners: A table each; a published setting follows a colon.
        templates: To try, as "{text} It was {mask}."; without any, the task's.
        word_sets: To try, an argument a set, classes apart by spaces, words of a class by commas: "bad good" "cat dog".
            Without any: the task's words, and these in reverse.
        shots: Texts a class, for learners that train.
        seeds: Of the draw, the start and the order of training.
    """
    rows = Where(set=where.set).entries(learners)
    task, bench = where.open_task(), where.bench(rows)
    sets = [tuple(tuple(own.split(",")) for own in words.split()) for words in word_sets]
    for given, words in zip(word_sets, sets, strict=True):
        if len(words) != len(task.classes):
            raise UsageError(
                f"--word-sets {given!r} has words for {len(words)} classes; {task.name} has {', '.join(task.classes)}."
            )
    found = template_sensitivity.run(bench, task, rows, templates, sets, shots, seeds)
    show(found, where, sensitivity_table)
