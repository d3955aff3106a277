"""Zero-shot: judge class names in templates on a test split; nothing is trained."""

from collections.abc import Sequence

from vlprompt.data.task import Task
from vlprompt.errors import UsageError
from vlprompt.results import Result
from vlprompt.runner import Bench, Entry


def run(bench: Bench, task: Task, entries: Sequence[Entry]) -> list[Result]:
    """One result per entry.

    Args:
        bench: Where and on which backbone.
        task: What to judge on.
        entries: Learners that need no training images.

    Raises:
        UsageError: An entry learns from images, or cannot do this; before anything runs.
    """
    if learning := [entry.label for entry in entries if entry.learns]:
        raise UsageError(f"zero-shot trains nothing, and {learning[0]} learns from images; use few-shot for it.")
    for entry in entries:
        bench.check(entry, task, {"": task})
    return [bench.run("zero_shot", entry, task, {"": task}, shots=0, seed=0) for entry in entries]
