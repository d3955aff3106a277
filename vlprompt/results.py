"""A result is one JSON line: what was run, on what, and what came out. Files only ever grow.

Two processes may append to one file; a line torn by a kill costs that line and no other.
"""

import fcntl
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import resource
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from vlprompt.errors import VlpromptError, warn

ALL_SHOTS = -1


@dataclass(frozen=True)
class Result:
    """One run. The fields from `protocol` to `augment` decide the outcome and make up the key; the rest is outcome.

    Attributes:
        protocol: The protocol's module: "few_shot", "base_to_new", "zero_shot", ...
        learner: The method's module: "coop".
        variant: The published recipe of that method ("cocoop-paper"), or empty.
        backbone: Its name: "ViT-B-16/openai".
        fingerprint: Of the backbone's weights.
        precision: "fp32" or "bf16".
        task: The task's name.
        split_hash: Of the examples, labels and class names.
        classes: How many classes were told apart.
        shots: Training examples of each class; 0 where nothing is trained, -1 for all there are.
        seed: Of the draw, the start and the order of training.
        config: The learner's config.
        train_config: The training settings; empty where nothing is trained.
        augment: How training images were varied; empty for not at all.
        metrics: Fractions by name, all finite. Protocols that judge several parts put the part first (`base_top1`,
            `new_top1`).
        examples: How many examples were judged.
        trainable_parameters: How many numbers were learned.
        backbone_parameters: How many the frozen model has; 0 where that was not noted.
        train_seconds: Wall-clock time of training.
        eval_seconds: Wall-clock time of judging.
        peak_memory_mb: Of the process, up to the end of the run.
        versions: Of vlprompt and what it stands on.
        extra: Anything else worth keeping.

    Raises:
        VlpromptError: A field holds what JSON cannot (NaN included), or a metric is no finite number.
    """

    protocol: str
    learner: str
    backbone: str
    fingerprint: str
    task: str
    split_hash: str
    classes: int
    shots: int
    seed: int
    variant: str = ""
    precision: str = "fp32"
    config: Mapping[str, Any] = field(default_factory=dict)
    train_config: Mapping[str, Any] = field(default_factory=dict)
    augment: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    examples: int = 0
    trainable_parameters: int = 0
    backbone_parameters: int = 0
    train_seconds: float = 0.0
    eval_seconds: float = 0.0
    peak_memory_mb: float = 0.0
    versions: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in self.metrics.items():
            if not isinstance(value, (int, float)) or not math.isfinite(value):
                raise VlpromptError(f"metric {name!r} of {self.learner} on {self.task} is {value}, no finite number.")
        for each in fields(self):  # the same value before and after a file: tuples become lists here, not there
            object.__setattr__(self, each.name, _as_json(each.name, getattr(self, each.name)))

    @property
    def tuned(self) -> float | None:
        """What was learned as a share of the frozen model's parameters; None where these were not noted."""
        return self.trainable_parameters / self.backbone_parameters if self.backbone_parameters else None

    @property
    def key(self) -> str:
        """Sixteen hexadecimal digits that equal runs share: a hash of every field that decides the outcome."""
        deciding = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in _OUTCOME}
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """One line of JSON, the key first; floats come back exactly."""
        return json.dumps({"key": self.key} | asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, line: str | bytes) -> "Result":
        """The result of one line.

        Raises:
            ValueError: It is not JSON.
            VlpromptError: It is JSON but not a result.
        """
        record = json.loads(line)
        if not isinstance(record, dict):
            raise VlpromptError(f"a result is a JSON object, not {type(record).__name__}.")
        record.pop("key", None)  # what a key is made of may grow, so it is worked out anew
        known = {each.name for each in fields(cls)}
        if strange := sorted(record.keys() - known):
            raise VlpromptError(f"unknown field {strange[0]!r}; a newer vlprompt may have written it.")
        try:
            return cls(**record)
        except (TypeError, AttributeError) as error:
            raise VlpromptError(f"not a result: {str(error).replace('Result.__init__() ', '')}.") from error


_OUTCOME = {
    "metrics",
    "examples",
    "trainable_parameters",
    "backbone_parameters",
    "train_seconds",
    "eval_seconds",
    "peak_memory_mb",
    "versions",
    "extra",
}


def append(path: str | Path, result: Result) -> None:
    """Add one line to a file, whole or not at all; safe beside other processes that do the same.

    A line that an earlier kill left torn is closed first, so that it cannot swallow this one.

    Raises:
        VlpromptError: The disk is full or the file cannot be written; the file is as it was.
    """
    path = Path(path)
    line = result.to_json().encode() + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)  # released when the handle closes
            _append_locked(handle, line)
        finally:
            os.close(handle)
    except OSError as error:
        raise VlpromptError(
            f"{path} could not take a result ({error.strerror}); it is unchanged. "
            "Check the path, the rights and the free space."
        ) from error


def _append_locked(handle: int, line: bytes) -> None:
    size = os.fstat(handle).st_size
    if size and os.pread(handle, 1, size - 1) != b"\n":
        line = b"\n" + line
    try:
        while line:  # one write, unless the disk is nearly full: then the next one says why
            line = line[os.write(handle, line) :]
        os.fsync(handle)
    except BaseException:
        os.ftruncate(handle, size)
        raise


def read(path: str | Path) -> list[Result]:
    """Every result in a file, oldest first; torn lines are left out with a warning that names them.

    Raises:
        VlpromptError: The file is missing, or a line is JSON but not a result.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise VlpromptError(f"{path} could not be read ({error.strerror}); check the path.") from error
    results = []
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            results.append(Result.from_json(line))
        except ValueError:
            warn(f"{path}, line {number} is torn and left out; the run it came from must be repeated.")
        except VlpromptError as error:
            raise VlpromptError(f"{path}, line {number}: {error}") from error
    return results


def latest(results: Iterable[Result], key: str) -> Result | None:
    """The last result with this key, or None."""
    return next((result for result in reversed(list(results)) if result.key == key), None)


def peak_memory_mb() -> float:
    """The most memory this process has held since it began, in MB of 2^20 bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def versions() -> dict[str, str]:
    """The versions that a result depends on: python, vlprompt, torch, open_clip."""
    found = {"python": platform.python_version()}
    for name, package in {"vlprompt": "vlprompt", "torch": "torch", "open_clip": "open_clip_torch"}.items():
        try:
            found[name] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _as_json(name: str, value: object) -> Any:
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise VlpromptError(f"field {name!r} of a result cannot be kept as JSON: {error}.") from error
