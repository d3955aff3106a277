"""Records of measurements as JSON lines, and their comparison with the last committed ones.

Two records are compared where benchmark, setting, processor and number of threads are equal.
"""

import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[3]
RESULTS = ROOT / "benchmarks" / "results" / "speed.jsonl"
ALLOWED = 0.85  # smallest accepted share of an earlier ratio
RATIOS = ("times_", "share_of_matmul")  # parts of the names of figures that should not fall
REPETITIONS = ("rounds",)  # parts of a setting that do not change what is measured

Line = Mapping[str, Any]


@dataclass(frozen=True)
class Record:
    """One measurement.

    Attributes:
        benchmark: Its module.
        setting: What was measured, by name.
        figures: The results by name, with units in the names.
        missed: A line for each missed target and failed check.
    """

    benchmark: str
    setting: Mapping[str, Any]
    figures: Mapping[str, float]
    missed: Sequence[str] = ()

    def as_line(self) -> dict[str, Any]:
        """The record with date and machine, as it is saved."""
        return {
            "benchmark": self.benchmark,
            "date": datetime.now(UTC).date().isoformat(),
            "machine": machine(),
            "setting": dict(self.setting),
            "figures": dict(self.figures),
            "missed": list(self.missed),
        }

    def __str__(self) -> str:
        setting = ", ".join(f"{name} {value}" for name, value in self.setting.items())
        figures = ", ".join(f"{name} {value:.4g}" for name, value in self.figures.items())
        return "\n  MISSED: ".join([f"{self.benchmark} ({setting}): {figures}", *self.missed])


def misses(figures: Mapping[str, float], *, least: Mapping[str, float], most: Mapping[str, float]) -> list[str]:
    """A line for every figure below its least value or above its greatest one."""
    below = [(name, f"{limit:g} or more") for name, limit in least.items() if not figures[name] >= limit]
    above = [(name, f"{limit:g} or less") for name, limit in most.items() if not figures[name] <= limit]
    return [f"{name} is {figures[name]:.3g}, target {target}" for name, target in below + above]


def append(path: Path, line: Line) -> None:
    """Append a line to a file of JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, allow_nan=False) + "\n")


def read(path: Path) -> list[Line]:
    """The lines of a file of results; none where there is no file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def committed(path: Path) -> list[Line]:
    """The committed lines of a file of results; without git, its present lines."""
    place = path.relative_to(ROOT) if path.is_relative_to(ROOT) else None
    shown = subprocess.run(["git", "show", f"HEAD:{place}"], cwd=ROOT, capture_output=True, text=True, check=False)
    if place is not None and shown.returncode == 0:
        return [json.loads(line) for line in shown.stdout.splitlines()]
    return read(path)


def ratios(line: Line) -> dict[str, float]:
    """The figures of a line that should not fall, by name."""
    return {name: value for name, value in line["figures"].items() if any(part in name for part in RATIOS)}


def last(line: Line, earlier: Sequence[Line]) -> Line | None:
    """The last of the earlier lines that is comparable with a line."""
    return next((other for other in reversed(earlier) if _identity(other) == _identity(line)), None)


def slower(line: Line, earlier: Sequence[Line]) -> list[str]:
    """A text for every ratio that is more than 15 % below that of the last comparable line."""
    before = last(line, earlier)
    if before is None:
        return []
    old = ratios(before)
    return [
        f"{name} is {value:.3g}, was {old[name]:.3g} on {before['date']}"
        for name, value in ratios(line).items()
        if name in old and value < ALLOWED * old[name]
    ]


def _identity(line: Line) -> tuple[str, dict[str, Any], str, int]:
    setting = {name: value for name, value in line["setting"].items() if name not in REPETITIONS}
    return line["benchmark"], setting, line["machine"]["cpu"], line["machine"]["threads"]


def machine() -> dict[str, Any]:
    """What determines the speed; nothing that identifies the machine or its user."""
    return {
        "cpu": cpu_model(),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }


def cpu_model(info: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name, as far as the system reports it."""
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.lower().startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
