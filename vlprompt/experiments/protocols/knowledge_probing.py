"""Knowledge probing: facts without their object, P@1 over a closed list, one relation at a time. Petroni et al. 2019.

A relation is a task whose classes are its objects, each with itself as label word, so P@1 is top-1. An object that the
model's tokenizer splits does not fit into one blank: such objects and their facts are left out, as by LAMA's authors,
and counted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from vlprompt.data.images import Example
from vlprompt.data.task import Task
from vlprompt.errors import UsageError
from vlprompt.experiments.defaults import PROBING_SEEDS
from vlprompt.experiments.results import ALL_SHOTS, Result
from vlprompt.experiments.runner import Runner
from vlprompt.experiments.spec import LearnerSpec


def run(
    runner: Runner, tasks: Sequence[Task], specs: Sequence[LearnerSpec], seeds: Sequence[int] = PROBING_SEEDS
) -> Iterator[Result]:
    """One result per relation, spec and seed, as they are finished; a learner that does not train is evaluated once.

    Args:
        runner: The language model, and where results go.
        tasks: One relation each, with all its facts.
        specs: Learners on clozes; those that train use all training facts of the relation.
        seeds: Of the initialisation and the order of training.

    Raises:
        UsageError: A relation without facts that fit the model; before anything runs.
    """
    relations = [single_pieces(task, runner.backbone) for task in tasks]
    for task, _ in relations:
        runner.check(specs, task)
    for task, left_out in relations:
        for spec in specs:
            shots, notes = ALL_SHOTS * spec.trains, {"left_out": left_out}
            for seed in seeds if spec.trains else (0,):
                yield runner.run("knowledge_probing", spec, task, shots=shots, seed=seed, notes=notes)


def single_pieces(task: Task, lm: Any) -> tuple[Task, int]:
    """The task on objects that are one token of a language model, and how many of its test facts are left out.

    Raises:
        UsageError: Fewer than two objects are left, or no test fact.
    """
    unknown = lm.vocabulary.unknown
    pieces = [lm.vocabulary.pieces(" " + words[0]) for words in task.words]
    known = [label for label, found in enumerate(pieces) if len(found) == 1 and found[0] != unknown]
    number = {label: place for place, label in enumerate(known)}

    def of_known(examples: Sequence[Example]) -> tuple[Example, ...]:
        return tuple(replace(each, label=number[each.label]) for each in examples if each.label in number)

    test = of_known(task.test)
    if len(known) < 2 or not test:
        raise UsageError(f"{task.name}: {lm.name} knows {len(known)} of its {len(task.classes)} objects as one piece.")
    classes, words = tuple(task.classes[label] for label in known), tuple(task.words[label] for label in known)
    train, val = of_known(task.train), of_known(task.val)
    return replace(task, classes=classes, words=words, train=train, val=val, test=test), len(task.test) - len(test)
