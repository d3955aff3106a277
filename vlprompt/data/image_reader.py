"""Images of batches: each epoch's positions to tensors, with seeds for the augmentation and a policy for bad images."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vlprompt.data.decoding import ImageTensors, Workers, decode
from vlprompt.data.images import BadImageError, BadImages, Example, Images
from vlprompt.data.pixel_cache import PixelCache, shared_cache
from vlprompt.data.splits import SPLITS
from vlprompt.data.task import Task
from vlprompt.data.texts import Text
from vlprompt.data.transforms import Transform
from vlprompt.errors import UsageError, VlpromptError
from vlprompt.randomness import mixed


def readable(task: Task) -> Task:
    """The task without the images that cannot be read, with one warning; every image is decoded once for it.

    A task of texts is returned as it is.

    Raises:
        VlpromptError: No image can be read.
    """
    splits = {split: getattr(task, split) for split in (*SPLITS, "unlabelled")}
    bad = BadImages("skip", sum(map(len, splits.values())))
    left: dict[str, Any] = {split: tuple(e for e in each if _opens(task, e, bad)) for split, each in splits.items()}
    if not any(left.values()):
        raise VlpromptError(f"{task.name}: no image can be read. {next(iter(bad.reasons.values()), '')}")
    bad.report("cannot be read and are left out")
    return replace(task, **left) if bad.reasons else task


def _opens(task: Task, example: Example, bad: BadImages) -> bool:
    """Whether an example's image can be decoded; adds it to the bad ones otherwise."""
    if isinstance(example.item, Text):
        return True
    try:
        task.images.open(example.item)
    except BadImageError as error:
        bad.add({len(bad.reasons): str(error)})
        return False
    return True


class ImageReader:
    """Opens and transforms the images of a split, in this process or in several.

    Attributes:
        waited: Seconds for which the caller waited for images.
        bad: The images that were skipped.
    """

    def __init__(
        self,
        images: Images,
        examples: Sequence[Example],
        transform: Transform,
        *,
        workers: int = 0,
        on_bad_image: str = "error",
        cache: PixelCache | None = None,
    ) -> None:
        """Prepare to read.

        Args:
            images: Opens items.
            examples: The split.
            transform: Image to tensor.
            workers: Processes that decode; 0 decodes in this process, which is right for few-shot sets.
            on_bad_image: "error" stops at an unreadable image; "skip" leaves it out, with one warning per epoch.
            cache: Stores decoded images for later epochs; None: the cache of this process.
        """
        if workers < 0:
            raise UsageError(f"workers must be 0 or more, got {workers}")
        self.waited = 0.0
        self.bad = BadImages(on_bad_image, len(examples))
        self._tensors = ImageTensors(images, examples, transform, shared_cache() if cache is None else cache)
        self._workers = Workers(self._tensors, workers) if workers else None

    def read(self, lists: Sequence[list[int]], epoch: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(n,) positions and (n, 3, H, W) images of each list; a list without a readable image is left out."""
        jobs = [[(i, mixed(seed, epoch, i)) for i in positions] for positions in lists]
        began = time.perf_counter()
        for part in decode(self._tensors, jobs, self._workers):
            self.bad.add(part.bad)
            self.waited += time.perf_counter() - began
            if part.tensors is not None:
                yield torch.tensor(part.positions, dtype=torch.int64), part.tensors
            began = time.perf_counter()
        self.bad.report("were skipped")

    def close(self) -> None:
        """End the worker processes, if there are any."""
        if self._workers:
            self._workers.close()
