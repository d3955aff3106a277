"""Images to tensors, in this process or in several: `decoded` turns lists of (position, seed) into tensors.

The seed of an example's augmentation travels with its position, so nothing depends on which worker does the work.
"""

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from PIL.Image import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vlprompt.data.images import BadImageError, Example, Images
from vlprompt.data.transforms import Transform
from vlprompt.errors import VlpromptError

Job = tuple[int, int]  # position, seed of the augmentation


class Decoded(NamedTuple):
    """The images of one list of jobs that could be read, and why the others could not."""

    positions: list[int]
    tensors: Tensor | None  # (n, 3, H, W), None where none could be read
    bad: dict[int, str]


@dataclass
class ImageTensors(Dataset[tuple[int, Tensor | str]]):
    """Decodes and transforms examples; decoded images stay in memory up to a limit.

    Attributes:
        images: Opens items.
        examples: What there is, by position.
        transform: Makes the tensors.
        cache_bytes: Decoded pixels kept at most; images that come after it is full are decoded anew each time.
    """

    images: Images
    examples: Sequence[Example]
    transform: Transform
    cache_bytes: int = 0
    _kept: dict[int, Image] = field(default_factory=dict, repr=False)
    _bytes: int = field(default=0, repr=False)

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, job: Job) -> tuple[int, Tensor | str]:
        """The position, and its (3, H, W) tensor or the reason why there is none."""
        position, seed = job
        try:
            return position, self.transform(self._image(position), seed)
        except BadImageError as error:
            return position, str(error)

    def _image(self, position: int) -> Image:
        if position in self._kept:
            return self._kept[position]
        image = self.images.open(self.examples[position].item)
        size = 3 * image.width * image.height
        if self._bytes + size <= self.cache_bytes:
            self._kept[position] = image
            self._bytes += size
        return image


class Workers:
    """Processes that decode; they stay from epoch to epoch and end with this object, or on Ctrl-C."""

    def __init__(self, dataset: ImageTensors, count: int) -> None:
        self._jobs = _Jobs()
        self._loader: DataLoader[tuple[int, Tensor | str]] | None = DataLoader(
            dataset,
            batch_sampler=self._jobs,
            collate_fn=collect,
            num_workers=count,
            persistent_workers=True,
            worker_init_fn=_leave_interrupts_to_parent,
            generator=torch.Generator(),  # without one, it would draw from the global generator
        )

    def decoded(self, jobs: Sequence[list[Job]]) -> Iterator[Decoded]:
        """The lists in order; raises VlpromptError if a worker dies."""
        self._jobs.lists = jobs
        try:
            yield from self._loader or ()
        except RuntimeError as error:
            self.close()
            if "DataLoader worker" not in str(error):
                raise
            reason = str(error).split("\n")[0]
            raise VlpromptError(f"a loader process died ({reason}); if memory ran out, use fewer workers") from error
        except KeyboardInterrupt:
            self.close()
            raise

    def close(self) -> None:
        """End the processes, even while someone still holds an unfinished epoch."""
        running = getattr(self._loader, "_iterator", None)
        self._loader = None
        if running is not None:
            running._shutdown_workers()


def decoded(dataset: ImageTensors, jobs: Sequence[list[Job]]) -> Iterator[Decoded]:
    """The lists in order, decoded in this process."""
    for each in jobs:
        yield collect([dataset[job] for job in each])


def collect(results: list[tuple[int, Tensor | str]]) -> Decoded:
    """Stack what could be read."""
    good = [(position, tensor) for position, tensor in results if isinstance(tensor, Tensor)]
    bad = {position: reason for position, reason in results if isinstance(reason, str)}
    stacked = torch.stack([tensor for _, tensor in good]) if good else None
    return Decoded([position for position, _ in good], stacked, bad)


class _Jobs:
    """The batch sampler of a loader whose work changes every epoch."""

    def __init__(self) -> None:
        self.lists: Sequence[list[Job]] = ()

    def __len__(self) -> int:
        return len(self.lists)

    def __iter__(self) -> Iterator[list[Job]]:
        return iter(self.lists)


def _leave_interrupts_to_parent(_: int) -> None:
    """Ctrl-C reaches every process of the terminal; the parent alone answers, and ends the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
