"""Run experiments, only what has no result yet: python -m benchmarks.accuracy [NAME ...] [--list] [--fresh]."""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.accuracy import running
from vlprompt import results
from vlprompt.errors import UsageError, VlpromptError, unknown
from vlprompt.report import plots
from vlprompt.results import Result
from vlprompt.sweep.experiment import FEW_SHOT, Experiment, read

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def main(arguments: Sequence[str] | None = None, folder: Path = HERE, root: Path = ROOT) -> int:
    """Run the command; 0 when done (skipped experiments count as done), 1 when one failed, 2 on wrong usage.

    Args:
        arguments: Instead of those of the process.
        folder: Where the experiments are.
        root: Results go to benchmarks/results, prompts to runs/benchmarks in this.
    """
    warnings.showwarning = _warning_line
    asked = _parser().parse_args(arguments)
    try:
        names = _names(asked.names, folder)
        if asked.list:
            print("\n".join(_listed(name, folder, root) for name in names))
            return 0
        experiments = {name: read(folder / f"{name}.toml") for name in names}
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        done = [_one(name, experiment, root, fresh=asked.fresh) for name, experiment in experiments.items()]
        return int(not all(done))
    except KeyboardInterrupt:
        print("stopped; the same command goes on from where it was", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.accuracy", description="Run accuracy experiments.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="experiments, files of this folder (default: all)")
    parser.add_argument("--list", action="store_true", help="say what there is; run nothing")
    parser.add_argument("--fresh", action="store_true", help="run again what already has a result")
    return parser


def _names(asked: Sequence[str], folder: Path) -> list[str]:
    """The experiments asked for, or all.

    Raises:
        UsageError: There is none of a name.
    """
    known = sorted(path.stem for path in folder.glob("*.toml"))
    for name in asked:
        if name not in known:
            raise unknown("experiment", name, known)
    return list(asked) or known


def _listed(name: str, folder: Path, root: Path) -> str:
    """An experiment in a line: how many results there are, and what it shows."""
    count = len(results.read(_kept(name, root))) if _kept(name, root).exists() else 0
    return f"{name:<26} {count:>4} results   {headline(folder / f'{name}.toml')}"


def headline(path: Path) -> str:
    """The first line of an experiment's opening comment."""
    return path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")


def _kept(name: str, root: Path) -> Path:
    return root / "benchmarks" / "results" / f"{name}.jsonl"


def _one(name: str, experiment: Experiment, root: Path, *, fresh: bool) -> bool:
    """Run an experiment and print its table; False where it failed."""
    kept = _kept(name, root)
    print(f"\n{name}", flush=True)
    try:
        outcome = running.run(experiment, kept, root / "runs" / "benchmarks" / name, fresh=fresh)
    except running.AbsentError as error:
        print(f"skipped: {error}")
        if table := running.kept_table(experiment, kept):
            print(f"results that were kept:\n{table}")
        return True
    except VlpromptError as error:
        print(f"error: {name}: {error}", file=sys.stderr)
        return False
    print(f"{outcome.table}\nresults in {kept.relative_to(root)}: {len(outcome.results)}, {outcome.new} of them new")
    if experiment.protocol == FEW_SHOT:
        _draw(outcome.results, kept.with_suffix(".png"))
    return True


def _draw(found: Sequence[Result], path: Path) -> None:
    """The plot, where matplotlib is installed; the table does not need it."""
    try:
        plots.accuracy_by_shots(found, path)
        print(f"plot in {path.name} beside them")
    except VlpromptError as error:
        print(f"no plot: {error}")


def _warning_line(message: Warning | str, category: type[Warning], *_: Any) -> None:
    """Our own warnings as one line; those of libraries are not the reader's business here."""
    if category.__module__.startswith("vlprompt"):
        print(f"warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    os.environ.setdefault("VLPROMPT_SHARED", "../shared")
    sys.exit(main())
