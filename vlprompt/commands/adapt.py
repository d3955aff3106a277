"""The command `vlprompt adapt`."""

from vlprompt.commands.options import Run
from vlprompt.commands.output import print_results
from vlprompt.errors import UsageError
from vlprompt.experiments.defaults import SEEDS, TAU


def run(
    options: Run,
    learners: tuple[str, ...] = ("zero_shot", "coop", "dapl"),
    pseudo: tuple[str, ...] = (),
    pairs: tuple[str, ...] = (),
    held_out: bool = False,
    tau: float = TAU,
    seeds: tuple[int, ...] = SEEDS,
) -> None:
    """Train on a labelled and an unlabelled domain, evaluate on the latter.

    Args:
        options: A task of several domains (or a folder with one folder per domain), frozen model and output folder.
        learners: Methods to run; those that do not use unlabelled images are trained on the source only.
        pseudo: Methods to train on the target only, with zero-shot predictions as labels: coop, ...
        pairs: SOURCE:TARGET or SOURCE+SOURCE:TARGET. Without any: every ordered pair of domains.
        held_out: Evaluate on a test split of the target that no training image comes from, instead of on all of its
            images, which are also trained on without labels.
        tau: The least confidence of a label for --pseudo. (DAPL has its own: --set dapl.tau=...)
        seeds: One run per seed, which sets the initialisation and the order of training.
    """
    from vlprompt.data.domains import read_pair
    from vlprompt.experiments.protocols import domain_adaptation

    if tau != TAU and not pseudo:
        raise UsageError("--tau is for the learners of --pseudo, and none is given.")
    specs = options.specs((*learners, *pseudo))
    results = domain_adaptation.run(
        options.runner(specs),
        options.open_task(domains=True),
        specs[: len(learners)],
        pseudo=specs[len(learners) :],
        pairs=[read_pair(pair) for pair in pairs],
        held_out=held_out,
        tau=tau,
        seeds=seeds,
    )
    print_results(results, options, "domain_adaptation")
