"""The command `vlprompt few-shot`."""

from vlprompt.commands.options import Run
from vlprompt.commands.output import print_results
from vlprompt.experiments.defaults import FEW_SHOT_SHOTS, SEEDS


def run(
    options: Run,
    learners: tuple[str, ...] = ("zero_shot", "linear_probe", "coop"),
    shots: tuple[int, ...] = FEW_SHOT_SHOTS,
    seeds: tuple[int, ...] = SEEDS,
    grid: tuple[str, ...] = (),
) -> None:
    """Train on K images per class, evaluate on the test split.

    Args:
        options: Data, frozen model and output folder.
        learners: Methods to run: coop, coop:cocoop-paper for a published setting, FILE.py:CLASS for your own.
        shots: Training images per class.
        seeds: One run per seed, which sets the draw, the initialisation and the order of training.
        grid: Training settings to choose on held-out images, as train.lr=0.1,1 train.weight_decay=0,0.01. The best one
            on the first seed's draw is used for all seeds.
    """
    from vlprompt.experiments import grid as grids
    from vlprompt.experiments.protocols import few_shot

    values = grids.parse(grid)
    specs, task = options.specs(learners), options.open_task()
    results = few_shot.run(options.runner(specs), task, specs, shots, seeds, values)
    print_results(results, options, "few_shot")
