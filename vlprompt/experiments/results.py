"""Result: one run as one JSON line, and files of such lines, which only grow. This module does not need torch.

Several processes may append to one file. A process that is killed while it writes damages its own line only.
"""

import hashlib
import importlib.metadata
import io
import json
import math
import os
import platform
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from vlprompt.errors import VlpromptError, warn
from vlprompt.files import alone, reason

ALL_SHOTS = -1  # the value of `Result.shots` where all training examples are used

MEASURED = (  # fields that do not identify a run
    *("metrics", "examples", "trainable_parameters", "backbone_parameters", "train_seconds", "eval_seconds"),
    *("peak_memory_mb", "versions", "extra"),
)


@dataclass(frozen=True)
class Result:
    """One run. The fields from `protocol` to `augment` identify it and are hashed in the key; the others are measured.

    Attributes:
        protocol: The protocol's module: "few_shot", "base_to_new", "zero_shot", ...
        learner: The method's name, such as "coop"; outside the package MODULE:CLASS.
        variant: The published setting ("cocoop-paper") and changes to it; empty for the method's default.
        backbone: Its name: "ViT-B-16/openai".
        fingerprint: Of the backbone's weights.
        precision: "fp32" or "bf16".
        task: The task's name.
        split_hash: Of the examples, labels and class names.
        classes: The number of classes.
        shots: Training examples per class; 0 where nothing is trained, -1 for all.
        seed: Of the draw, the initialisation and the order of training.
        config: The learner's settings.
        train_config: The training settings; empty where nothing is trained.
        augment: How training images were augmented.
        metrics: Fractions by name, all finite. Protocols that evaluate several parts use the part as a prefix
            (`base_top1`, `new_top1`).
        examples: The number of evaluated examples.
        trainable_parameters: The number of trained parameters.
        backbone_parameters: The number of the frozen model's parameters; 0 in results of older versions.
        train_seconds: Wall-clock time of training.
        eval_seconds: Wall-clock time of evaluation.
        peak_memory_mb: Of the process, up to the end of the run.
        versions: Of vlprompt and the packages that a result depends on.
        extra: Notes of the protocol.

    Raises:
        VlpromptError: A field does not fit into JSON (NaN included), or a metric is not a finite number.
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
                raise VlpromptError(f"metric {name!r} of {self.learner} on {self.task} is {value}, not finite.")
        for each in fields(self):  # the same value before and after a file: tuples become lists here, not there
            object.__setattr__(self, each.name, _as_json(each.name, getattr(self, each.name)))

    @property
    def trainable_share(self) -> float | None:
        """Trained parameters as a fraction of the frozen model's; None where the latter are unknown."""
        return self.trainable_parameters / self.backbone_parameters if self.backbone_parameters else None

    @property
    def key(self) -> str:
        """Sixteen hexadecimal digits, equal for equal runs: a hash of every field that is not measured."""
        fixed = (each.name for each in fields(self) if each.name not in MEASURED)
        identity = {name: _canonical(getattr(self, name)) for name in fixed}
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]

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
        record.pop("key", None)  # computed again, since a later version may hash more fields
        known = {each.name for each in fields(cls)}
        if strange := sorted(record.keys() - known):
            raise VlpromptError(f"unknown field {strange[0]!r}; a newer vlprompt may have written it.")
        try:
            return cls(**record)
        except (TypeError, AttributeError) as error:
            raise VlpromptError(f"not a result: {str(error).replace('Result.__init__() ', '')}.") from error


def append(path: str | Path, result: Result) -> None:
    """Append one line to a file, completely or not at all; several processes may do so at once.

    If the last line is incomplete, because its process was killed, the new one starts on a line of its own.

    Raises:
        VlpromptError: The disk is full or the file cannot be written; the file is unchanged.
    """
    path = Path(path)
    line = result.to_json().encode() + b"\n"
    try:
        with alone(path.with_name(f".{path.name}.lock")), path.open("a+b", buffering=0) as file:
            _append_locked(file, line)
    except OSError as error:
        raise VlpromptError(
            f"the result could not be written to {path} ({reason(error)}); the file is unchanged. "
            "Check the path, the rights and the free space."
        ) from error


def _append_locked(file: io.FileIO, line: bytes) -> None:
    size = file.seek(0, os.SEEK_END)
    if size:
        file.seek(size - 1)
        line = line if file.read(1) == b"\n" else b"\n" + line
    try:
        while line:  # one write, unless the disk is nearly full: then the next one raises the error
            line = line[file.write(line) :]
        os.fsync(file.fileno())
    except BaseException:
        file.truncate(size)
        raise


def read(path: str | Path) -> list[Result]:
    """Every result in a file, oldest first; incomplete lines are skipped with a warning that names them.

    Raises:
        VlpromptError: The file is missing, or a line is JSON but not a result.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise VlpromptError(f"{path} could not be read ({reason(error)}); check the path.") from error
    results = []
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            results.append(Result.from_json(line))
        except ValueError:
            warn(f"{path}, line {number} is incomplete and was skipped; repeat the run that wrote it.")
        except VlpromptError as error:
            raise VlpromptError(f"{path}, line {number}: {error}") from error
    return results


def latest(results: Iterable[Result], key: str) -> Result | None:
    """The last result with this key, or None."""
    return next((result for result in reversed(list(results)) if result.key == key), None)


def peak_memory_mb() -> float:
    """The largest resident memory of this process so far, in MB of 2^20 bytes."""
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset) / 2**20
    import resource

    unit = 1 if sys.platform == "darwin" else 2**10  # getrusage counts bytes on macOS, kilobytes on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


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
        raise VlpromptError(f"field {name!r} of a result does not fit into JSON: {error}.") from error


def _canonical(value: Any) -> Any:
    """A JSON value whose numbers are written in one way: a learning rate of 1 and one of 1.0 are the same setting."""
    if isinstance(value, dict):
        return {name: _canonical(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_canonical(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
