"""Domain shift: train on a source, evaluate on other versions of all or some of its classes.

Zhou et al., IJCV 2022 (CoOp), section 4.2: ImageNet to ImageNetV2, -Sketch, -A and -R, the last two over their own 200
classes. With a task of several domains (PACS, Office-Home): train on all domains but one, evaluate on that one
(leave-one-domain-out; Gulrajani and Lopez-Paz, ICLR 2021).
"""

from collections.abc import Iterator, Sequence

from vlprompt.data.domains import leave_out
from vlprompt.data.task import Task
from vlprompt.errors import UsageError
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
    """One result per spec and seed, with `TASK_top1` for the source and every shifted version.

    Without targets, `leave_one_out` on a source with several domains.

    Args:
        runner: The backbone, and where results go.
        source: The task to train on.
        targets: Other versions of it; each is evaluated over its own classes.
        specs: The learners.
        shots: Images per class to draw.
        seeds: Of the draw, the initialisation and the order of training.

    Raises:
        UsageError: A target has a class that the source does not have; or as for `transfer`.
    """
    if not targets and source.domains:
        return leave_one_out(runner, source, specs, shots, seeds)
    for task in targets:
        if strange := sorted(set(task.classes) - set(source.classes)):
            raise UsageError(
                f"{task.name} is not a version of {source.name}: it has classes that {source.name} does not have "
                f"({', '.join(strange[:3])}); evaluate on it with cross-dataset."
            )
    return transfer(runner, "domain_shift", source, targets, specs, shots, seeds)


def leave_one_out(
    runner: Runner, task: Task, specs: Sequence[LearnerSpec], shots: int = SHOTS, seeds: Sequence[int] = SEEDS
) -> Iterator[Result]:
    """One result per left-out domain, spec and seed; its task is "DATA/left-out/DOMAIN". Arguments as for `run`.

    A learner trains on `shots` images per class of the other domains together, and is evaluated on all images of the
    one that is left out.

    Raises:
        UsageError: Fewer than two domains, or a learner that cannot do this; before anything runs.
    """
    splits = [leave_out(task, target) for target in task.domains]
    runner.check(specs, splits[0])
    notes = {"metric": task.metric}
    for split in splits:
        for spec in specs:
            for drawn, count, seed in spec.draws(split, shots, seeds):
                yield runner.run("leave_one_out", spec, drawn, shots=count, seed=seed, notes=notes)
