"""Run benchmarks, each in its own process, and print a summary: python -m benchmarks.speed [NAME ...] [--quick]."""

import argparse
import importlib
import pkgutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import benchmarks.speed
from benchmarks.speed.common import measure, records, tables
from benchmarks.speed.common.records import RESULTS, ROOT


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 1 where a benchmark fails, misses a target or is slower than before."""
    parser = argparse.ArgumentParser("python -m benchmarks.speed", description="Measure speed and memory.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names())} (default: all)")
    parser.add_argument("--quick", action="store_true", help="tiny models, few classes: seconds; no results are saved")
    parser.add_argument("--results", type=Path, help="the file to append results to")
    parser.add_argument("--in-process", action="store_true", help="run in this process, without the summary")
    options = parser.parse_args(arguments)
    if wrong := sorted(set(options.names) - set(names())):
        parser.error(f"no benchmark {', '.join(wrong)}; there are {', '.join(names())}")
    chosen = options.names or names()
    if options.in_process:
        path = options.results or (None if options.quick else RESULTS)
        modules = [importlib.import_module(f"benchmarks.speed.{name}") for name in chosen]
        return max(measure.take(module, quick=options.quick, results=path) for module in modules)
    with tempfile.TemporaryDirectory() as folder:
        path = (options.results or (Path(folder) / "quick.jsonl" if options.quick else RESULTS)).resolve()
        before, committed = len(records.read(path)), [] if options.quick else records.committed(RESULTS)
        flags = ["--quick"] * options.quick + ["--results", str(path), "--in-process"]
        commands = ([sys.executable, "-m", "benchmarks.speed", name, *flags] for name in chosen)
        codes = [subprocess.run(command, cwd=ROOT, check=False).returncode for command in commands]
        print(f"\n{tables.summary(records.read(path)[before:], committed)}")
    return int(any(codes))


def names() -> list[str]:
    """All benchmarks: the modules of this package."""
    modules = pkgutil.iter_modules(benchmarks.speed.__path__)
    return sorted(module.name for module in modules if not module.ispkg and module.name != "__main__")


if __name__ == "__main__":
    sys.exit(main())
