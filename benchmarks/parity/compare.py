"""The tolerances of all arrays, and the comparison of two arrays."""

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from benchmarks.parity.case import Array


@dataclass(frozen=True)
class Kind:
    """A kind of array and its tolerance.

    Attributes:
        name: Its name in reports.
        tolerance: The largest allowed error; 0 for exact.
        of_largest: The tolerance is a share of the stored array's largest entry instead of absolute.
        pattern: A regular expression that occurs in the names of its arrays.
    """

    name: str
    tolerance: float
    of_largest: bool = False
    pattern: str = ""


EXACT = Kind("exact", 0.0)  # integers and texts: ids, indices, labels, masks
KINDS = (  # the first whose pattern occurs in an array's name
    Kind("learning rate", 1e-9, pattern=r"^lr_"),
    Kind("trajectory", 5e-5, of_largest=True, pattern=r"^losses$|^final_logits$|^end\."),  # errors add up over steps
    Kind("gradient", 1e-4, of_largest=True, pattern=r"^grad"),
    Kind("loss", 2e-5, pattern=r"loss|entropy|prob|metric"),
    Kind("logits after training", 4e-4, pattern=r"^final_logits"),  # 21 steps of Adam enlarge rounding errors
    Kind("logits", 1e-4, pattern=r"logits|scores"),
    Kind("features", 1e-5, pattern=r"features|tokens|prompts|embedding|bias$(?<!\.bias)"),
    Kind("trainable", 5e-6, pattern=r""),
)


@dataclass(frozen=True)
class Answer:
    """Our value for a stored array, where the comparison needs more than the value.

    Attributes:
        value: Our array.
        stored: What to compare it with, if not the stored array itself (a rearrangement of it).
        where: The entries to compare, True; the others have no meaning.
        note: The reason, for the report.
    """

    value: Tensor | Array | Any
    stored: Array | None = None
    where: Array | None = None
    note: str = ""


@dataclass(frozen=True)
class Difference:
    """The difference of two arrays.

    Attributes:
        name: The array.
        kind: Its kind.
        worst_abs: Largest absolute error; infinite where shapes or missing numbers differ.
        worst_rel: The same as a share of the largest stored entry.
        allowed: Largest allowed absolute error.
        note: A remark for the report.
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
    def relative_to_allowed(self) -> float:
        """The error in units of the allowed error."""
        if self.worst_abs == 0:
            return 0.0
        return self.worst_abs / self.allowed if self.allowed else math.inf


def kind_of(name: str, stored: Array) -> Kind:
    """The kind of an array."""
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
    where = np.ones(stored.shape, bool) if answer.where is None else answer.where
    error, largest = _error(value[where], stored[where]), _largest(stored[where])
    allowed = kind.tolerance * (largest if kind.of_largest else 1)
    return Difference(name, kind, error, _share(error, largest), allowed, answer.note)


def _error(a: Array, b: Array) -> float:
    """The largest absolute difference; different texts differ by 1, NaN equals NaN only."""
    if not b.size:
        return 0.0
    if b.dtype.kind not in "fiub" or a.dtype.kind not in "fiub":
        return float((a != b).any())
    a, b = a.astype(np.float64), b.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        gaps = np.where(same, 0.0, np.abs(a - b))
    return float(np.where(np.isnan(gaps), math.inf, gaps).max())


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
