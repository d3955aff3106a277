"""One long stream of test images, judged in shares by several processes: together exactly what one process says.

A share is a run of whole batches, so every image is judged beside the same images as in one process. What is said of a
share is kept in a file; whoever finds all files there puts them together. Only for methods that forget an image before
the next.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from vlprompt import checkpoint, feed
from vlprompt.data.task import Task
from vlprompt.evaluate import METRICS, Scores
from vlprompt.learners.base import PromptLearner
from vlprompt.locks import alone
from vlprompt.metrics import compute
from vlprompt.train import TrainReport

Judged = Mapping[str, Scores]


class OthersMissingError(Exception):
    """A share is kept, and the whole can be put together once the others are."""


@dataclass(frozen=True)
class Share:
    """One of several parts of a stream, about equally long.

    Attributes:
        number: Which, from 0.
        count: Of how many.
    """

    number: int
    count: int

    def within(self, learner: PromptLearner[Any], task: Task) -> "Share":
        """The same of as many shares as there are batches, if those are fewer.

        Raises:
            OthersMissingError: Nothing is left for this one.
        """
        count = min(self.count, -(-len(task.test) // feed.judged_at_once(learner)))
        if self.number >= count:
            raise OthersMissingError(f"the others take all {count} batches")
        return Share(self.number, count)

    def of(self, learner: PromptLearner[Any], task: Task) -> Task:
        """The task with this share of its test images only."""
        size = feed.judged_at_once(learner)
        batches = -(-len(task.test) // size)
        first, last = (number * batches // self.count * size for number in (self.number, self.number + 1))
        return replace(task, test=task.test[first:last])


def trained_once(learner: PromptLearner[Any], folder: Path, train: Callable[[], TrainReport]) -> TrainReport:
    """Train the learner of a stream, or take what another share's process has learned.

    Args:
        learner: What `train` trains.
        folder: Where shares of this stream are kept.
        train: Trains it.
    """
    path = folder / "trained.safetensors"
    with alone(folder.with_suffix(".training")):
        if path.is_file():
            tensors, report = checkpoint.load_state(path)
            learner.restore(tensors, str(path))
            return TrainReport(**report)  # type: ignore[arg-type]
        found = train()
        checkpoint.save_state(path, {**learner.trainable(), **learner.found()}, asdict(found))
        return found


def keep(folder: Path, share: Share, judged: Judged) -> None:
    """Write what is said of a share."""
    tensors = {f"{part}/{name}": getattr(scores, name) for part, scores in judged.items() for name in _TENSORS}
    seconds = {part: [scores.seconds, scores.predict_seconds] for part, scores in judged.items()}
    checkpoint.save_state(_file(folder, share), tensors, {"seconds": seconds})


def is_kept(folder: Path, share: Share) -> bool:
    """Whether this share was judged before."""
    return _file(folder, share).is_file()


def joined(folder: Path, count: int) -> dict[str, Scores]:
    """What the shares say together.

    Raises:
        OthersMissingError: Some are not there yet.
    """
    files = [_file(folder, Share(number, count)) for number in range(count)]
    if missing := sum(not file.is_file() for file in files):
        raise OthersMissingError(f"{missing} of {count} shares are missing")
    read = [checkpoint.load_state(file) for file in files]
    return {part: _one([(tensors, meta, part) for tensors, meta in read]) for part in read[0][1]["seconds"]}  # type: ignore[attr-defined]


def drop(folder: Path) -> None:
    """Remove what was kept of a stream that is complete."""
    shutil.rmtree(folder, ignore_errors=True)


_TENSORS = ("scores", "labels")


def _one(shares: list[tuple[Mapping[str, Any], Mapping[str, Any], str]]) -> Scores:
    """The shares of one stream as one."""
    scores, labels = (torch.cat([tensors[f"{part}/{name}"] for tensors, _, part in shares]) for name in _TENSORS)
    whole, predicting = (sum(meta["seconds"][part][which] for _, meta, part in shares) for which in (0, 1))
    metrics = compute(METRICS, scores, labels) if bool((labels >= 0).any()) else {}
    return Scores(metrics, scores, labels, whole, predicting)


def _file(folder: Path, share: Share) -> Path:
    return folder / f"{share.number}-of-{share.count}.safetensors"
