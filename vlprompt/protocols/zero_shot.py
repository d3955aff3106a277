"""Zero-shot: judge class names in templates on a test split; nothing is trained."""

from collections.abc import Sequence

from vlprompt.data.task import Task
from vlprompt.results import Result
from vlprompt.runner import Bench, Entry


def run(bench: Bench, task: Task, entries: Sequence[Entry]) -> list[Result]:
    """One result per entry.

    Args:
        bench: Where and on which backbone.
        task: What to judge on.
        entries: Learners that need no training images.
    """
    return [bench.run("zero_shot", entry, task, {"": task}, shots=0, seed=0) for entry in entries]
