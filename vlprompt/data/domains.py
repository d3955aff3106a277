"""Tasks of several domains (photos, sketches, ... of the same classes), as pure functions of (task, names)."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import permutations

from vlprompt.data.images import Example
from vlprompt.data.task import Task
from vlprompt.errors import UsageError, unknown

Pair = tuple[tuple[str, ...], str]  # sources and target


def all_pairs(task: Task) -> list[Pair]:
    """Every ordered pair of domains whose first has labels.

    Raises:
        UsageError: The task has no two domains, or none with labels.
    """
    _need_domains(task)
    labelled = {name for name in task.domains if all(example.label >= 0 for example in _of(_all(task), task, name))}
    if not labelled:
        raise UsageError(f"no domain of {task.name} has labels on all of its images; a source needs them.")
    return [((source,), target) for source, target in permutations(task.domains, 2) if source in labelled]


def read_pair(text: str) -> Pair:
    """The pair of "SOURCE:TARGET" or "SOURCE+SOURCE:TARGET".

    Raises:
        UsageError: It does not read so.
    """
    sources, colon, target = text.partition(":")
    names = tuple(sources.split("+"))
    if not (colon and target and all(names)):
        raise UsageError(f"pair {text!r} does not read SOURCE:TARGET or SOURCE+SOURCE:TARGET, as in art:clipart.")
    return names, target


def adaptation(task: Task, sources: Sequence[str], target: str, *, held_out: bool = False) -> Task:
    """Examples of some domains with labels, and those of another without, to adapt to and be judged on.

    The domains of the new task are the sources as they are given, then the target.

    Args:
        task: A task of several domains.
        sources: Where labels are known.
        target: Where they are not; what the test split holds of them is for judging only.
        held_out: False ("transductive", as published): adapt to all images of the target and be judged on the same.
            True: adapt to its train and val split, be judged on its test split.

    Raises:
        UsageError: A domain that is not there or has no images, a source without labels, a target among the sources or
            with classes that no source has.
    """
    names = (*sources, target)
    _check(task, names)
    splits = (task.train, task.val) if held_out else (task.train, task.val, task.test)
    known = tuple(example for split in splits for example in split)
    train = _numbered([_of(known, task, name, "to learn from") for name in sources])
    if any(example.label < 0 for example in train):
        raise UsageError(f"{' or '.join(sources)} of {task.name} has images without labels; a source needs them all.")
    seen = _as_domain(len(sources), _of(known, task, target, "to adapt to"))
    judged = _as_domain(len(sources), _of(task.test, task, target, "to be judged on")) if held_out else seen
    _check_classes(task, train, judged)
    mode = "held-out" if held_out else "transductive"
    return replace(
        task,
        name=f"{task.name}/{mode}/{'+'.join(sources)}:{target}",
        train=train,
        val=(),
        test=judged,
        unlabelled=tuple(replace(example, label=-1) for example in seen),
        domains=names,
        test_name=mode,
    )


def leave_out(task: Task, target: str) -> Task:
    """Examples of all domains but one to learn from, all images of that one to be judged on.

    Raises:
        UsageError: A domain that is not there or has no images, or fewer than two domains.
    """
    _check(task, (target,))
    sources = [name for name in task.domains if name != target]
    train, val = (_numbered([_of(split, task, name) for name in sources]) for split in (task.train, task.val))
    judged = _as_domain(len(sources), _of(_all(task), task, target, "to be judged on"))
    _check_classes(task, train, judged)
    name, domains = f"{task.name}/left-out/{target}", (*sources, target)
    return replace(task, name=name, train=train, val=val, test=judged, domains=domains, test_name="left-out")


def _all(task: Task) -> tuple[Example, ...]:
    return task.train + task.val + task.test


def _of(examples: Iterable[Example], task: Task, name: str, needed: str = "") -> tuple[Example, ...]:
    """The examples of one domain; an error that says what they are needed for where there is none."""
    number = task.domains.index(name)
    found = tuple(example for example in examples if example.domain == number)
    if needed and not found:
        raise UsageError(f"domain {name!r} of {task.name} has no images {needed}.")
    return found


def _as_domain(number: int, examples: Iterable[Example]) -> tuple[Example, ...]:
    return tuple(replace(example, domain=number) for example in examples)


def _numbered(domains: Sequence[Sequence[Example]]) -> tuple[Example, ...]:
    """Several domains' examples in one list, their domains counted anew."""
    return tuple(example for number, own in enumerate(domains) for example in _as_domain(number, own))


def _check(task: Task, names: Sequence[str]) -> None:
    """The names are domains of the task, each once."""
    _need_domains(task)
    for name in names:
        if name not in task.domains:
            raise unknown(f"domain of {task.name}", name, task.domains)
    if len(set(names)) < len(names):
        raise UsageError(f"{'+'.join(names[:-1])}:{names[-1]} names a domain twice; sources and target must differ.")


def _need_domains(task: Task) -> None:
    if len(task.domains) < 2:
        raise UsageError(
            f"{task.name} has no domains to go between; give a data set of several (office_home, pacs, ...), or a "
            "folder with a folder per domain that holds a folder per class."
        )


def _check_classes(task: Task, train: Iterable[Example], judged: Iterable[Example]) -> None:
    """No label is judged that is not learned."""
    strange = {example.label for example in judged} - {example.label for example in train} - {-1}
    if strange:
        named = ", ".join(task.classes[label] for label in sorted(strange)[:3])
        raise UsageError(f"{task.name}: the target has classes that no source has ({named}); leave them out.")
