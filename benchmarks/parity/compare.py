"""How near is near enough: one table of tolerances, and the comparison of two arrays."""

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from benchmarks.parity.case import Array


@dataclass(frozen=True)
class Kind:
    """A kind of array and how far it may be off.

    Attributes:
        name: What it is called in reports.
        tolerance: Largest error allowed; 0 for exact.
        of_largest: The tolerance is a share of the stored array's largest entry instead of absolute.
        pattern: Found in the names of its arrays.
    """

    name: str
    tolerance: float
    of_largest: bool = False
    pattern: str = ""


EXACT = Kind("exact", 0.0)  # whole numbers and texts: ids, indices, labels, masks
KINDS = (  # the first whose pattern is found in an array's name; the last takes all that are left
    Kind("learning rate", 1e-9, pattern=r"^lr_"),
    Kind("gradient", 1e-4, of_largest=True, pattern=r"^grad"),
    Kind("loss", 2e-5, pattern=r"loss|entropy|prob"),
    Kind("logits", 1e-4, pattern=r"logits|scores"),
    Kind("features", 1e-5, pattern=r"features|tokens|prompts|embedding|bias$(?<!\.bias)"),
    Kind("trainable", 5e-6, pattern=r""),
)


@dataclass(frozen=True)
class Answer:
    """What vlprompt makes of a stored array, where more has to be said than its value.

    Attributes:
        value: Our array.
        stored: What to compare it with, if not the stored array as it is (a rearrangement of it).
        where: Entries that count, True, where others mean nothing.
        note: Why, for the report.
    """

    value: Tensor | Array | Any
    stored: Array | None = None
    where: Array | None = None
    note: str = ""


@dataclass(frozen=True)
class Difference:
    """How far two arrays are apart.

    Attributes:
        name: The array.
        kind: Its kind.
        worst_abs: Largest absolute error; infinite where shapes or missing numbers differ.
        worst_rel: The same as a share of the largest stored entry.
        allowed: Largest absolute error allowed.
        note: What else is to be said.
    """

    name: str
    kind: Kind
    worst_abs: float
    worst_rel: float
    allowed: float
    note: str = ""

    @property
    def ok(self) -> bool:
        """Whether it is within the tolerance."""
        return self.worst_abs <= self.allowed

    @property
    def badness(self) -> float:
        """The error in units of what is allowed."""
        if self.worst_abs == 0:
            return 0.0
        return self.worst_abs / self.allowed if self.allowed else math.inf


def kind_of(name: str, stored: Array) -> Kind:
    """The row of the table that an array falls under."""
    if stored.dtype.kind != "f":
        return EXACT
    return next(kind for kind in KINDS if re.search(kind.pattern, name))


def compare(name: str, stored: Array, answer: Any) -> Difference:
    """Compare a stored array with ours (an `Answer`, or its value alone)."""
    answer = answer if isinstance(answer, Answer) else Answer(answer)
    stored = stored if answer.stored is None else answer.stored
    kind = kind_of(name, stored)
    value = answer.value.detach().cpu().numpy() if isinstance(answer.value, Tensor) else np.asarray(answer.value)
    if value.shape != stored.shape:
        note = f"shape {value.shape}, stored {stored.shape}"
        return Difference(name, kind, math.inf, math.inf, kind.tolerance, note)
    counts = np.ones(stored.shape, bool) if answer.where is None else answer.where
    error, largest = _error(value, stored, counts), _largest(stored[counts])
    allowed = kind.tolerance * (largest if kind.of_largest else 1)
    return Difference(name, kind, error, _share(error, largest), allowed, answer.note)


def _error(value: Array, stored: Array, counts: Array) -> float:
    """The largest absolute difference where it counts; texts that differ are 1 apart, NaN equals NaN only."""
    if not counts.any():
        return 0.0
    a, b = value[counts], stored[counts]
    if b.dtype.kind not in "fiub" or a.dtype.kind not in "fiub":
        return float((a != b).any())
    a, b = a.astype(np.float64), b.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0.0, np.abs(a - b))
    return float(np.where(np.isnan(apart), math.inf, apart).max())


def _largest(stored: Array) -> float:
    """The largest finite magnitude of an array of numbers."""
    if stored.dtype.kind not in "fiub":
        return 1.0
    finite = stored[np.isfinite(stored)]
    return float(np.abs(finite.astype(np.float64)).max()) if finite.size else 0.0


def _share(error: float, largest: float) -> float:
    if error == 0:
        return 0.0
    return error / largest if largest else math.inf
