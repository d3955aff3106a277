"""Replay one case: from a manifest's entry to a row of the report."""

import math
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.parity.adapters import Adapter, adapters
from benchmarks.parity.case import Case, CaseError
from benchmarks.parity.compare import Difference, compare
from benchmarks.parity.models import ModelError, Models
from vlprompt.errors import VlpromptError, VlpromptWarning

PASS, FAIL, SKIP = "pass", "fail", "no adapter"


@dataclass(frozen=True)
class Row:
    """The outcome of one case.

    Attributes:
        method: The manifest's.
        file: The file of its arrays.
        status: "pass", "fail" or "no adapter".
        adapter: The adapter that replayed it.
        differences: Every compared array, the worst first.
        problem: What failed besides numbers.
    """

    method: str
    file: str
    status: str
    adapter: str = ""
    differences: tuple[Difference, ...] = ()
    problem: str = ""

    @property
    def worst(self) -> Difference | None:
        """The array with the largest error, in units of its allowed error."""
        return self.differences[0] if self.differences else None

    def as_json(self) -> dict[str, Any]:
        """The row as plain values; null where a number is not finite."""
        worst = self.worst
        return {
            "method": self.method,
            "file": self.file,
            "status": self.status,
            "adapter": self.adapter or None,
            "worst_array": worst.name if worst else None,
            "worst_abs": _number(worst.worst_abs) if worst else None,
            "worst_rel": _number(worst.worst_rel) if worst else None,
            "tolerance": worst.allowed if worst else None,
            "problem": self.problem or None,
            "arrays": {each.name: _array_as_json(each) for each in self.differences},
        }


def replay(case: Case, name: str, models: Models) -> Row:
    """Run a case through its adapter and compare every stored output.

    Raises:
        ModelError: The case's model cannot be loaded.
    """
    adapter = adapters()[name]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VlpromptWarning)
            answers = adapter.replay(case, models)
    except ModelError:  # not the case's fault
        raise
    except (CaseError, VlpromptError) as error:
        return Row(case.method, case.file, FAIL, name, problem=str(error))
    except Exception as error:  # a crash is a finding; the other cases still run
        message = (str(error).splitlines() or [""])[0]
        return Row(case.method, case.file, FAIL, name, problem=f"{type(error).__name__}: {message}")
    return _compared(case, name, adapter, answers)


def _compared(case: Case, name: str, adapter: Adapter, answers: Mapping[str, Any]) -> Row:
    """Compare all answers, and list arrays without one."""
    given = [stored for stored in case.arrays if any(re.fullmatch(each, stored) for each in adapter.INPUTS)]
    missing = [stored for stored in case.arrays if stored not in answers and stored not in given]
    found = [compare(stored, array, answers[stored]) for stored, array in case.arrays.items() if stored in answers]
    found.sort(key=lambda each: (each.ok, -each.relative_to_allowed))
    problem = f"unknown array {', '.join(missing)}" if missing else ""
    if not found:
        problem = problem or "no stored output to compare"
    status = FAIL if problem or not all(each.ok for each in found) else PASS
    return Row(case.method, case.file, status, name, tuple(found), problem)


def _array_as_json(each: Difference) -> dict[str, Any]:
    return {
        "kind": each.kind.name,
        "worst_abs": _number(each.worst_abs),
        "worst_rel": _number(each.worst_rel),
        "tolerance": each.allowed,
        "ok": each.ok,
        "note": each.note or None,
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
