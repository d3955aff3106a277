"""Streams: a task's classes or its domains, some at a time, as pure functions of (task, numbers, seed).

A stage is a task like any other: the classes of all stages so far, and the examples that are new in it. Nothing in its
test examples says which stage they belong to but their labels, and no learner sees those.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from vlprompt.data.splits import draw
from vlprompt.data.task import Example, Task
from vlprompt.errors import UsageError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Stream:
    """Tasks that come one after another.

    Attributes:
        name: What results call it.
        stages: At least two. The classes of each begin with those of the one before.
        parts: What is new in each stage: names of its classes, or its domain.
    """

    name: str
    stages: tuple[Task, ...]
    parts: tuple[tuple[str, ...], ...]

    @property
    def common(self) -> bool:
        """Whether all stages are judged on the same examples, so that nothing can be said of each."""
        return all(stage.test == self.stages[0].test for stage in self.stages)

    def judged(self, stage: int) -> dict[str, Task]:
        """What is judged after a stage (from 0), all classes so far told apart: the test examples of each until then.

        They are called task1, task2, ...; those of a stream with common test examples are called "all".
        """
        now = replace(self.stages[stage], train=(), val=())
        if self.common:
            return {"all": now}
        return {f"task{i + 1}": replace(now, test=each.test) for i, each in enumerate(self.stages[: stage + 1])}

    def joint(self) -> Task:
        """All stages at once."""
        train, val, test = (
            tuple(dict.fromkeys(example for stage in self.stages for example in getattr(stage, split)))
            for split in SPLITS
        )
        return replace(self.stages[-1], train=train, val=val, test=test)


def in_stages(task: Task, stages: int, seed: int | None) -> Stream:
    """Class by class: the classes in an order drawn by a seed, cut into stages, labels counted in that order.

    Where the number of classes is no multiple of the stages, the first ones have a class more.

    Args:
        task: With training and test examples of every class.
        stages: How many.
        seed: Of the order; None: as listed, as most published numbers are.

    Raises:
        UsageError: Fewer than two stages, more than classes, or a stage without training or test examples.
    """
    count = len(task.classes)
    if not 2 <= stages <= count:
        raise UsageError(f"{task.name} has {count} classes; {stages} tasks were asked for, give 2 to {count}.")
    order = list(range(count))
    if seed is not None:
        random.Random(seed).shuffle(order)
    new = {label: place for place, label in enumerate(order)}
    ends = [(number + 1) * (count // stages) + min(number + 1, count % stages) for number in range(stages)]
    made, parts = [], []
    for first, end in zip((0, *ends), ends, strict=False):
        own = set(order[first:end])
        made.append(_stage(task, order[:end], [_renumbered(getattr(task, split), own, new) for split in SPLITS]))
        parts.append(tuple(task.classes[label] for label in order[first:end]))
    return _checked(Stream(f"{task.name}/{stages}-tasks", tuple(made), tuple(parts)))


def over_domains(task: Task, seed: int | None) -> Stream:
    """Domain by domain: the same classes all along, in domains whose order is drawn by a seed.

    A domain without training examples is no stage. Where no stage has test examples of its own, all are judged on all
    test examples there are (CORe50's common test set).

    Args:
        task: Of several domains.
        seed: Of the order; None: as listed.

    Raises:
        UsageError: Fewer than two domains to learn from, or test examples of some of them only.
    """
    order = sorted({example.domain for example in task.train if task.domains})
    if len(order) < 2:
        raise UsageError(
            f"{task.name} has no domains to learn one after another; give a data set of several (office_home, pacs, "
            "...), or a folder with a folder per domain that holds a folder per class."
        )
    if seed is not None:
        random.Random(seed).shuffle(order)
    every = list(range(len(task.classes)))
    common = not any(example.domain in order for example in task.test)
    stages = []
    for domain in order:
        train, val, test = (tuple(e for e in getattr(task, split) if e.domain == domain) for split in SPLITS)
        stages.append(_stage(task, every, (train, val, task.test if common else test)))
    return _checked(Stream(f"{task.name}/domains", tuple(stages), tuple((task.domains[at],) for at in order)))


def few_judged(task: Task, count: int, seed: int) -> Task:
    """The task with `count` test examples of each class (and domain), drawn by a seed; all where there are no more.

    Raises:
        UsageError: Fewer than one.
    """
    if count < 1:
        raise UsageError(f"test images a class must be 1 or more, {count} was given; left out, all are judged.")
    groups = [example.label * max(len(task.domains), 1) + example.domain for example in task.test]
    kept = sorted(draw(groups, count, random.Random(seed)))
    return replace(task, test=tuple(task.test[place] for place in kept))


def _stage(task: Task, order: Sequence[int], splits: Iterable[tuple[Example, ...]]) -> Task:
    """The task on some of its classes, in an order, with the given examples to train, choose and be judged on."""
    train, val, test = splits
    words = tuple(task.words[label] for label in order) if task.words else ()
    classes = tuple(task.classes[label] for label in order)
    return replace(task, classes=classes, words=words, train=train, val=val, test=test, unlabelled=())


def _renumbered(examples: Iterable[Example], own: set[int], new: dict[int, int]) -> tuple[Example, ...]:
    return tuple(replace(example, label=new[example.label]) for example in examples if example.label in own)


def _checked(stream: Stream) -> Stream:
    """The stream, under its name, if there is something to learn and to judge in every stage."""
    for number, (stage, part) in enumerate(zip(stream.stages, stream.parts, strict=True), start=1):
        called = f"task {number} of {stream.name} ({', '.join(part)})"
        if not stage.train or any(example.label < 0 for example in stage.train):
            raise UsageError(f"{called} has {'images without labels' if stage.train else 'nothing'} to learn from.")
        if not any(example.label >= 0 for example in stage.test):
            raise UsageError(f"{called} has nothing with a label to be judged on.")
    return replace(stream, stages=tuple(replace(stage, name=stream.name) for stage in stream.stages))
