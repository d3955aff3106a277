"""The command `vlprompt test-time`."""

from vlprompt.commands.options import Run
from vlprompt.commands.output import print_results
from vlprompt.experiments.defaults import SEEDS, SHOTS


def run(
    options: Run,
    learners: tuple[str, ...] = ("zero_shot", "tpt", "mta", "zero", "tda"),
    shots: int = SHOTS,
    seeds: tuple[int, ...] = SEEDS,
) -> None:
    """Adapt to each test image, evaluate before and after.

    Args:
        options: Data, frozen model and output folder.
        learners: Methods to run. tpt+coop:cocoop-paper trains coop:cocoop-paper, and then adapts its prompt by tpt.
        shots: Training images per class, for methods that are trained first.
        seeds: One run per seed, which sets the views of test images and their order, the draw and the training.
    """
    from vlprompt.experiments.protocols import test_time

    specs, task = options.specs(learners), options.open_task()
    print_results(test_time.run(options.runner(specs), task, specs, shots, seeds), options, "test_time")
