"""Images to tensors, in this process or in several: `decode` turns lists of (position, seed) into tensors.

The seed of an example's augmentation travels with its position, so the result does not depend on the worker process.
Processes hand over pixels as bytes; this process normalises them, a batch at once.
"""

import signal
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from PIL.Image import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from vlprompt.data.images import BadImageError, Example, Images
from vlprompt.data.pixel_cache import Key, PixelCache
from vlprompt.data.transforms import Transform, normalised
from vlprompt.errors import VlpromptError

Job = tuple[int, int]  # position, seed of the augmentation


class Decoded(NamedTuple):
    """The readable images of one list of jobs, and why the others cannot be read."""

    positions: list[int]
    tensors: Tensor | None  # (n, 3, H, W), None where no image can be read
    bad: dict[int, str]


@dataclass
class ImageTensors(Dataset[tuple[int, Tensor | str]]):
    """Decodes and transforms examples.

    The cache stores what can be used again: a transform's output if it is not random, else the decoded image.

    Attributes:
        images: Opens items.
        examples: The split.
        transform: Image to tensor.
        cache: Stores images; None: nothing is stored.
    """

    images: Images
    examples: Sequence[Example]
    transform: Transform
    cache: PixelCache | None = None
    _reader: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        self._reader = 0 if self.cache is None else self.cache.new_reader()

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, job: Job) -> tuple[int, Tensor | str]:
        """The position, and its (3, H, W) pixels or the reason why there are none."""
        position, seed = job
        try:
            pixels = self.cached(position)
            if pixels is None:
                pixels = self.transform.pixels(self._image(position), seed)
                self.store(position, pixels)
        except BadImageError as error:
            return position, str(error)
        return position, pixels

    def cached(self, position: int) -> Tensor | None:
        """The (3, H, W) pixels of an example, if they are stored and the transform is not random; BadImageError."""
        if self.cache is None or self.transform.random:
            return None
        pixels = self.cache.get(self._key(self.cache, position), self._reader)
        return pixels if isinstance(pixels, Tensor) else None

    def store(self, position: int, pixels: Tensor) -> None:
        """Store an example's pixels, if the transform is not random."""
        if self.cache is not None and not self.transform.random:
            self.cache.put(self._key(self.cache, position), pixels, self._reader)

    def _image(self, position: int) -> Image:
        """An example's image, from the cache if the transform is random."""
        item = self.examples[position].item
        if self.cache is None or not self.transform.random:
            return self.images.open(item)
        key = self._key(self.cache, position)
        image = self.cache.get(key, self._reader)
        if not isinstance(image, Image):
            image = self.images.open(item)
            self.cache.put(key, image, self._reader)
        return image

    def _key(self, cache: PixelCache, position: int) -> Key:
        transform = "" if self.transform.random else self.transform.key
        return cache.content(self.images, self.examples[position].item), transform


class Workers:
    """Processes that decode; they stay from epoch to epoch and end with this object, or on Ctrl-C."""

    def __init__(self, dataset: ImageTensors, count: int) -> None:
        self._dataset = dataset
        self._sampler = _Sampler()
        self._loader: DataLoader[tuple[int, Tensor | str]] | None = DataLoader(
            dataset,
            batch_sampler=self._sampler,
            collate_fn=collect,
            num_workers=count,
            persistent_workers=True,
            worker_init_fn=_start_worker,
            generator=torch.Generator(),  # without one, the loader would use the global generator
        )

    def decode(self, jobs: Sequence[list[Job]]) -> Iterator[Decoded]:
        """Yield the lists in order, cached images from here and the rest from the processes; pixels not normalised.

        Raises:
            VlpromptError: A process died.
        """
        cached: deque[dict[int, Tensor]] = deque()

        def missing() -> Iterator[list[Job]]:  # runs ahead of the results by a few lists
            for each in jobs:
                cached.append({i: pixels for i, _ in each if (pixels := self._cached(i)) is not None})
                yield [job for job in each if job[0] not in cached[-1]]

        self._sampler.lists = missing()
        try:
            for each, computed in zip(jobs, () if self._loader is None else self._loader, strict=False):
                yield self._merged(each, computed, cached.popleft())
        except RuntimeError as error:
            self.close()
            if "DataLoader worker" not in str(error):
                raise
            reason = str(error).split("\n")[0]
            raise VlpromptError(f"a loader process died ({reason}); if memory ran out, use fewer workers") from error
        except KeyboardInterrupt:
            self.close()
            raise

    def _cached(self, position: int) -> Tensor | None:
        try:
            return self._dataset.cached(position)
        except BadImageError:  # the process that opens the image reports it
            return None

    def _merged(self, jobs: list[Job], computed: Decoded, cached: dict[int, Tensor]) -> Decoded:
        """One list's images in its order; stores those that the processes computed."""
        rows = {} if computed.tensors is None else dict(zip(computed.positions, computed.tensors, strict=True))
        if not self._dataset.transform.random:
            for position, row in rows.items():
                self._dataset.store(position, row.clone())  # a view would keep its whole batch in memory
        if not cached:
            return computed
        results: dict[int, Tensor | str] = {**computed.bad, **rows, **cached}
        return collect([(position, results[position]) for position, _ in jobs])

    def close(self) -> None:
        """End the processes, even where an epoch was not finished."""
        running = getattr(self._loader, "_iterator", None)
        self._loader = None
        if running is not None:
            running._shutdown_workers()


def decode(dataset: ImageTensors, jobs: Sequence[list[Job]], workers: Workers | None = None) -> Iterator[Decoded]:
    """Yield the lists in order, normalised, decoded in this process or in others."""
    results = workers.decode(jobs) if workers else (collect([dataset[job] for job in each]) for each in jobs)
    for each in results:
        tensors = None if each.tensors is None else normalised(each.tensors, dataset.transform.preprocess)
        yield each._replace(tensors=tensors)


def collect(results: list[tuple[int, Tensor | str]]) -> Decoded:
    """Stack the images that could be read."""
    good = [(position, tensor) for position, tensor in results if isinstance(tensor, Tensor)]
    bad = {position: reason for position, reason in results if isinstance(reason, str)}
    stacked = torch.stack([tensor for _, tensor in good]) if good else None
    return Decoded([position for position, _ in good], stacked, bad)


class _Sampler:
    """A batch sampler whose lists change every epoch."""

    def __init__(self) -> None:
        self.lists: Iterator[list[Job]] = iter(())

    def __iter__(self) -> Iterator[list[Job]]:
        return self.lists


def _start_worker(_: int) -> None:
    """Set up a new process."""
    # Ctrl-C reaches every process of the terminal; only the parent reacts, and ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    info = get_worker_info()
    dataset = info.dataset if info else None
    if info and isinstance(dataset, ImageTensors) and dataset.cache is not None:
        # Each process caches decoded images in its share of the memory; the parent caches what needs no seed.
        share = dataset.cache.limit // info.num_workers if dataset.transform.random else 0
        dataset.cache = PixelCache(share) if share else None
