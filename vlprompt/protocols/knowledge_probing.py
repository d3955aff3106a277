"""Knowledge probing: facts with the object left out, P@1 over a closed list, a relation at a time. Petroni et al. 2019.

A relation is a task whose classes are its objects, each its own label word, so P@1 is top-1. Objects that are several
pieces for the model cannot stand in one blank: they and their facts are left out, as LAMA's authors do, and counted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from vlprompt.data.task import Example, Task
from vlprompt.errors import UsageError
from vlprompt.results import ALL_SHOTS, Result
from vlprompt.runner import Bench, Entry

PROTOCOL = "knowledge_probing"


def run(
    bench: Bench, tasks: Sequence[Task], entries: Sequence[Entry], seeds: Sequence[int] = (34,)
) -> Iterator[Result]:
    """One result per relation, entry and seed, as they come; an entry that does not train is judged once.

    Args:
        bench: Where and on which language model.
        tasks: A relation each, with all its facts.
        entries: Learners of clozes; what trains does so on all training facts of the relation.
        seeds: Of the start and the order of training (P-tuning, LAMA/cli.py: 34).

    Raises:
        UsageError: A relation without facts that the model can be asked; before anything runs.
    """
    kept = [single_pieces(task, bench.backbone) for task in tasks]
    for task, _ in kept:
        for entry in entries:
            bench.check(entry, task, {"": task})
    for task, left_out in kept:
        for entry in entries:
            shots, own = (ALL_SHOTS, seeds) if entry.learns else (0, (0,))
            for seed in own:
                notes = {"left_out": left_out}
                yield bench.run(PROTOCOL, entry, task, {"": task}, shots=shots, seed=seed, notes=notes)


def single_pieces(task: Task, lm: Any) -> tuple[Task, int]:
    """The task on objects that are one piece for a language model, and how many of its test facts are left out.

    Raises:
        UsageError: Fewer than two objects are left, or no test fact.
    """
    unknown = lm.vocabulary.unknown
    pieces = [lm.vocabulary.pieces(" " + words[0]) for words in task.words]
    known = [label for label, found in enumerate(pieces) if len(found) == 1 and found[0] != unknown]
    number = {label: place for place, label in enumerate(known)}

    def asked(examples: Sequence[Example]) -> tuple[Example, ...]:
        return tuple(replace(each, label=number[each.label]) for each in examples if each.label in number)

    test = asked(task.test)
    if len(known) < 2 or not test:
        raise UsageError(f"{task.name}: {lm.name} knows {len(known)} of its {len(task.classes)} objects as one piece.")
    classes, words = (tuple(held[label] for label in known) for held in (task.classes, task.words))
    made = replace(task, classes=classes, words=words, train=asked(task.train), val=asked(task.val), test=test)  # type: ignore[arg-type]
    return made, len(task.test) - len(test)
