"""Run experiments that have no results yet: python -m benchmarks.accuracy [NAME ...] [--list] [--fresh]."""

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.accuracy import running
from vlprompt.errors import UsageError, VlpromptError, unknown
from vlprompt.experiments.results import Result
from vlprompt.experiments.sweep.experiment import CONTINUAL, FEW_SHOT, Experiment, read
from vlprompt.report import plots
from vlprompt.report.continual_plots import draw_continual

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
DRAW: Mapping[str, Callable[[Sequence[Result], Path], object]] = {
    FEW_SHOT: plots.accuracy_by_shots,
    CONTINUAL: draw_continual,
}


def main(arguments: Sequence[str] | None = None, folder: Path = HERE, root: Path = ROOT) -> int:
    """Run the command; 0 when done (also where experiments were skipped), 1 when one failed, 2 on wrong usage.

    Args:
        arguments: Instead of those of the process.
        folder: The folder of the experiments.
        root: Results are written to benchmarks/results, prompts to runs/benchmarks in this folder.
    """
    warnings.showwarning = _show_warning  # type: ignore[assignment]
    options = _parser().parse_args(arguments)
    try:
        names = _names(options.names, folder)
        if options.list:
            print("\n".join(_listed(name, folder, root) for name in names))
            return 0
        experiments = {name: read(folder / f"{name}.toml") for name in names}
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        done = [_run(name, experiment, root, fresh=options.fresh) for name, experiment in experiments.items()]
        return int(not all(done))
    except KeyboardInterrupt:
        print("interrupted; run the same command again to continue", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.accuracy", description="Run accuracy experiments.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="experiments, files of this folder (default: all)")
    parser.add_argument("--list", action="store_true", help="list the experiments; run nothing")
    parser.add_argument("--fresh", action="store_true", help="repeat runs that have a result")
    return parser


def _names(given: Sequence[str], folder: Path) -> list[str]:
    """The given experiments, or all; UsageError for an unknown name."""
    known = sorted(path.stem for path in folder.glob("*.toml"))
    for name in given:
        if name not in known:
            raise unknown("experiment", name, known)
    return list(given) or known


def _listed(name: str, folder: Path, root: Path) -> str:
    """An experiment in a line: its number of results, and the first line of its comment."""
    title = (folder / f"{name}.toml").read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
    return f"{name:<26} {len(running.saved(_results_file(name, root))):>4} results   {title}"


def _results_file(name: str, root: Path) -> Path:
    return root / "benchmarks" / "results" / f"{name}.jsonl"


def _run(name: str, experiment: Experiment, root: Path, *, fresh: bool) -> bool:
    """Run an experiment and print its table; False where it failed."""
    file = _results_file(name, root)
    print(f"\n{name}", flush=True)
    try:
        outcome = running.run(experiment, file, root / "runs" / "benchmarks" / name, fresh=fresh)
    except running.UnavailableError as error:
        print(f"skipped: {error}")
        if earlier := running.saved(file):
            print(f"saved results:\n{running.table(experiment, earlier)}")
        return True
    except VlpromptError as error:
        print(f"error: {name}: {error}", file=sys.stderr)
        return False
    print(f"{outcome.table}\nresults in {file.relative_to(root)}: {len(outcome.results)}, {outcome.new} of them new")
    if experiment.protocol in DRAW:
        _draw(DRAW[experiment.protocol], outcome.results, file.with_suffix(".png"))
    return True


def _draw(draw: Callable[[Sequence[Result], Path], object], found: Sequence[Result], path: Path) -> None:
    """The plots, where matplotlib is installed."""
    try:
        draw(found, path)
        print(f"plots in {path.stem}*.png in the same folder")
    except VlpromptError as error:
        print(f"no plot: {error}")


def _show_warning(message: Warning | str, category: type[Warning], *_: Any) -> None:
    """Print vlprompt's own warnings as one line, and none of other libraries."""
    if category.__module__.startswith("vlprompt"):
        print(f"warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    os.environ.setdefault("VLPROMPT_SHARED", "../shared")
    sys.exit(main())
