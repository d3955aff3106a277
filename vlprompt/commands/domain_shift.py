"""The command `vlprompt domain-shift`."""

from vlprompt.commands.options import Run
from vlprompt.commands.output import print_results
from vlprompt.experiments.defaults import SEEDS, SHOTS


def run(
    options: Run,
    targets: tuple[str, ...] = (),
    learners: tuple[str, ...] = ("zero_shot", "coop:cocoop-paper"),
    shots: int = SHOTS,
    seeds: tuple[int, ...] = SEEDS,
) -> None:
    """Train on one data set, evaluate on other versions of its classes.

    Args:
        options: Data to train on, frozen model and output folder.
        targets: Data sets with the same classes, or with some of them: names or paths, as for --task. Without any, the
            data has several domains (pacs, office_home, a folder of domains), and each is the target of the others.
        learners: Methods to run: coop, coop:cocoop-paper for a published setting, FILE.py:CLASS for your own.
        shots: Training images per class.
        seeds: One run per seed, which sets the draw, the initialisation and the order of training.
    """
    from vlprompt.data import catalog
    from vlprompt.experiments.protocols import domain_shift

    specs, source = options.specs(learners), options.open_task(domains=not targets)
    others = [catalog.open_task(target, options.root) for target in targets]
    results = domain_shift.run(options.runner(specs), source, others, specs, shots, seeds)
    print_results(results, options, "domain_shift" if targets else "leave_one_out")
