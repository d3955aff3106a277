"""Domain adaptation and generalisation: tasks from a task of several domains, as pure functions of (task, names)."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import permutations

from vlprompt.data.images import Example
from vlprompt.data.task import Task
from vlprompt.errors import UsageError, unknown

Pair = tuple[tuple[str, ...], str]  # sources and target


def all_pairs(task: Task) -> list[Pair]:
    """Every ordered pair of domains whose source has labels.

    Raises:
        UsageError: The task has fewer than two domains, or none with labels.
    """
    _check_domains(task)
    labelled = {name for name in task.domains if all(example.label >= 0 for example in _of(_all(task), task, name))}
    if not labelled:
        raise UsageError(f"no domain of {task.name} has labels on all of its images; a source needs them.")
    return [((source,), target) for source, target in permutations(task.domains, 2) if source in labelled]


def read_pair(text: str) -> Pair:
    """The pair written as "SOURCE:TARGET" or "SOURCE+SOURCE:TARGET".

    Raises:
        UsageError: The text has another form.
    """
    sources, colon, target = text.partition(":")
    names = tuple(sources.split("+"))
    if not (colon and target and all(names)):
        raise UsageError(f"pair {text!r} is not of the form SOURCE:TARGET or SOURCE+SOURCE:TARGET, as art:clipart.")
    return names, target


def adaptation(task: Task, sources: Sequence[str], target: str, *, held_out: bool = False) -> Task:
    """A task for domain adaptation: labelled examples of the sources, unlabelled ones of the target, which is tested.

    The domains of the new task are the sources in the given order, then the target.

    Args:
        task: A task of several domains.
        sources: Domains with labels.
        target: The domain whose examples are unlabelled; labels of its test examples are for evaluation only.
        held_out: False ("transductive", as published): adapt to all images of the target and evaluate on the same.
            True: adapt to its train and val split, evaluate on its test split.

    Raises:
        UsageError: A domain is unknown or has no images, a source has no labels, or the target is among the sources or
            has classes that no source has.
    """
    names = (*sources, target)
    _check_domains(task, names)
    splits = (task.train, task.val) if held_out else (task.train, task.val, task.test)
    examples = tuple(example for split in splits for example in split)
    train = _numbered([_of(examples, task, name, "to learn from") for name in sources])
    if any(example.label < 0 for example in train):
        raise UsageError(f"{' or '.join(sources)} of {task.name} has images without labels; a source needs them all.")
    adapted = _as_domain(len(sources), _of(examples, task, target, "to adapt to"))
    test = _as_domain(len(sources), _of(task.test, task, target, "to test on")) if held_out else adapted
    _check_classes(task, train, test)
    mode = "held-out" if held_out else "transductive"
    return replace(
        task,
        name=f"{task.name}/{mode}/{'+'.join(sources)}:{target}",
        train=train,
        val=(),
        test=test,
        unlabelled=tuple(replace(example, label=-1) for example in adapted),
        domains=names,
        test_name=mode,
    )


def leave_out(task: Task, target: str) -> Task:
    """A task for domain generalisation: train and val of all other domains, and all images of the target for testing.

    Raises:
        UsageError: The domain is unknown or has no images, or there are fewer than two domains.
    """
    _check_domains(task, (target,))
    sources = [name for name in task.domains if name != target]
    train, val = (_numbered([_of(split, task, name) for name in sources]) for split in (task.train, task.val))
    test = _as_domain(len(sources), _of(_all(task), task, target, "to test on"))
    _check_classes(task, train, test)
    name, domains = f"{task.name}/left-out/{target}", (*sources, target)
    return replace(task, name=name, train=train, val=val, test=test, domains=domains, test_name="left-out")


def _all(task: Task) -> tuple[Example, ...]:
    return task.train + task.val + task.test


def _of(examples: Iterable[Example], task: Task, name: str, purpose: str = "") -> tuple[Example, ...]:
    """The examples of one domain; UsageError if a purpose is given and there are none."""
    number = task.domains.index(name)
    chosen = tuple(example for example in examples if example.domain == number)
    if purpose and not chosen:
        raise UsageError(f"domain {name!r} of {task.name} has no images {purpose}.")
    return chosen


def _as_domain(number: int, examples: Iterable[Example]) -> tuple[Example, ...]:
    return tuple(replace(example, domain=number) for example in examples)


def _numbered(domains: Sequence[Sequence[Example]]) -> tuple[Example, ...]:
    """Several domains' examples in one tuple, with domain numbers in the given order."""
    return tuple(example for number, own in enumerate(domains) for example in _as_domain(number, own))


def _check_domains(task: Task, names: Sequence[str] = ()) -> None:
    """Raise UsageError unless the task has several domains, among them the given names, each given once."""
    if len(task.domains) < 2:
        raise UsageError(
            f"{task.name} has fewer than two domains; give a data set of several (office_home, pacs, ...), or a "
            "folder with a folder per domain that holds a folder per class."
        )
    for name in names:
        if name not in task.domains:
            raise unknown(f"domain of {task.name}", name, task.domains)
    if len(set(names)) < len(names):
        raise UsageError(f"{'+'.join(names[:-1])}:{names[-1]} names a domain twice; sources and target must differ.")


def _check_classes(task: Task, train: Iterable[Example], test: Iterable[Example]) -> None:
    """Raise UsageError where a class has test examples only."""
    missing = {example.label for example in test} - {example.label for example in train} - {-1}
    if missing:
        names = ", ".join(task.classes[label] for label in sorted(missing)[:3])
        raise UsageError(f"{task.name}: the target has classes that no source has ({names}); leave them out.")
