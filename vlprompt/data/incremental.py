"""Task sequences for continual learning, class- or domain-incremental, as pure functions of (task, number, seed).

A stage is a task like any other: the classes of all stages so far, and the examples that are new in it. Only the labels
of its test examples show the stage they belong to, and no learner reads those.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from vlprompt.data.splits import SPLITS, draw
from vlprompt.data.task import Task, relabel, with_classes
from vlprompt.errors import UsageError


@dataclass(frozen=True)
class TaskSequence:
    """Tasks that are learned one after another.

    Attributes:
        name: Its name in results.
        stages: At least two. The classes of each begin with those of the one before.
        added: What is new in each stage: the names of its classes, or its domain.
    """

    name: str
    stages: tuple[Task, ...]
    added: tuple[tuple[str, ...], ...]

    @property
    def common_test(self) -> bool:
        """Whether all stages have the same test examples, so that none has an accuracy of its own."""
        return all(stage.test == self.stages[0].test for stage in self.stages)

    def test_tasks(self, stage: int) -> dict[str, Task]:
        """The tasks to evaluate after a stage (from 0), each with all classes so far.

        They are the test examples of every stage until then, named task1, task2, ...; or "all" for a common test set.
        """
        now = replace(self.stages[stage], train=(), val=())
        if self.common_test:
            return {"all": now}
        return {f"task{i + 1}": replace(now, test=each.test) for i, each in enumerate(self.stages[: stage + 1])}

    def joint(self) -> Task:
        """All stages as one task."""
        joined = {
            split: tuple(dict.fromkeys(example for stage in self.stages for example in getattr(stage, split)))
            for split in SPLITS
        }
        return replace(self.stages[-1], **joined)  # type: ignore[arg-type]


def class_incremental(task: Task, stages: int, seed: int | None) -> TaskSequence:
    """Divide the classes, in an order drawn by a seed, among stages; labels count the classes in that order.

    Where the number of classes is no multiple of the number of stages, the first stages have one class more.

    Args:
        task: Has training and test examples of every class.
        stages: Number of stages.
        seed: Of the order; None: as listed, as for most published numbers.

    Raises:
        UsageError: Fewer than two stages, more stages than classes, or a stage without training or test examples.
    """
    count = len(task.classes)
    if not 2 <= stages <= count:
        raise UsageError(f"{task.name} has {count} classes; {stages} tasks were requested, give 2 to {count}.")
    order = _shuffled(range(count), seed)
    ends = [(number + 1) * (count // stages) + min(number + 1, count % stages) for number in range(stages)]
    tasks, added = [], []
    for first, end in zip((0, *ends), ends, strict=False):
        new = {label: first + place for place, label in enumerate(order[first:end])}
        examples = {split: relabel(getattr(task, split), new) for split in SPLITS}
        tasks.append(with_classes(task, order[:end], unlabelled=(), **examples))
        added.append(tuple(task.classes[label] for label in new))
    return _checked(TaskSequence(f"{task.name}/{stages}-tasks", tuple(tasks), tuple(added)))


def domain_incremental(task: Task, seed: int | None) -> TaskSequence:
    """Make a stage of every domain, in an order drawn by a seed; all stages have the same classes.

    A domain without training examples is no stage. Where no stage has test examples of its own, all of them have all
    test examples (CORe50's common test set).

    Args:
        task: Has several domains.
        seed: Of the order; None: as listed.

    Raises:
        UsageError: Fewer than two domains with training examples, or test examples of some of them only.
    """
    domains = sorted({example.domain for example in task.train if task.domains})
    if len(domains) < 2:
        raise UsageError(
            f"{task.name} has no domains to learn one after another; give a data set of several (office_home, pacs, "
            "...), or a folder with a folder per domain that holds a folder per class."
        )
    order = _shuffled(domains, seed)
    common = not any(example.domain in order for example in task.test)
    stages = []
    for domain in order:
        examples = {split: tuple(e for e in getattr(task, split) if e.domain == domain) for split in SPLITS}
        examples |= {"test": task.test} if common else {}
        stages.append(replace(task, unlabelled=(), **examples))  # type: ignore[arg-type]
    names = tuple((task.domains[domain],) for domain in order)
    return _checked(TaskSequence(f"{task.name}/domains", tuple(stages), names))


def sample_test(task: Task, count: int, seed: int) -> Task:
    """The task with `count` random test examples of each class (and domain), or all where there are no more.

    Raises:
        UsageError: `count` is less than one.
    """
    if count < 1:
        raise UsageError(f"test images per class must be 1 or more, got {count}; without the option, all are used.")
    groups = [example.label * max(len(task.domains), 1) + example.domain for example in task.test]
    positions = sorted(draw(groups, count, random.Random(seed)))
    return replace(task, test=tuple(task.test[position] for position in positions))


def _shuffled(numbers: Sequence[int], seed: int | None) -> list[int]:
    order = list(numbers)
    if seed is not None:
        random.Random(seed).shuffle(order)
    return order


def _checked(sequence: TaskSequence) -> TaskSequence:
    """The sequence, its stages under its name, if every stage has labelled training and test examples."""
    for number, (stage, added) in enumerate(zip(sequence.stages, sequence.added, strict=True), start=1):
        where = f"task {number} of {sequence.name} ({', '.join(added)})"
        if not stage.train or any(example.label < 0 for example in stage.train):
            raise UsageError(f"{where} has {'unlabelled' if stage.train else 'no'} training examples.")
        if not any(example.label >= 0 for example in stage.test):
            raise UsageError(f"{where} has no labelled test examples.")
    return replace(sequence, stages=tuple(replace(stage, name=sequence.name) for stage in sequence.stages))
