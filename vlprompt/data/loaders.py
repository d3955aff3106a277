"""Batches of a split, epoch after epoch.

The order of an epoch and its augmentations are a function of (seed, number of the epoch) and nothing else: not of the
number of workers, nor of what was loaded before, nor of the global random state. Training drops a last incomplete
batch if there is a complete one (Dassl.pytorch, `dassl/data/data_manager.py`).
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from vlprompt.data.batch import Batch
from vlprompt.data.decoding import Decoded, ImageTensors, Workers, decoded
from vlprompt.data.images import BadImageError, Example, Images
from vlprompt.data.pixels import Pixels, shared
from vlprompt.data.texts import Text
from vlprompt.data.transforms import Transform
from vlprompt.errors import UsageError, unknown, warn

ON_BAD_IMAGE = ("error", "skip")


class Batches(Protocol):
    """One split, batch by batch."""

    @property
    def size(self) -> int:
        """Examples in the split."""

    @property
    def waited(self) -> float:
        """Seconds gone by, in all epochs so far, while images were read and decoded and nothing else was done."""

    def __len__(self) -> int:
        """Batches in an epoch."""

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of one epoch, the same whenever it is asked for."""


class ImageBatches:
    """Batches of images.

    Args:
        images: Opens items.
        examples: The split.
        transform: Makes the tensors.
        batch_size: Examples in a batch.
        seed: Shuffle every epoch by this seed; None: in order, everything once.
        workers: Processes that decode; 0 decodes here, which is right for few-shot sets.
        on_bad_image: "error" stops at an unreadable image; "skip" leaves it out, with one warning when the epoch ends.
        pixels: Where decoded images stay in memory for later epochs and evaluations; None: where all of this process
            do, see `vlprompt.data.pixels.shared`.
    """

    def __init__(
        self,
        images: Images,
        examples: Sequence[Example],
        transform: Transform,
        *,
        batch_size: int,
        seed: int | None = None,
        workers: int = 0,
        on_bad_image: str = "error",
        pixels: Pixels | None = None,
    ) -> None:
        if on_bad_image not in ON_BAD_IMAGE:
            raise unknown("way to treat bad images", on_bad_image, ON_BAD_IMAGE)
        if workers < 0:
            raise UsageError(f"workers must be 0 or more, got {workers}")
        self.batch_size = _checked(batch_size)
        self.seed = seed
        self.waited = 0.0
        self.skipped: dict[int, str] = {}
        self._skip = on_bad_image == "skip"
        self._labels = torch.tensor([example.label for example in examples], dtype=torch.int64)
        self._tensors = ImageTensors(images, examples, transform, shared() if pixels is None else pixels)
        self._workers = Workers(self._tensors, workers) if workers else None

    @property
    def size(self) -> int:
        """Examples in the split."""
        return len(self._labels)

    def __len__(self) -> int:
        return batch_count(self.size, self.batch_size, drop_last=self.seed is not None)

    def epoch(self, number: int) -> Iterator[Batch]:
        """Batches of images; raises BadImageError at the first unreadable one unless they are skipped."""
        jobs = [[(i, mixed(self.seed or 0, number, i)) for i in part] for part in self._order(number)]
        before, began = len(self.skipped), time.perf_counter()
        for each in decoded(self._tensors, jobs, self._workers):
            batch = self._batch(each)
            self.waited += time.perf_counter() - began
            if batch is not None:
                yield batch
            began = time.perf_counter()
        if len(self.skipped) > before:
            first = next(iter(self.skipped.values()))
            warn(f"{len(self.skipped)} of {self.size} images were skipped; the first: {first}")

    def close(self) -> None:
        """End the worker processes, if there are any."""
        if self._workers:
            self._workers.close()

    def _order(self, number: int) -> list[list[int]]:
        return batch_positions(self.size, self.batch_size, self.seed, number)

    def _batch(self, each: Decoded) -> Batch | None:
        if each.bad and not self._skip:
            raise BadImageError(next(iter(each.bad.values())))
        self.skipped.update(each.bad)
        if each.tensors is None:
            return None
        index = torch.tensor(each.positions, dtype=torch.int64)
        return Batch(self._labels[index], index, images=each.tensors)


class FeatureBatches:
    """Batches of features that are known already.

    Args:
        features: (N, E), or (K, N, E) for K cached augmentations of each image: epoch e reads number e mod K.
        labels: (N,) int64.
        batch_size: Examples in a batch.
        seed: Shuffle every epoch by this seed; None: in order, everything once.
    """

    waited = 0.0  # all is in memory

    def __init__(
        self, features: Tensor, labels: Tensor | Sequence[int], *, batch_size: int, seed: int | None = None
    ) -> None:
        self.batch_size = _checked(batch_size)
        self.seed = seed
        self._features = features if features.ndim == 3 else features.unsqueeze(0)  # (K, N, E)
        self._labels = torch.as_tensor(labels, dtype=torch.int64)
        if self._features.ndim != 3 or self._features.shape[1] != len(self._labels):
            raise UsageError(f"features {tuple(features.shape)} do not go with {len(self._labels)} labels")

    @property
    def size(self) -> int:
        """Examples in the split."""
        return len(self._labels)

    def __len__(self) -> int:
        return batch_count(self.size, self.batch_size, drop_last=self.seed is not None)

    def epoch(self, number: int) -> Iterator[Batch]:
        """Batches of features."""
        features = self._features[number % len(self._features)]
        for positions in batch_positions(self.size, self.batch_size, self.seed, number):
            index = torch.tensor(positions, dtype=torch.int64)
            yield Batch(self._labels[index], index, features=features[index])


class ViewBatches:
    """Batches of features of several views of each image, in order, everything once; made when they are asked for.

    Args:
        views: Positions of B examples to (B, V, E).
        labels: (N,) int64.
        batch_size: Examples in a batch.
    """

    waited = 0.0  # whoever makes the views reads the images

    def __init__(self, views: Callable[[Sequence[int]], Tensor], labels: Tensor, *, batch_size: int) -> None:
        self.batch_size = _checked(batch_size)
        self._views = views
        self._labels = labels

    @property
    def size(self) -> int:
        """Examples in the split."""
        return len(self._labels)

    def __len__(self) -> int:
        return batch_count(self.size, self.batch_size, drop_last=False)

    def epoch(self, number: int) -> Iterator[Batch]:
        """Batches of views."""
        for positions in batch_positions(self.size, self.batch_size, None, number):
            index = torch.tensor(positions, dtype=torch.int64)
            yield Batch(self._labels[index], index, views=self._views(positions))


class EncodedBatches:
    """Batches of images with the features that a frozen encoder gives for them, computed anew each time.

    Args:
        inner: Batches of images.
        encode: (B, 3, H, W) to (B, E); runs without gradients.
    """

    def __init__(self, inner: Batches, encode: Callable[[Tensor], Tensor]) -> None:
        self.inner = inner
        self.encode = encode

    @property
    def size(self) -> int:
        """Examples in the split."""
        return self.inner.size

    @property
    def waited(self) -> float:
        """Seconds spent on reading and decoding."""
        return self.inner.waited

    def __len__(self) -> int:
        return len(self.inner)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The inner batches, with features."""
        for batch in self.inner.epoch(number):
            if batch.images is None:
                raise UsageError("there is nothing to encode: these batches hold no images")
            with torch.no_grad():
                features = self.encode(batch.images)
            yield replace(batch, features=features.float())


class JoinedBatches:
    """Batches of images with features that are known already.

    Args:
        inner: Batches of images.
        features: (N, E), a row for each example of the split.
    """

    def __init__(self, inner: Batches, features: Tensor) -> None:
        self.inner = inner
        self.features = features

    @property
    def size(self) -> int:
        """Examples in the split."""
        return self.inner.size

    @property
    def waited(self) -> float:
        """Seconds spent on reading and decoding."""
        return self.inner.waited

    def __len__(self) -> int:
        return len(self.inner)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The inner batches, with features."""
        for batch in self.inner.epoch(number):
            yield replace(batch, features=self.features[batch.index])


class TextBatches:
    """Batches of texts; whoever reads them tokenises them.

    Args:
        examples: The split.
        batch_size: Examples in a batch.
        seed: Shuffle every epoch by this seed; None: in order, everything once.

    Raises:
        UsageError: An example is no text.
    """

    waited = 0.0  # all is in memory

    def __init__(self, examples: Sequence[Example], *, batch_size: int, seed: int | None = None) -> None:
        self.batch_size = _checked(batch_size)
        self.seed = seed
        self._texts = [text_of(example) for example in examples]
        self._labels = torch.tensor([example.label for example in examples], dtype=torch.int64)

    @property
    def size(self) -> int:
        """Examples in the split."""
        return len(self._labels)

    def __len__(self) -> int:
        return batch_count(self.size, self.batch_size, drop_last=self.seed is not None)

    def epoch(self, number: int) -> Iterator[Batch]:
        """Batches of texts."""
        for positions in batch_positions(self.size, self.batch_size, self.seed, number):
            index = torch.tensor(positions, dtype=torch.int64)
            yield Batch(self._labels[index], index, texts=tuple(self._texts[position] for position in positions))


def text_of(example: Example) -> Text:
    """The text of an example; UsageError if it is none."""
    if isinstance(example.item, Text):
        return example.item
    raise UsageError(f"this learner reads texts; {example.item} is none. Task.from_texts makes a task of texts.")


def mixed(*numbers: int | str) -> int:
    """One well-mixed 63-bit seed from several numbers, the same on every machine."""
    digest = hashlib.blake2b("|".join(map(str, numbers)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def batch_count(size: int, batch_size: int, *, drop_last: bool) -> int:
    """Batches in an epoch; an incomplete one is dropped only if there is a complete one."""
    return size // batch_size if drop_last and size >= batch_size else -(-size // batch_size)


def batch_positions(size: int, batch_size: int, seed: int | None, epoch: int) -> list[list[int]]:
    """The positions in each batch of an epoch: in order without a seed, else shuffled by (seed, epoch)."""
    order = list(range(size))
    if seed is not None:
        generator = torch.Generator().manual_seed(mixed(seed, epoch))
        order = torch.randperm(size, generator=generator).tolist()
    count = batch_count(size, batch_size, drop_last=seed is not None)
    return [order[i * batch_size : (i + 1) * batch_size] for i in range(count)]


def _checked(batch_size: int) -> int:
    if batch_size < 1:
        raise UsageError(f"batch_size must be 1 or more, got {batch_size}")
    return batch_size
