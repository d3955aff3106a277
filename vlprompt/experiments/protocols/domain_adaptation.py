"""Domain adaptation: train on a labelled domain and on unlabelled images of another one; evaluate on the latter.

Ge et al. 2022 (arXiv:2202.06687), section 4: every ordered pair of domains, transductive (adapted to the images that
are evaluated). Baselines: zero-shot; any learner on the source alone; any learner on pseudo-labels of the target.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from vlprompt.data.domains import Pair, adaptation, all_pairs
from vlprompt.data.task import Task
from vlprompt.errors import UsageError
from vlprompt.experiments.defaults import SEEDS, TAU
from vlprompt.experiments.results import ALL_SHOTS, Result
from vlprompt.experiments.runner import Runner
from vlprompt.experiments.spec import LearnerSpec
from vlprompt.learners import ZeroShot, ZeroShotConfig
from vlprompt.training.evaluate import evaluate


def run(
    runner: Runner,
    task: Task,
    specs: Sequence[LearnerSpec],
    *,
    pseudo: Sequence[LearnerSpec] = (),
    pairs: Sequence[Pair] = (),
    held_out: bool = False,
    tau: float = TAU,
    seeds: Sequence[int] = SEEDS,
) -> Iterator[Result]:
    """One result per pair, spec and seed; its task is "DATA/transductive/SOURCE:TARGET" or "DATA/held-out/...".

    Where the target has no labels the result has no metrics, and predictions are saved.

    Args:
        runner: The backbone, and where results go.
        task: Of several domains.
        specs: The learners; those that use no unlabelled images train on the source alone.
        pseudo: Learners that train on the target's pseudo-labels alone: zero-shot predictions with a confidence of at
            least `tau`.
        pairs: (sources, target) each; none: every ordered pair.
        held_out: Adapt to the target's train and val split and evaluate on its test split, instead of all for both.
        tau: The least confidence of a pseudo-label for `pseudo`.
        seeds: Of the initialisation and the order of training.

    Raises:
        UsageError: An impossible pair, or a learner that cannot do this, before anything runs; a tau that selects no
            image, before the pair's pseudo-labels are trained on.
    """
    tasks = [adaptation(task, *pair, held_out=held_out) for pair in pairs or all_pairs(task)]
    runner.check(specs, tasks[0])
    runner.check(pseudo, replace(tasks[0], unlabelled=()))
    for each in tasks:
        for spec in specs:
            yield from _runs(runner, spec, each, seeds)
        relabelled = pseudo_labelled(runner, each, tau) if pseudo else each
        for spec in pseudo:
            marked = replace(spec, changed={**spec.changed, "labels": "pseudo", "tau": tau})
            yield from _runs(runner, marked, relabelled, seeds)


def pseudo_labelled(runner: Runner, task: Task, tau: float) -> Task:
    """The task with other training examples: the unlabelled ones with a confident zero-shot prediction as label.

    Raises:
        UsageError: No prediction is confident enough.
    """
    head = ZeroShot.for_task(runner.backbone, task, ZeroShotConfig())
    scores = evaluate(head, replace(task, test=task.unlabelled), store=runner.store, workers=runner.workers).scores
    confidence, guesses = scores.softmax(dim=1).max(dim=1)
    pairs = zip(task.unlabelled, confidence.tolist(), guesses.tolist(), strict=True)
    train = tuple(replace(example, label=guess) for example, probability, guess in pairs if probability >= tau)
    if not train:
        raise UsageError(
            f"tau {tau:g} selects none of the {len(task.unlabelled)} images to adapt to in {task.name} (the highest "
            f"zero-shot confidence is {float(confidence.max()):.4g}); lower tau."
        )
    return replace(task, train=train, unlabelled=())


def _runs(runner: Runner, spec: LearnerSpec, task: Task, seeds: Sequence[int]) -> Iterator[Result]:
    """One result per seed, on all examples."""
    shots, notes = ALL_SHOTS * spec.trains, {"metric": task.metric}
    for seed in seeds if spec.trains else (0,):
        yield runner.run("domain_adaptation", spec, task, shots=shots, seed=seed, notes=notes)
