"""The command `vlprompt probe`."""

from dataclasses import dataclass

from tyro.conf import OmitArgPrefixes

from vlprompt.data import catalog
from vlprompt.protocols import knowledge_probing
from vlprompt.report.probing import probing_table
from vlprompt.text_cli import Texts
from vlprompt.where import Where, show


@dataclass(frozen=True)
class Facts(Texts):
    """The language model, the facts and the folder of a run."""

    task: str = "lama"


def run(
    where: OmitArgPrefixes[Facts],
    relations: tuple[str, ...] = (),
    learners: tuple[str, ...] = ("hard_prompt",),
    seeds: tuple[int, ...] = (34,),
) -> None:
    """What a language model knows: the object of a fact in the blank, P@1 over the objects of its relation.

    Args:
        where: The language model, the facts and the folder of the run.
        relations: Parts of the data set, as P17 P19; without any, all that are on the disk.
        learners: Rows of the table; what trains does so on all training facts.
        seeds: Of the start and the order of training.
    """
    rows = Where(set=where.set).entries(learners)
    tasks = [catalog.load_task(f"{where.task}/{part}", where.root or "") for part in relations or _there(where)]
    show(knowledge_probing.run(where.bench(rows), tasks, rows, seeds), where, probing_table)


def _there(where: Facts) -> list[str]:
    """The relations that are on the disk."""
    return catalog.relations(where.task, where.root or "")
