"""Images to tensors, in this process or in several: `decoded` turns lists of (position, seed) into tensors.

The seed of an example's augmentation travels with its position, so nothing depends on which worker does the work.
Processes hand over pixels as bytes; they are normalised here, a batch at once.
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
from vlprompt.data.pixels import Key, Pixels
from vlprompt.data.transforms import Transform, normalised
from vlprompt.errors import VlpromptError

Job = tuple[int, int]  # position, seed of the augmentation


class Decoded(NamedTuple):
    """The images of one list of jobs that could be read, and why the others could not."""

    positions: list[int]
    tensors: Tensor | None  # (n, 3, H, W), None where none could be read
    bad: dict[int, str]


@dataclass
class ImageTensors(Dataset[tuple[int, Tensor | str]]):
    """Decodes and transforms examples; what can be used again stays in memory.

    That is what a transform made if it is not random, and the decoded image if it is.

    Attributes:
        images: Opens items.
        examples: What there is, by position.
        transform: Makes the tensors.
        pixels: Where images stay; None: nowhere.
    """

    images: Images
    examples: Sequence[Example]
    transform: Transform
    pixels: Pixels | None = None
    _turn: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        self._turn = 0 if self.pixels is None else self.pixels.turn()

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, job: Job) -> tuple[int, Tensor | str]:
        """The position, and its (3, H, W) pixels or the reason why there are none."""
        position, seed = job
        try:
            found = self.known(position)
            if found is None:
                found = self.transform.pixels(self._image(position), seed)
                self.keep(position, found)
        except BadImageError as error:
            return position, str(error)
        return position, found

    def known(self, position: int) -> Tensor | None:
        """The (3, H, W) pixels of an example, if they are kept and no seed changes them; raises BadImageError."""
        if self.pixels is None or self.transform.random:
            return None
        found = self.pixels.get(self._key(self.pixels, position), self._turn)
        return found if isinstance(found, Tensor) else None

    def keep(self, position: int, made: Tensor) -> None:
        """Keep an example's pixels, if no seed changes them."""
        if self.pixels is not None and not self.transform.random:
            self.pixels.put(self._key(self.pixels, position), made, self._turn)

    def _image(self, position: int) -> Image:
        """An example's image; it is kept where the transform makes something else of it each time."""
        item = self.examples[position].item
        if self.pixels is None or not self.transform.random:
            return self.images.open(item)
        key = self._key(self.pixels, position)
        found = self.pixels.get(key, self._turn)
        if not isinstance(found, Image):
            found = self.images.open(item)
            self.pixels.put(key, found, self._turn)
        return found

    def _key(self, pixels: Pixels, position: int) -> Key:
        made_by = "" if self.transform.random else self.transform.key
        return pixels.name(self.images, self.examples[position].item), made_by


class Workers:
    """Processes that decode; they stay from epoch to epoch and end with this object, or on Ctrl-C."""

    def __init__(self, dataset: ImageTensors, count: int) -> None:
        self._dataset = dataset
        self._jobs = _Jobs(dataset)
        self._loader: DataLoader[tuple[int, Tensor | str]] | None = DataLoader(
            dataset,
            batch_sampler=self._jobs,
            collate_fn=collect,
            num_workers=count,
            persistent_workers=True,
            worker_init_fn=_begin,
            generator=torch.Generator(),  # without one, it would draw from the global generator
        )

    def decoded(self, jobs: Sequence[list[Job]]) -> Iterator[Decoded]:
        """The lists in order, what is kept from here and the rest from the processes, pixels not normalised.

        Raises:
            VlpromptError: A process died.
        """
        self._jobs.begin(jobs)
        try:
            for each, made in zip(jobs, self._loader or (), strict=False):
                yield self._with_kept(each, made)
        except RuntimeError as error:
            self.close()
            if "DataLoader worker" not in str(error):
                raise
            reason = str(error).split("\n")[0]
            raise VlpromptError(f"a loader process died ({reason}); if memory ran out, use fewer workers") from error
        except KeyboardInterrupt:
            self.close()
            raise

    def _with_kept(self, jobs: list[Job], made: Decoded) -> Decoded:
        """One list's images in its order; what the processes made is kept."""
        kept = self._jobs.kept.popleft()
        rows = {} if made.tensors is None else dict(zip(made.positions, made.tensors, strict=True))
        if not self._dataset.transform.random:
            for position, row in rows.items():
                self._dataset.keep(position, row.clone())  # a row alone would hold on to its whole batch
        if not kept:
            return made
        found: dict[int, Tensor | str] = {**made.bad, **rows, **kept}
        return collect([(position, found[position]) for position, _ in jobs])

    def close(self) -> None:
        """End the processes, even while someone still holds an unfinished epoch."""
        running = getattr(self._loader, "_iterator", None)
        self._loader = None
        if running is not None:
            running._shutdown_workers()


def decoded(dataset: ImageTensors, jobs: Sequence[list[Job]], workers: Workers | None = None) -> Iterator[Decoded]:
    """The lists in order, normalised, decoded in this process or in others."""
    found = workers.decoded(jobs) if workers else (collect([dataset[job] for job in each]) for each in jobs)
    for each in found:
        ready = None if each.tensors is None else normalised(each.tensors, dataset.transform.preprocess)
        yield each._replace(tensors=ready)


def collect(results: list[tuple[int, Tensor | str]]) -> Decoded:
    """Stack what could be read."""
    good = [(position, tensor) for position, tensor in results if isinstance(tensor, Tensor)]
    bad = {position: reason for position, reason in results if isinstance(reason, str)}
    stacked = torch.stack([tensor for _, tensor in good]) if good else None
    return Decoded([position for position, _ in good], stacked, bad)


class _Jobs:
    """The batch sampler of a loader whose work changes every epoch, and what of it needs no work.

    Attributes:
        kept: For each list that was handed out, what of it was kept.
    """

    def __init__(self, dataset: ImageTensors) -> None:
        self.kept: deque[dict[int, Tensor]] = deque()
        self._dataset = dataset
        self._lists: Sequence[list[Job]] = ()

    def begin(self, lists: Sequence[list[Job]]) -> None:
        """Turn to the lists of an epoch."""
        self._lists = lists
        self.kept.clear()

    def __len__(self) -> int:
        return len(self._lists)

    def __iter__(self) -> Iterator[list[Job]]:
        """What the processes are to make."""
        for each in self._lists:
            kept = {position: self._kept(position) for position, _ in each}
            self.kept.append({position: found for position, found in kept.items() if found is not None})
            yield [job for job in each if kept[job[0]] is None]

    def _kept(self, position: int) -> Tensor | None:
        try:
            return self._dataset.known(position)
        except BadImageError:  # whoever opens it says so
            return None


def _begin(_: int) -> None:
    """What a new process does first."""
    # Ctrl-C reaches every process of the terminal; the parent alone answers, and ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    about = get_worker_info()
    tensors = about.dataset if about else None
    if about and isinstance(tensors, ImageTensors) and tensors.pixels is not None:
        # Each keeps decoded images for itself, in its share of the memory; what needs no seed is kept by the parent.
        share = tensors.pixels.limit // about.num_workers if tensors.transform.random else 0
        tensors.pixels = Pixels(share) if share else None
