"""Domain shift: train on a source, judge on other versions of the same classes, or of some of them.

Zhou et al., IJCV 2022 (CoOp), section 4.2: ImageNet to ImageNetV2, -Sketch, -A and -R, the last two over their own 200
classes. A task of several domains (PACS, Office-Home) can be its own source and target: train on all domains but one,
judge on that one (leave-one-domain-out; Gulrajani and Lopez-Paz, ICLR 2021).
"""

from collections.abc import Iterator, Sequence

from vlprompt import learners
from vlprompt.data.domains import leave_out
from vlprompt.data.task import Task
from vlprompt.errors import UsageError
from vlprompt.results import Result
from vlprompt.runner import Bench, Entry, transfer

SHOTS = 16
SEEDS = (1, 2, 3)


def run(
    bench: Bench,
    source: Task,
    targets: Sequence[Task],
    entries: Sequence[Entry],
    shots: int = SHOTS,
    seeds: Sequence[int] = SEEDS,
) -> Iterator[Result]:
    """One result per entry and seed, with `TASK_top1` for the source and every shifted version.

    Without targets, `leave_one_out` of a source with several domains.

    Args:
        bench: Where and on which backbone.
        source: The task to train on.
        targets: Other versions of it; each is judged over its own classes.
        entries: The rows of the table.
        shots: Images a class to draw.
        seeds: Of the draw, the start of the prompt and the order of training.

    Raises:
        UsageError: A target has a class that the source has not; or as for `runner.transfer`.
    """
    if not targets and source.domains:
        return leave_one_out(bench, source, entries, shots, seeds)
    for task in targets:
        strange = sorted(set(task.classes) - set(source.classes))
        if strange:
            raise UsageError(
                f"{task.name} is no version of {source.name}: it has classes that the source has not "
                f"({', '.join(strange[:3])}); judge it with cross-dataset."
            )
    return transfer(bench, "domain_shift", source, targets, entries, shots, seeds)


def leave_one_out(
    bench: Bench, task: Task, entries: Sequence[Entry], shots: int = SHOTS, seeds: Sequence[int] = SEEDS
) -> Iterator[Result]:
    """One result per left-out domain, entry and seed; its task is "DATA/left-out/DOMAIN".

    Args:
        bench: Where and on which backbone.
        task: Of several domains; all images of the one left out are judged.
        entries: The rows of the table.
        shots: Images a class to draw from the other domains together.
        seeds: Of the draw, the start of the prompt and the order of training.

    Raises:
        UsageError: Fewer than two domains, or an entry that cannot do this; before anything runs.
    """
    splits = [leave_out(task, target) for target in task.domains]
    for entry in entries:
        bench.check(entry, splits[0], {"": splits[0]})
    for split in splits:
        for entry in entries:
            learns = learners.learner_class(entry.method).learns
            for seed in seeds if learns else (0,):
                drawn = split.few_shot(shots, seed) if learns else split
                notes = {"metric": task.headline}
                count = shots * learns
                yield bench.run("leave_one_out", entry, drawn, {"": drawn}, shots=count, seed=seed, notes=notes)
