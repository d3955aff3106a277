"""Zero-shot: evaluate methods that train nothing, such as class names in templates, on a test split."""

from collections.abc import Sequence

from vlprompt.data.task import Task
from vlprompt.errors import UsageError
from vlprompt.experiments.results import Result
from vlprompt.experiments.runner import Runner
from vlprompt.experiments.spec import LearnerSpec


def run(runner: Runner, task: Task, specs: Sequence[LearnerSpec]) -> list[Result]:
    """One result per spec.

    Args:
        runner: The backbone, and where results go.
        task: What to evaluate on.
        specs: Learners that need no training images.

    Raises:
        UsageError: A learner trains on images, or cannot do this; before anything runs.
    """
    if training := [spec.label for spec in specs if spec.trains]:
        raise UsageError(f"zero-shot trains nothing, and {training[0]} learns from images; use few-shot for it.")
    runner.check(specs, task)
    return [runner.run("zero_shot", spec, task, shots=0, seed=0) for spec in specs]
