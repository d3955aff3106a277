"""Batches: one split, batch by batch, epoch after epoch.

The order of an epoch and its augmentations depend on (seed, number of the epoch) only: not on the number of worker
processes, on earlier epochs, or on the global random state. Training drops an incomplete last batch if there is a
complete one (Dassl.pytorch, `dassl/data/data_manager.py`).
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from vlprompt.data.batch import Batch
from vlprompt.data.image_reader import ImageReader
from vlprompt.data.images import Example, Images
from vlprompt.data.texts import Text
from vlprompt.data.transforms import Transform
from vlprompt.errors import UsageError
from vlprompt.randomness import mixed

Fill = Callable[[Tensor, Tensor | None], Any]  # (B,) positions and (B, 3, H, W) images, if any, to a field of the batch
Column = Callable[[int], Fill]  # fills one field: takes the number of an epoch, whose batches are then filled in order


class Batches:
    """One split, batch by batch.

    Attributes:
        labels: (N,) int64, -1 where unknown.
        batch_size: Examples in a batch.
        seed: Shuffles every epoch; None: everything once, in order.
        images: Opens and transforms images, where the batches have some.
        columns: Fill the fields of a batch, by name.
        unlabelled: Batches without labels that accompany these, if there are any.
    """

    def __init__(
        self,
        labels: Tensor | Sequence[int],
        *,
        batch_size: int,
        seed: int | None = None,
        images: ImageReader | None = None,
        **columns: Column,
    ) -> None:
        if batch_size < 1:
            raise UsageError(f"batch_size must be 1 or more, got {batch_size}")
        self.labels = torch.as_tensor(labels, dtype=torch.int64)
        self.batch_size = batch_size
        self.seed = seed
        self.images = images
        self.columns = columns
        self.unlabelled: Batches | None = None

    @property
    def size(self) -> int:
        """Examples in the split, and in that of the unlabelled batches."""
        return len(self.labels) + (self.unlabelled.size if self.unlabelled else 0)

    @property
    def waited(self) -> float:
        """Seconds for which the caller waited for images, in all epochs so far."""
        return (self.images.waited if self.images else 0.0) + (self.unlabelled.waited if self.unlabelled else 0.0)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return batch_count(len(self.labels), self.batch_size, drop_last=self.seed is not None)

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield the batches of one epoch, the same at every call.

        Raises:
            BadImageError: An image cannot be read, unless such images are skipped.
        """
        fill = {name: column(number) for name, column in self.columns.items()}
        lists = batch_positions(len(self.labels), self.batch_size, self.seed, number)
        for index, images in self._read(lists, number):
            fields = {name: value(index, images) for name, value in fill.items()}
            yield Batch(self.labels[index], index, images, **fields)

    def _read(self, lists: Sequence[list[int]], epoch: int) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield the positions of each batch, and its images."""
        if self.images is not None:
            yield from self.images.read(lists, epoch, self.seed or 0)
        else:
            yield from ((torch.tensor(positions, dtype=torch.int64), None) for positions in lists)

    def having(self, **columns: Column) -> "Batches":
        """The same batches with more columns; images are still read once."""
        other = copy.copy(self)
        other.columns = {**self.columns, **columns}
        return other

    def beside(self, unlabelled: "Batches", domains: Tensor) -> "Batches":
        """The same batches, each with its domain numbers, from (N,), and a batch of unlabelled examples.

        The number of batches is that of the labelled ones; the unlabelled ones start again with every epoch, and
        whenever they run out (Dassl.pytorch, `dassl/engine/trainer.py::TrainerXU.run_epoch`, COUNT_ITER "train_x").
        """
        passes = -(-len(self) // len(unlabelled))

        def column(number: int) -> Fill:
            stream = chain.from_iterable(unlabelled.epoch(number * passes + each) for each in range(passes))
            return lambda _, __: next(stream)

        other = self.having(domains=rows(domains), unlabelled=column)
        other.unlabelled = unlabelled
        return other

    def close(self) -> None:
        """End the worker processes, if there are any."""
        if self.images is not None:
            self.images.close()
        if self.unlabelled is not None:
            self.unlabelled.close()


def rows(values: Tensor) -> Column:
    """A column of stored values: a row of (N, ...) for each example."""
    return lambda _: lambda index, _: values[index]


def encoded(encode: Callable[[Tensor], Tensor]) -> Column:
    """A column of features that a frozen encoder, (B, 3, H, W) to (B, E), computes from the batch's images."""

    @torch.no_grad()
    def fill(_: Tensor, images: Tensor | None) -> Tensor:
        if images is None:
            raise UsageError("these batches have no images to encode.")
        return encode(images).float()

    return lambda _: fill


def feature_batches(
    features: Tensor, labels: Tensor | Sequence[int], *, batch_size: int, seed: int | None = None
) -> Batches:
    """Batches of stored features (N, E), or (K, N, E) for K views of each example: epoch e reads view e mod K."""
    views = features if features.ndim == 3 else features.unsqueeze(0)
    if views.ndim != 3 or views.shape[1] != len(labels):
        raise UsageError(f"features {tuple(features.shape)} for {len(labels)} labels; give (N, E) or (K, N, E).")

    def column(epoch: int) -> Fill:
        view = views[epoch % len(views)]
        return lambda index, _: view[index]

    return Batches(labels, batch_size=batch_size, seed=seed, features=column)


def text_batches(examples: Sequence[Example], *, batch_size: int, seed: int | None = None) -> Batches:
    """Batches of texts, which the learner tokenises; UsageError where an example is not a text."""
    texts = [text_of(example) for example in examples]

    def fill(index: Tensor, _: Tensor | None) -> tuple[Text, ...]:
        return tuple(texts[position] for position in index.tolist())

    return Batches(labels_of(examples), batch_size=batch_size, seed=seed, texts=lambda _: fill)


def image_batches(
    images: Images,
    examples: Sequence[Example],
    transform: Transform,
    *,
    batch_size: int,
    seed: int | None = None,
    **options: Any,
) -> Batches:
    """Batches of images; `options` as for `ImageReader`."""
    reader = ImageReader(images, examples, transform, **options)
    return Batches(labels_of(examples), batch_size=batch_size, seed=seed, images=reader)


def labels_of(examples: Sequence[Example]) -> Tensor:
    """(N,) int64 labels."""
    return torch.tensor([example.label for example in examples], dtype=torch.int64)


def text_of(example: Example) -> Text:
    """The text of an example; UsageError if it is not one."""
    if isinstance(example.item, Text):
        return example.item
    raise UsageError(f"the method reads texts; {example.item} is not one. Task.from_texts makes a task of texts.")


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
