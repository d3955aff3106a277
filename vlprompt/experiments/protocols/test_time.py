"""Test time: a stream of test images, evaluated before and after a method adapts to them.

Episodic methods (TPT, MTA, ZERO) start anew for every image; their answers do not depend on the order. Online ones
(TDA) learn from the stream: for them it is shuffled by the seed, and every stream starts from nothing. The result
states the kind of adaptation and the order. "Before" means the plain image and the same words: zero-shot, or the
trained prompt that is wrapped ("tpt+coop"). Seconds per image are those of adapting and predicting; the views of an
image are encoded once for all methods that read the same ones, and not counted.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

from vlprompt.data.task import Task
from vlprompt.errors import UsageError
from vlprompt.experiments.defaults import SEEDS, SHOTS
from vlprompt.experiments.results import Result
from vlprompt.experiments.runner import Runner
from vlprompt.experiments.spec import LearnerSpec


def run(
    runner: Runner, task: Task, specs: Sequence[LearnerSpec], shots: int = SHOTS, seeds: Sequence[int] = SEEDS
) -> Iterator[Result]:
    """One result per spec and seed, with `top1`, `ece_15_equal_width` and, for methods that adapt, `before_top1` etc.

    Args:
        runner: The backbone, and where results go.
        task: Its test split is the stream; without labels there are no metrics.
        specs: The learners; a wrapped one is trained on few shots first.
        shots: Images per class to train on, for learners that train.
        seeds: Of views, of the order for online methods, of the draw and of training; what is not random runs once.

    Raises:
        UsageError: Fewer than one shot, or a learner that cannot do this; before anything runs.
    """
    if shots < 1:
        raise UsageError(f"shots must be 1 or more, {shots} was given; learners that do not train ignore it.")
    runner.check(specs, task)
    for spec in specs:
        notes = {
            "adaptation": ("online" if spec.online else "episodic") if spec.adapts else "none",
            "order": "shuffled by the seed" if spec.online else "as listed",
        }
        count = shots if spec.trains else 0
        for seed in seeds if spec.adapts or spec.trains else (0,):
            drawn = task.few_shot(shots, seed) if spec.trains else task
            stream = in_stream_order(drawn, seed) if spec.online else drawn
            yield runner.run("test_time", spec, stream, shots=count, seed=seed, before=spec.adapts, notes=notes)


def in_stream_order(task: Task, seed: int) -> Task:
    """The task with its test images in an order that depends on the seed only."""
    test = list(task.test)
    random.Random(seed).shuffle(test)
    return replace(task, test=tuple(test))
