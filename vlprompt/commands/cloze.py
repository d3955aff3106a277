"""The command `vlprompt cloze`."""

from pathlib import Path
from typing import Literal

from tyro.conf import OmitArgPrefixes, Positional

from vlprompt import text_demo
from vlprompt.protocols import few_shot
from vlprompt.report import tables
from vlprompt.text_cli import SEEDS as TEXT_SEEDS
from vlprompt.text_cli import Texts
from vlprompt.where import Where, show

DEMO_SEEDS = TEXT_SEEDS[:3]


def run(
    where: OmitArgPrefixes[Texts],
    what: Positional[Literal["task", "demo"]] = "task",
    learners: tuple[str, ...] = ("hard_prompt", "prompt_oriented_fine_tuning"),
    shots: tuple[int, ...] = (16,),
    seeds: tuple[int, ...] = TEXT_SEEDS,
) -> None:
    """Tell texts apart by the word that a language model fills a blank with: train on K a class, judge on test.

    Args:
        where: The language model, the texts and the folder of the run.
        what: demo shows the bundled model on made-up reviews, in a minute, and takes --out, --seeds and --fresh only.
        learners: Rows of the table; a published setting follows a colon, as hard_prompt:calibrated.
        shots: Texts a class.
        seeds: Of the draw, the start and the order of training.
    """
    if what == "demo":
        out = where.out if where.out != Texts.out else Path("runs/cloze-demo")
        text_demo.run(out, DEMO_SEEDS if seeds == TEXT_SEEDS else seeds, fresh=where.fresh)
        return
    rows = Where(set=where.set).entries(learners)
    task, bench = where.open_task(), where.bench(rows)
    show(few_shot.run(bench, task, rows, shots, seeds), where, tables.few_shot_table)
