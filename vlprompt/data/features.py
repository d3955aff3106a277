"""The feature store: what a frozen encoder says of an image or a text is a fact, computed once and kept on disk.

A row is known by the encoder's fingerprint, the transform, the content of the image and, for augmented views, the seed;
of a text by how it is put before the model, and its words. Moving or renaming files loses nothing; changing one pixel
is noticed.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from vlprompt.data.decoding import Decoded, ImageTensors, Job, Workers, decoded
from vlprompt.data.images import BadImageError, Example, Images, Item
from vlprompt.data.loaders import ON_BAD_IMAGE, mixed
from vlprompt.data.rows import Rows
from vlprompt.data.texts import Text
from vlprompt.data.transforms import Transform
from vlprompt.errors import UsageError, VlpromptError, unknown, warn

Encode = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class StoreInfo:
    """What a store holds.

    Attributes:
        file: Where it is.
        size: Bytes on disk.
        rows: Features in all.
        spaces: Features of each encoder.
    """

    file: Path
    size: int
    rows: int
    spaces: dict[str, int]


class FeatureStore:
    """Features of images and texts on disk, by encoder, transform and content.

    Args:
        folder: Where to keep them; None: $VLPROMPT_CACHE, or else ~/.cache/vlprompt.
        limit_gb: Beyond this size the least recently used go; 0 keeps nothing.
    """

    def __init__(self, folder: Path | str | None = None, limit_gb: float = 10) -> None:
        chosen = folder or os.environ.get("VLPROMPT_CACHE") or Path.home() / ".cache" / "vlprompt"
        self._rows = Rows(Path(chosen).expanduser() / "features.sqlite", int(limit_gb * 2**30))

    def get(
        self,
        encode: Encode,
        space: str,
        transform: Transform,
        images: Images,
        examples: Sequence[Example],
        *,
        seeds: Sequence[int] | int = 0,
        batch_size: int = 64,
        workers: int = 0,
        progress: bool = True,
        on_bad_image: str = "error",
    ) -> Tensor:
        """Features of all examples in order, (N, E) float32; only what is not stored yet is computed.

        Batches are always full, the last one by repeating, so that a row does not depend on what was stored before.

        Args:
            encode: (batch_size, 3, H, W) to (batch_size, E), on any device; called without gradients.
            space: What identifies the encoder: its fingerprint and precision.
            transform: Image to tensor.
            images: Opens items.
            examples: The split.
            seeds: For a random transform: number of the view, mixed with the content, or one seed for each example.
            batch_size: Images encoded at once.
            workers: Processes that decode images.
            progress: Show a bar, on a terminal.
            on_bad_image: "error", or "skip" for a row of NaN and one warning.

        Raises:
            BadImageError: An image cannot be read.
            VlpromptError: The encoder gave numbers that are not finite.
        """
        bad = _Bad(images, examples, on_bad_image)
        digests = self._digests(images, examples, bad, progress)
        jobs = [(i, seed) for i, seed in enumerate(_seeds(transform, digests, seeds)) if digests[i]]
        keys = {i: _key(space, transform.key, digests[i], seed) for i, seed in jobs}
        rows = self._rows.read(wanted := sorted(set(keys.values())))
        if len(rows) < len(wanted):
            with self._rows.alone(wanted):  # another process that wants the same images is waited for, not doubled
                rows = self._rows.read(wanted)
                missing = _first_of_each(jobs, keys, rows)
                parts = _decoded(ImageTensors(images, examples, transform), missing, batch_size, workers)
                for done in _shown(parts, len(missing), progress):
                    new = {keys[i]: row for i, row in _encoded(encode, done, batch_size, bad).items()}
                    self._rows.write(space, new)
                    rows |= new
        bad.report()
        return _stacked([rows.get(keys.get(i, b"")) for i in range(len(examples))])

    def get_texts(
        self,
        encode: Callable[[Sequence[Text]], Tensor],
        space: str,
        layout: str,
        texts: Sequence[Text],
        *,
        batch_size: int = 256,
        progress: bool = True,
    ) -> Tensor:
        """Features of all texts in order, (N, E) float32; only what is not stored yet is computed.

        Texts of like length go together, since they are padded to the longest of a batch; how far may show in a
        feature's last digits.

        Args:
            encode: B texts to (B, E), on any device; called without gradients.
            space: What identifies the encoder: its fingerprint and precision.
            layout: What else decides the features: the template, the longest row, the tokenizer.
            texts: The split.
            batch_size: Texts encoded, and stored, at once.
            progress: Show a bar, on a terminal.

        Raises:
            VlpromptError: The encoder gave numbers that are not finite.
        """
        keys = [_key(space, f"text {layout}", text.digest, 0) for text in texts]
        rows = self._rows.read(sorted(set(keys)))
        first = {key: text for key, text in zip(keys, texts, strict=True) if key not in rows}
        missing = sorted(first.items(), key=_size)
        with _bar("encode texts", len(missing), progress, "text") as bar:
            for start in range(0, len(missing), batch_size):
                some = missing[start : start + batch_size]
                with torch.no_grad():
                    features = encode([text for _, text in some]).float().cpu()  # (n, E)
                _check_finite(features, [str(text)[:80] for _, text in some].__getitem__)
                new = {key: row.tobytes() for (key, _), row in zip(some, features.numpy(), strict=True)}
                self._rows.write(space, new)
                rows |= new
                bar.update(len(new))
        return _stacked([rows[key] for key in keys])

    def info(self) -> StoreInfo:
        """Size and contents."""
        spaces = self._rows.count()
        size = self._rows.file.stat().st_size if self._rows.file.exists() else 0
        return StoreInfo(self._rows.file, size, sum(spaces.values()), spaces)

    def clear(self, space: str | None = None) -> None:
        """Forget the features of one encoder, or everything."""
        self._rows.clear(space)

    def _digests(self, images: Images, examples: Sequence[Example], bad: "_Bad", progress: bool) -> list[str]:
        """Content digest of each example, "" for a bad one; files that have not changed are not read again."""
        stamps = [bad.attempt(i, images.stamp) for i in range(len(examples))]
        known = self._rows.read_digests([stamp for stamp in stamps if stamp])
        todo = [i for i, stamp in enumerate(stamps) if stamp not in known and i not in bad.reasons]
        found: dict[int, str] = {}
        with _bar("read images", len(todo), progress) as bar:
            for i in todo:
                found[i] = bad.attempt(i, images.digest)
                bar.update()
        self._rows.write_digests({stamps[i]: digest for i, digest in found.items() if stamps[i] and digest})
        return [found.get(i) or known.get(stamp, "") for i, stamp in enumerate(stamps)]


class _Bad:
    """The images that could not be read: the first is an error, or all are counted."""

    def __init__(self, images: Images, examples: Sequence[Example], on_bad_image: str) -> None:
        if on_bad_image not in ON_BAD_IMAGE:
            raise unknown("way to treat bad images", on_bad_image, ON_BAD_IMAGE)
        self.images, self.examples, self.skip = images, examples, on_bad_image == "skip"
        self.reasons: dict[int, str] = {}

    def attempt(self, position: int, ask: Callable[[Item], str]) -> str:
        """The answer for one example, "" if it is bad and to be skipped."""
        try:
            return ask(self.examples[position].item)
        except BadImageError as error:
            self.note({position: str(error)})
            return ""

    def note(self, reasons: dict[int, str]) -> None:
        """Take down bad images, or stop at the first."""
        self.reasons |= reasons
        if reasons and not self.skip:
            raise BadImageError(reasons[min(reasons)])

    def report(self) -> None:
        """One warning for all of them."""
        if self.reasons:
            first = self.reasons[min(self.reasons)]
            warn(f"{len(self.reasons)} of {len(self.examples)} images have no features; the first: {first}")

    def name(self, position: int) -> str:
        """What to call an example in an error."""
        return self.images.name(self.examples[position].item)


def _seeds(transform: Transform, digests: Sequence[str], seeds: Sequence[int] | int) -> Sequence[int]:
    """A seed for each example; 0 where the transform does not read it."""
    if not transform.random:
        return [0] * len(digests)
    if isinstance(seeds, int):
        return [mixed(seeds, digest) for digest in digests]
    if len(seeds) != len(digests):
        raise UsageError(f"{len(seeds)} seeds do not go with {len(digests)} examples")
    return seeds


def _key(space: str, transform: str, digest: str, seed: int) -> bytes:
    """32 bytes that are equal only where the features are."""
    return hashlib.blake2b(repr((space, transform, digest, seed)).encode(), digest_size=32).digest()


def _first_of_each(jobs: Sequence[Job], keys: Mapping[int, bytes], known: Mapping[bytes, bytes]) -> list[Job]:
    """The jobs whose rows are not known, in order; the same image twice is one job."""
    first = {keys[i]: (i, seed) for i, seed in reversed(jobs)}
    return sorted(job for key, job in first.items() if key not in known)


def _shown(parts: Iterable[Decoded], total: int, progress: bool) -> Iterator[Decoded]:
    """The same parts, with a progress bar over their images."""
    with _bar("encode images", total, progress) as bar:
        for done in parts:
            yield done
            bar.update(len(done.positions) + len(done.bad))


def _decoded(tensors: ImageTensors, jobs: Sequence[Job], batch_size: int, workers: int) -> Iterator[Decoded]:
    """The images of these jobs, `batch_size` at a time."""
    lists = [list(jobs[start : start + batch_size]) for start in range(0, len(jobs), batch_size)]
    pool = Workers(tensors, workers) if workers and lists else None
    try:
        yield from decoded(tensors, lists, pool)
    finally:
        if pool:
            pool.close()


def _encoded(encode: Encode, done: Decoded, batch_size: int, bad: _Bad) -> dict[int, bytes]:
    """The features by position, as bytes, from a batch that is filled up to its full size; bad images are noted."""
    bad.note(done.bad)
    if done.tensors is None:
        return {}
    count = len(done.positions)
    filled = torch.arange(batch_size) % count  # (batch_size,)
    with torch.no_grad():
        features = encode(done.tensors[filled])[:count].float().cpu()  # (n, E)
    _check_finite(features, lambda place: bad.name(done.positions[place]))
    return {i: row.tobytes() for i, row in zip(done.positions, features.numpy(), strict=True)}


def _check_finite(features: Tensor, name: Callable[[int], str]) -> None:
    """Raise VlpromptError for a row of (n, E) with numbers that are not finite, and name what it is of."""
    finite = features.isfinite().all(dim=1)
    if not finite.all():
        culprit = name(int(finite.int().argmin()))
        raise VlpromptError(f"the encoder gave numbers that are not finite for {culprit}; try precision fp32")


def _size(entry: tuple[bytes, Text]) -> tuple[int, bytes]:
    """What texts are sorted by: their length; of equal ones, the same first every time."""
    return len(str(entry[1])), entry[0]


def _stacked(rows: Sequence[bytes | None]) -> Tensor:
    """(N, E) float32 from N rows of bytes; NaN where there is none."""
    width = next((len(row) for row in rows if row is not None), 0) // 4
    stacked = np.full((len(rows), width), np.nan, dtype=np.float32)
    for i, row in enumerate(rows):
        if row is not None:
            stacked[i] = np.frombuffer(row, dtype=np.float32)
    return torch.from_numpy(stacked)


def _bar(what: str, total: int, progress: bool, unit: str = "image") -> "tqdm[None]":
    """A progress bar that is silent where there is no terminal."""
    return tqdm(total=total, desc=what, unit=unit, leave=False, disable=None if progress else True)
