"""The command `vlprompt zero-shot`."""

from tyro.conf import OmitArgPrefixes

from vlprompt.protocols import zero_shot
from vlprompt.report import tables
from vlprompt.where import Where, show


def run(where: OmitArgPrefixes[Where], learners: tuple[str, ...] = ("zero_shot",)) -> None:
    """Judge class names in templates; nothing is trained.

    Args:
        where: The model, the data and the folder of the run.
        learners: Rows: zero_shot (the data set's template), zero_shot:ensemble (with the seven of ImageNet).
    """
    task = where.open_task()
    task = task.whole() if where.task == "digits" else task
    show(zero_shot.run(where.bench(), task, where.entries(learners)), where, tables.few_shot_table)
