"""Domain adaptation: learn from a domain with labels and from another's images without, judged on the latter.

Ge et al. 2022 (arXiv:2202.06687), section 4: every ordered pair of domains, transductive (adapted to the images that
are judged). Rivals: zero-shot; any learner on the source alone; any learner on the target's pseudo-labels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from vlprompt import feed
from vlprompt.data.domains import Pair, adaptation, all_pairs
from vlprompt.data.task import Task
from vlprompt.errors import UsageError
from vlprompt.evaluate import evaluate
from vlprompt.learners import ZeroShot, ZeroShotConfig
from vlprompt.results import ALL_SHOTS, Result
from vlprompt.runner import Bench, Entry

SEEDS = (1, 2, 3)
TAU = 0.5  # DAPL's


def run(
    bench: Bench,
    task: Task,
    entries: Sequence[Entry],
    *,
    pseudo: Sequence[Entry] = (),
    pairs: Sequence[Pair] = (),
    held_out: bool = False,
    tau: float = TAU,
    seeds: Sequence[int] = SEEDS,
) -> Iterator[Result]:
    """One result per pair, entry and seed; its task is "DATA/transductive/SOURCE:TARGET" or "DATA/held-out/...".

    A target without labels is predicted, not judged: the result has no metrics.

    Args:
        bench: Where and on which backbone.
        task: Of several domains.
        entries: The rows of the table; those that do not adapt learn from the source alone.
        pseudo: Rows that learn from the target's pseudo-labels alone: the zero-shot head's answers of at least `tau`.
        pairs: (sources, target) each; none: every ordered pair.
        held_out: Adapt to the target's train and val split and judge its test split, instead of all for both.
        tau: The least confidence of a pseudo-label for `pseudo`.
        seeds: Of the start of the prompt and the order of training.

    Raises:
        UsageError: A pair that cannot be, or an entry that cannot do this, before anything runs; a tau that selects
            nothing, before the pair's pseudo-labels are learned from.
    """
    chosen = [adaptation(task, *pair, held_out=held_out) for pair in pairs or all_pairs(task)]
    for entry in entries:
        bench.check(entry, chosen[0], {"": chosen[0]})
    for entry in pseudo:
        bench.check(entry, replace(chosen[0], unlabelled=()), {"": chosen[0]})
    for each in chosen:
        for entry in entries:
            yield from _seeds(bench, entry, each, seeds)
        relabelled = pseudo_labelled(bench, each, tau) if pseudo else each
        for entry in pseudo:
            named = replace(entry, changed={**entry.changed, "labels": "pseudo", "tau": tau})
            yield from _seeds(bench, named, relabelled, seeds)


def pseudo_labelled(bench: Bench, task: Task, tau: float) -> Task:
    """The task with other training examples: its unlabelled ones, as far as the zero-shot head is sure of them.

    Raises:
        UsageError: It is sure of none.
    """
    head = ZeroShot.for_task(bench.backbone, task, ZeroShotConfig())
    scores = evaluate(head, feed.judging(head, task, task.unlabelled, bench.store)).scores
    confidence, guesses = scores.softmax(dim=1).max(dim=1)
    pairs = zip(task.unlabelled, confidence.tolist(), guesses.tolist(), strict=True)
    train = tuple(replace(example, label=guess) for example, sure, guess in pairs if sure >= tau)
    if not train:
        raise UsageError(
            f"tau {tau:g} selects none of the {len(task.unlabelled)} images to adapt to in {task.name} (the highest "
            f"zero-shot confidence is {float(confidence.max()):.4g}); lower tau."
        )
    return replace(task, train=train, unlabelled=())


def _seeds(bench: Bench, entry: Entry, task: Task, seeds: Sequence[int]) -> Iterator[Result]:
    for seed in seeds if entry.learns else (0,):
        shots, notes = ALL_SHOTS * entry.learns, {"metric": task.headline}
        yield bench.run("domain_adaptation", entry, task, {"": task}, shots=shots, seed=seed, notes=notes)
