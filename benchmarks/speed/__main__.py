"""Run benchmarks, each in a process of its own: python -m benchmarks.speed [NAME ...] [--quick] [--results FILE]."""

import argparse
import pkgutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import benchmarks.speed

SHARED = ("__main__", "lms", "measure", "models", "names", "plain")  # the files here that are no benchmarks
ROOT = Path(__file__).resolve().parent.parent.parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 1 where a benchmark fails or misses a target."""
    parser = argparse.ArgumentParser("python -m benchmarks.speed", description="Measure speed and memory.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known())} (default: all)")
    parser.add_argument("--quick", action="store_true", help="tiny models, few classes: seconds; nothing is kept")
    parser.add_argument("--results", type=Path, help="where to add the results")
    asked = parser.parse_args(arguments)
    if wrong := sorted(set(asked.names) - set(known())):
        parser.error(f"no benchmark {', '.join(wrong)}; there are {', '.join(known())}")
    options = ["--quick"] * asked.quick + (["--results", str(asked.results.resolve())] if asked.results else [])
    codes = [one(name, options) for name in asked.names or known()]
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
