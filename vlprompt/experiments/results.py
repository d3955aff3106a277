"""Result: one run as one JSON line. This module does not need torch."""

import hashlib
import importlib.metadata
import json
import math
import platform
import sys
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from typing import Any

from vlprompt.errors import VlpromptError

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
        split_hash: Of the examples' contents, labels and class names: of those that the run trains and evaluates on.
        data_hash: The same of the whole data sets that these were drawn from; empty in results of older versions.
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
    data_hash: str = ""
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
        for each in fields(cls):
            _check_kind(each, record)
        return cls(**record)


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


def _check_kind(field: Field[Any], record: Mapping[str, Any]) -> None:
    """Raise VlpromptError if a record lacks a field that has no default, or has a value of another kind."""
    if field.name not in record:
        if field.default is MISSING and field.default_factory is MISSING:
            raise VlpromptError(f"field {field.name!r} is missing.")
        return
    value = record[field.name]
    kind: Any = {str: str, int: int, float: (int, float)}.get(field.type, dict)  # type: ignore[arg-type]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise VlpromptError(f"field {field.name!r} is of type {type(value).__name__}.")


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
