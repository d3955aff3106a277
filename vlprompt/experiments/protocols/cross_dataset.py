"""Cross-dataset: train on one task, evaluate on others with their own classes and templates.

Zhou et al., CVPR 2022 (CoCoOp), section 4.2: train on 16 shots of ImageNet, evaluate on the ten other data sets.
"""

from collections.abc import Iterator, Sequence

from vlprompt.data.task import Task
from vlprompt.experiments.defaults import SEEDS, SHOTS
from vlprompt.experiments.results import Result
from vlprompt.experiments.runner import Runner
from vlprompt.experiments.spec import LearnerSpec
from vlprompt.experiments.transfer import transfer


def run(
    runner: Runner,
    source: Task,
    targets: Sequence[Task],
    specs: Sequence[LearnerSpec],
    shots: int = SHOTS,
    seeds: Sequence[int] = SEEDS,
) -> Iterator[Result]:
    """One result per spec and seed, with `TASK_top1` for the source and every target.

    Args:
        runner: The backbone, and where results go.
        source: The task to train on.
        targets: Other tasks to evaluate on; none of their images is trained on.
        specs: The learners.
        shots: Images per class to draw.
        seeds: Of the draw, the initialisation and the order of training.

    Raises:
        UsageError: No target, two tasks of one name, or a learner that cannot change its classes; before anything runs.
    """
    return transfer(runner, "cross_dataset", source, targets, specs, shots, seeds)
