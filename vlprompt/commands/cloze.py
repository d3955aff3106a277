"""The command `vlprompt cloze`."""

from tyro.conf import OmitArgPrefixes

from vlprompt.protocols import few_shot
from vlprompt.report import tables
from vlprompt.text_cli import SEEDS as TEXT_SEEDS
from vlprompt.text_cli import Texts
from vlprompt.where import Where, show


def run(
    where: OmitArgPrefixes[Texts],
    learners: tuple[str, ...] = ("hard_prompt", "prompt_oriented_fine_tuning"),
    shots: tuple[int, ...] = (16,),
    seeds: tuple[int, ...] = TEXT_SEEDS,
) -> None:
    """Tell texts apart by the word that a language model fills a blank with: train on K a class, judge on test.

    Args:
        where: The language model, the texts and the folder of the run.
        learners: Rows of the table; a published setting follows a colon, as hard_prompt:calibrated.
        shots: Texts a class.
        seeds: Of the draw, the start and the order of training.
    """
    rows = Where(set=where.set).entries(learners)
    task, bench = where.open_task(), where.bench(rows)
    show(few_shot.run(bench, task, rows, shots, seeds), where, tables.few_shot_table)
