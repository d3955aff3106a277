"""The command `vlprompt base-to-new`."""

from vlprompt.commands.options import Run
from vlprompt.commands.output import print_results
from vlprompt.experiments.defaults import SEEDS, SHOTS


def run(
    options: Run,
    learners: tuple[str, ...] = ("zero_shot", "coop:cocoop-paper"),
    shots: int = SHOTS,
    seeds: tuple[int, ...] = SEEDS,
) -> None:
    """Train on half of the classes, evaluate on both halves.

    Args:
        options: Data, frozen model and output folder.
        learners: Methods to run: coop, coop:cocoop-paper for a published setting, FILE.py:CLASS for your own.
        shots: Training images per class.
        seeds: One run per seed, which sets the draw, the initialisation and the order of training.
    """
    from vlprompt.experiments.protocols import base_to_new

    specs, task = options.specs(learners), options.open_task()
    results = base_to_new.run(options.runner(specs), task, specs, shots, seeds)
    print_results(results, options, "base_to_new")
