"""Evaluate one stream of test images in shards, by several processes; the result equals that of one process.

A shard consists of whole batches, so every image is evaluated beside the same images as in one process. The scores of a
shard are stored in a file, and the process that finds all files joins them. Only for methods whose answer to an image
does not depend on the images before it.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from vlprompt import checkpoint
from vlprompt.data import feed
from vlprompt.data.task import Task
from vlprompt.files import alone
from vlprompt.learner import PromptLearner
from vlprompt.training.evaluate import METRICS, Scores
from vlprompt.training.metrics import compute
from vlprompt.training.resume import TrainReport

TENSORS = ("scores", "labels")


class ShardsMissingError(Exception):
    """This shard is done; the result needs others that are not done yet."""


@dataclass(frozen=True)
class Shard:
    """One of several parts of a stream, about equally long.

    Attributes:
        number: Its position, from 0.
        count: The number of shards.
    """

    number: int
    count: int

    def limited(self, learner: PromptLearner[Any, Any], task: Task) -> "Shard":
        """The same shard where there are at most as many shards as batches.

        Raises:
            ShardsMissingError: There are no batches left for this one.
        """
        count = min(self.count, _batches(learner, task))
        if self.number >= count:
            raise ShardsMissingError(f"the other shards have all {count} batches")
        return Shard(self.number, count)

    def of(self, learner: PromptLearner[Any, Any], task: Task) -> Task:
        """The task with the test images of this shard only."""
        size, batches = feed.test_batch_size(learner.needs), _batches(learner, task)
        first, last = (number * batches // self.count * size for number in (self.number, self.number + 1))
        return replace(task, test=task.test[first:last])


def trained_once(learner: PromptLearner[Any, Any], folder: Path, train: Callable[[], TrainReport]) -> TrainReport:
    """Train a learner, or restore it where the process of another shard has trained it.

    Args:
        learner: What `train` trains.
        folder: Where the shards of this stream are stored.
        train: Trains it.
    """
    path = folder / "trained.safetensors"
    with alone(folder.with_suffix(".training")):
        if path.is_file():
            tensors, report = checkpoint.load_state(path)
            learner.restore(tensors, str(path))
            return TrainReport(**report)  # type: ignore[arg-type]
        done = train()
        checkpoint.save_state(path, learner.saved_tensors(), asdict(done))
        return done


def save(folder: Path, shard: Shard, scores: Mapping[str, Scores]) -> None:
    """Store the scores of a shard, by the prefix of their metrics."""
    tensors = {f"{part}/{name}": getattr(each, name) for part, each in scores.items() for name in TENSORS}
    seconds = {part: [each.seconds, each.predict_seconds] for part, each in scores.items()}
    checkpoint.save_state(_file(folder, shard), tensors, {"seconds": seconds})


def is_saved(folder: Path, shard: Shard) -> bool:
    """Whether the scores of this shard are stored."""
    return _file(folder, shard).is_file()


@contextmanager
def joined(folder: Path, count: int) -> Iterator[dict[str, Scores]]:
    """The scores of all shards together, for one process at a time; their files are deleted at the end.

    Raises:
        ShardsMissingError: Some are not stored yet.
    """
    with alone(folder.with_suffix(".joining")):
        files = [_file(folder, Shard(number, count)) for number in range(count)]
        if missing := sum(not file.is_file() for file in files):
            raise ShardsMissingError(f"{missing} of {count} shards are missing")
        stored: list[tuple[Any, Any]] = [checkpoint.load_state(file) for file in files]
        yield {part: _concatenated(stored, part) for part in stored[0][1]["seconds"]}
        shutil.rmtree(folder, ignore_errors=True)


def _concatenated(stored: list[tuple[Any, Any]], part: str) -> Scores:
    """One part's scores over the whole stream."""
    scores, labels = (torch.cat([tensors[f"{part}/{name}"] for tensors, _ in stored]) for name in TENSORS)
    seconds, predict_seconds = (sum(meta["seconds"][part][i] for _, meta in stored) for i in (0, 1))
    metrics = compute(METRICS, scores, labels) if bool((labels >= 0).any()) else {}
    return Scores(metrics, scores, labels, seconds, predict_seconds)


def _batches(learner: PromptLearner[Any, Any], task: Task) -> int:
    """Test batches of a task."""
    return -(-len(task.test) // feed.test_batch_size(learner.needs))


def _file(folder: Path, shard: Shard) -> Path:
    return folder / f"{shard.number}-of-{shard.count}.safetensors"
