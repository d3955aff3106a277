"""The command `vlprompt adapt`."""

from tyro.conf import OmitArgPrefixes

from vlprompt.data import catalog
from vlprompt.data.domains import read_pair
from vlprompt.protocols import domain_adaptation
from vlprompt.report import tables
from vlprompt.where import Where, show


def run(
    where: OmitArgPrefixes[Where],
    learners: tuple[str, ...] = ("zero_shot", "coop", "dapl"),
    pseudo: tuple[str, ...] = (),
    pairs: tuple[str, ...] = (),
    held_out: bool = False,
    tau: float = domain_adaptation.TAU,
    seeds: tuple[int, ...] = domain_adaptation.SEEDS,
) -> None:
    """Learn from a labelled domain and another's images without labels, judge on the latter.

    Args:
        where: The model, a task of several domains (or a folder with a folder per domain) and the folder of the run.
        learners: Columns of the table; those that do not adapt learn from the source alone.
        pseudo: Columns that learn from the target's zero-shot pseudo-labels alone, as coop.
        pairs: SOURCE:TARGET or SOURCE+SOURCE:TARGET; none: every ordered pair of domains.
        held_out: Judge a test split of the target that was not adapted to, instead of all of its images for both.
        tau: The least confidence of a pseudo-label for --pseudo; DAPL's own is dapl.tau.
        seeds: Of the start and the order of training.
    """
    task, bench = where.open_task(catalog.open_domains), where.bench()
    rows = where.entries((*learners, *pseudo))
    found = domain_adaptation.run(
        bench,
        task,
        rows[: len(learners)],
        pseudo=rows[len(learners) :],
        pairs=[read_pair(pair) for pair in pairs],
        held_out=held_out,
        tau=tau,
        seeds=seeds,
    )
    show(found, where, tables.pairs_table)
