"""The feature store: features of images and texts by a frozen encoder, computed once and stored on disk.

The key of a row is made from the encoder's fingerprint, the transform, the content of the image and, for augmented
views, the seed; for a text, from its words and the way they are given to the model. Moving or renaming files loses
nothing; changing one pixel is noticed.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from vlprompt.data.decoding import Decoded, ImageTensors, Job, Workers, decode
from vlprompt.data.images import BadImageError, BadImages, Example, Images, Item
from vlprompt.data.row_store import RowStore
from vlprompt.data.texts import Text
from vlprompt.data.transforms import Transform
from vlprompt.errors import VlpromptError
from vlprompt.randomness import mixed

Encode = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class StoreInfo:
    """Size and contents of a store.

    Attributes:
        file: Its SQLite file.
        size: Bytes on disk.
        rows: Number of features.
        encoders: Number of features of each encoder.
    """

    file: Path
    size: int
    rows: int
    encoders: dict[str, int]


class FeatureStore:
    """Features of images and texts on disk, by encoder, transform and content.

    Args:
        folder: Where they are stored; None: $VLPROMPT_CACHE, or else ~/.cache/vlprompt.
        limit_gb: Beyond this size the least recently used are dropped; 0 stores nothing.
        progress: Show bars for long computations, on a terminal.
    """

    def __init__(self, folder: Path | str | None = None, limit_gb: float = 10, *, progress: bool = True) -> None:
        chosen = folder or os.environ.get("VLPROMPT_CACHE") or Path.home() / ".cache" / "vlprompt"
        self._rows = RowStore(Path(chosen).expanduser() / "features.sqlite", int(limit_gb * 2**30))
        self._progress = progress

    def get(
        self,
        encode: Encode,
        encoder: str,
        transform: Transform,
        images: Images,
        examples: Sequence[Example],
        *,
        seed: int = 0,
        batch_size: int = 64,
        workers: int = 0,
        on_bad_image: str = "error",
    ) -> Tensor:
        """Features of all examples in order, (N, E) float32; only what is not stored yet is computed.

        Batches are always full, the last one by repeating, so that a row does not depend on what was stored before.

        Args:
            encode: (batch_size, 3, H, W) to (batch_size, E), on any device; called without gradients.
            encoder: Name of the encoder: its fingerprint and precision.
            transform: Image to tensor.
            images: Opens items.
            examples: The split.
            seed: For a random transform; it is mixed with each image's content.
            batch_size: Images encoded at once.
            workers: Processes that decode images.
            on_bad_image: "error", or "skip" for a row of NaN and one warning.

        Raises:
            BadImageError: An image cannot be read.
            VlpromptError: The encoder gave numbers that are not finite.
        """
        bad = BadImages(on_bad_image, len(examples))
        digests = self._digests(images, examples, bad)
        jobs = [(i, mixed(seed, each) if transform.random else 0) for i, each in enumerate(digests) if each]
        layout = " ".join(filter(None, (transform.key, images.reading)))  # pixels depend on both
        keys = {i: _key(encoder, layout, digests[i], own) for i, own in jobs}
        rows = self._rows.read(wanted := sorted(set(keys.values())))
        if len(rows) < len(wanted):
            with self._rows.alone(wanted):  # another process may be computing the same features: wait for it
                rows = self._rows.read(wanted)
                tensors, missing = ImageTensors(images, examples, transform), _first_of_each(jobs, keys, rows)
                for part in self._decoded(tensors, missing, batch_size, workers):
                    bad.add(part.bad)
                    new = {keys[i]: row for i, row in _encoded(encode, part, batch_size, images, examples).items()}
                    self._rows.write(encoder, new)
                    rows |= new
        bad.report("have no features")
        return _stacked([rows.get(keys.get(i, b"")) for i in range(len(examples))])

    def get_texts(
        self,
        encode: Callable[[Sequence[Text]], Tensor],
        encoder: str,
        layout: str,
        texts: Sequence[Text],
        *,
        batch_size: int = 256,
    ) -> Tensor:
        """Features of all texts in order, (N, E) float32; only what is not stored yet is computed.

        Texts of similar length share a batch, since they are padded to the longest text in it; the padding can change
        the last digits of a feature.

        Args:
            encode: B texts to (B, E), on any device; called without gradients.
            encoder: Name of the encoder: its fingerprint and precision.
            layout: Everything else that the features depend on: template, longest row, tokenizer.
            texts: The split.
            batch_size: Texts encoded and stored at once.

        Raises:
            VlpromptError: The encoder gave numbers that are not finite.
        """
        keys = [_key(encoder, f"text {layout}", text.digest, 0) for text in texts]
        rows = self._rows.read(sorted(set(keys)))
        first = {key: text for key, text in zip(keys, texts, strict=True) if key not in rows}
        missing = sorted(first.items(), key=lambda entry: (len(str(entry[1])), entry[0]))  # by length; ties by key
        with self._bar("encode texts", len(missing), "text") as bar:
            for start in range(0, len(missing), batch_size):
                some = missing[start : start + batch_size]
                with torch.no_grad():
                    features = encode([text for _, text in some]).float().cpu()  # (n, E)
                _check_finite(features, [str(text)[:80] for _, text in some].__getitem__)
                new = {key: row.tobytes() for (key, _), row in zip(some, features.numpy(), strict=True)}
                self._rows.write(encoder, new)
                rows |= new
                bar.update(len(new))
        return _stacked([rows[key] for key in keys])

    def digests(self, images: Images, examples: Sequence[Example]) -> list[str]:
        """Content digest of each example, "" for one that cannot be read; unchanged files are not read again."""
        return self._digests(images, examples, BadImages("skip", len(examples)))

    def info(self) -> StoreInfo:
        """Size and contents."""
        encoders = self._rows.count()
        size = self._rows.file.stat().st_size if self._rows.file.exists() else 0
        return StoreInfo(self._rows.file, size, sum(encoders.values()), encoders)

    def clear(self, encoder: str | None = None) -> None:
        """Delete the features of one encoder, or everything."""
        self._rows.clear(encoder)

    def _digests(self, images: Images, examples: Sequence[Example], bad: BadImages) -> list[str]:
        """Content digest of each example, "" for a bad one; files that have not changed are not read again."""

        def attempt(position: int, read: Callable[[Item], str]) -> str:
            """What `read` gives for an example, "" for a bad one."""
            try:
                return read(examples[position].item)
            except BadImageError as error:
                bad.add({position: str(error)})
                return ""

        stamps = [attempt(i, images.stamp) for i in range(len(examples))]
        stored = self._rows.read_digests([stamp for stamp in stamps if stamp])
        missing = [i for i, stamp in enumerate(stamps) if stamp not in stored and i not in bad.reasons]
        new: dict[int, str] = {}
        with self._bar("read images", len(missing)) as bar:
            for i in missing:
                new[i] = attempt(i, images.digest)
                bar.update()
        self._rows.write_digests({stamps[i]: digest for i, digest in new.items() if stamps[i] and digest})
        return [new.get(i) or stored.get(stamp, "") for i, stamp in enumerate(stamps)]

    def _decoded(self, tensors: ImageTensors, jobs: Sequence[Job], batch_size: int, workers: int) -> Iterator[Decoded]:
        """Yield the images of these jobs, `batch_size` at a time."""
        lists = [list(jobs[start : start + batch_size]) for start in range(0, len(jobs), batch_size)]
        pool = Workers(tensors, workers) if workers and lists else None
        try:
            with self._bar("encode images", len(jobs)) as bar:
                for part in decode(tensors, lists, pool):
                    yield part
                    bar.update(len(part.positions) + len(part.bad))
        finally:
            if pool:
                pool.close()

    def _bar(self, what: str, total: int, unit: str = "image") -> "tqdm[None]":
        """A progress bar, shown on a terminal only."""
        return tqdm(total=total, desc=what, unit=unit, leave=False, disable=None if self._progress else True)


def _key(encoder: str, transform: str, digest: str, seed: int) -> bytes:
    """32 bytes that are equal only where the features are."""
    return hashlib.blake2b(repr((encoder, transform, digest, seed)).encode(), digest_size=32).digest()


def _first_of_each(jobs: Sequence[Job], keys: Mapping[int, bytes], rows: Mapping[bytes, bytes]) -> list[Job]:
    """The jobs that have no row yet, in order; the same image twice is one job."""
    first = {keys[i]: (i, seed) for i, seed in reversed(jobs)}
    return sorted(job for key, job in first.items() if key not in rows)


def _encoded(
    encode: Encode, part: Decoded, batch_size: int, images: Images, examples: Sequence[Example]
) -> dict[int, bytes]:
    """The features by position, as bytes, from a batch that is filled up to its full size."""
    if part.tensors is None:
        return {}
    count = len(part.positions)
    filled = torch.arange(batch_size) % count  # (batch_size,)
    with torch.no_grad():
        features = encode(part.tensors[filled])[:count].float().cpu()  # (n, E)
    _check_finite(features, lambda row: images.name(examples[part.positions[row]].item))
    return {i: row.tobytes() for i, row in zip(part.positions, features.numpy(), strict=True)}


def _check_finite(features: Tensor, name: Callable[[int], str]) -> None:
    """Raise VlpromptError for a row of (n, E) with numbers that are not finite, with the name of its example."""
    finite = features.isfinite().all(dim=1)
    if not finite.all():
        example = name(int(finite.int().argmin()))
        raise VlpromptError(f"the encoder gave numbers that are not finite for {example}; try precision fp32")


def _stacked(rows: Sequence[bytes | None]) -> Tensor:
    """(N, E) float32 from N rows of bytes; NaN where there is none."""
    width = next((len(row) for row in rows if row is not None), 0) // 4
    stacked = np.full((len(rows), width), np.nan, dtype=np.float32)
    for i, row in enumerate(rows):
        if row is not None:
            stacked[i] = np.frombuffer(row, dtype=np.float32)
    return torch.from_numpy(stacked)
