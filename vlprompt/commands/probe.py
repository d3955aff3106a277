"""The command `vlprompt probe`."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from vlprompt.commands.options import LanguageModelOptions
from vlprompt.commands.output import print_results
from vlprompt.experiments.defaults import PROBING_SEEDS


@dataclass(frozen=True, kw_only=True)
class ProbeOptions(LanguageModelOptions):
    """Options of the command.

    Attributes:
        task: A data set of facts: lama.
    """

    task: str = "lama"


def run(
    options: Annotated[ProbeOptions, tyro.conf.OmitArgPrefixes, tyro.conf.arg(name="run")],
    relations: tuple[str, ...] = (),
    learners: tuple[str, ...] = ("hard_prompt",),
    seeds: tuple[int, ...] = PROBING_SEEDS,
) -> None:
    """Evaluate what a language model knows: precision at 1 for the missing object of a fact.

    Args:
        options: Data, language model and output folder.
        relations: Parts of the data set, as P17 P19. Without any: all that are on the disk.
        learners: Methods to run; those that are trained learn from all training facts of a relation.
        seeds: One run per seed, which sets the initialisation and the order of training.
    """
    from vlprompt.data import catalog
    from vlprompt.experiments.protocols import knowledge_probing

    specs, root = options.specs(learners), options.root or ""
    parts = relations or catalog.relations(options.task, root)
    tasks = [catalog.load_task(f"{options.task}/{part}", root) for part in parts]
    print_results(knowledge_probing.run(options.runner(specs), tasks, specs, seeds), options, "knowledge_probing")
