"""Run benchmarks, each in a process of its own, and sum up: python -m benchmarks.speed [NAME ...] [--quick]."""

import argparse
import pkgutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import benchmarks.speed
from benchmarks.speed import compare, summary
from benchmarks.speed.measure import RESULTS

SHARED = (
    "__main__",
    "compare",
    "lms",
    "measure",
    "models",
    "names",
    "plain",
    "summary",
)  # the files here that are no benchmarks
ROOT = Path(__file__).resolve().parent.parent.parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 1 where a benchmark fails, misses a target or is slower than it was."""
    parser = argparse.ArgumentParser("python -m benchmarks.speed", description="Measure speed and memory.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known())} (default: all)")
    parser.add_argument("--quick", action="store_true", help="tiny models, few classes: seconds; nothing is kept")
    parser.add_argument("--results", type=Path, help="where to add the results")
    asked = parser.parse_args(arguments)
    if wrong := sorted(set(asked.names) - set(known())):
        parser.error(f"no benchmark {', '.join(wrong)}; there are {', '.join(known())}")
    with tempfile.TemporaryDirectory() as folder:
        path = (asked.results or (Path(folder) / "quick.jsonl" if asked.quick else RESULTS)).resolve()
        before, committed = len(compare.lines(path)), [] if asked.quick else compare.committed(RESULTS)
        options = ["--quick"] * asked.quick + ["--results", str(path)]
        codes = [one(name, options) for name in asked.names or known()]
        print(f"\n{summary.tables(compare.lines(path)[before:], committed)}")
    return int(any(codes))


def known() -> list[str]:
    """Every benchmark, by the name of its file."""
    files = sorted(module.name for module in pkgutil.iter_modules(benchmarks.speed.__path__))
    return [name for name in files if name not in SHARED]


def one(name: str, options: Sequence[str]) -> int:
    """Run a benchmark; its exit code."""
    command = [sys.executable, "-m", f"benchmarks.speed.{name}", *options]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
