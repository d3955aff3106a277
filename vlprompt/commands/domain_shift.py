"""The command `vlprompt domain-shift`."""

from tyro.conf import OmitArgPrefixes

from vlprompt.data import catalog
from vlprompt.protocols import domain_shift
from vlprompt.report import tables
from vlprompt.where import Where, show


def run(
    where: OmitArgPrefixes[Where],
    targets: tuple[str, ...] = (),
    learners: tuple[str, ...] = ("zero_shot", "coop:cocoop-paper"),
    shots: int = domain_shift.SHOTS,
    seeds: tuple[int, ...] = domain_shift.SEEDS,
) -> None:
    """Train on a source, judge on other versions of its classes.

    Args:
        where: The model, the task to train on and the folder of the run.
        targets: Tasks with the same classes or some of them: names or paths, as for --task. None: each domain of a task
            of several (pacs, office_home, a folder of domains), trained on the others.
        learners: Rows of the table; a published setting follows a colon, as coop:cocoop-paper.
        shots: Images a class.
        seeds: Of the draw, the start and the order of training.
    """
    source, bench = where.open_task(catalog.open_task if targets else catalog.open_domains), where.bench()
    others = [catalog.open_task(target, where.root) for target in targets]
    found = domain_shift.run(bench, source, others, where.entries(learners), shots, seeds)
    show(found, where, tables.BY_PROTOCOL["domain_shift" if targets else "leave_one_out"])
