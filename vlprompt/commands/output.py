"""How commands print results."""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from vlprompt.commands.options import BaseOptions
from vlprompt.errors import VlpromptError, printable
from vlprompt.experiments.results import ALL_SHOTS, Result
from vlprompt.report.tables import BY_PROTOCOL


def print_results(results: Iterable[Result], options: BaseOptions, protocol: str) -> list[Result]:
    """Print results as JSON lines as they come, or progress on stderr and the protocol's table at the end."""
    done = []
    for result in results:
        done.append(result)
        if options.json:
            print(result.to_json(), flush=True)
        elif sys.stderr.isatty() or len(done) % 5 == 0:
            print(progress_line(result), file=sys.stderr)
    if not options.json:
        print(BY_PROTOCOL[protocol](done))
        print(f"\nresults in {options.out / 'results.jsonl'}, prompts under {options.out / 'prompts'}")
    return done


def progress_line(result: Result) -> str:
    """A run and its accuracies in percent, in one line."""
    shots = "all" if result.shots == ALL_SHOTS else result.shots
    name = printable(" ".join(filter(None, (result.task, result.learner, result.variant))))
    figures = [f"{k} {100 * v:.1f}" for k, v in result.metrics.items() if "top1" in k or "harmonic" in k]
    waiting = result.extra.get("waiting_for_data")
    note = f" ({waiting:.0%} of the training waited for data)" if waiting else ""
    return f"{name} {shots} shots seed {result.seed}: {' '.join(figures)}{note}"


def print_tables(results: Sequence[Result], form: str = "terminal") -> None:
    """Print the table of every protocol that has results."""
    for protocol, table in BY_PROTOCOL.items():
        if own := [result for result in results if result.protocol == protocol]:
            print(_shown(table, own, protocol, form), end="\n\n")


def _shown(table: Callable[..., str], results: Sequence[Result], protocol: str, form: str) -> str:
    """The table of some results.

    Raises:
        VlpromptError: They lack notes or metrics that every result of the protocol has.
    """
    try:
        return table(results, form)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # Notes and settings of a result are free JSON, and another program may have written the line.
        raise VlpromptError(
            f"results of {protocol} cannot be shown, because one lacks what such results have ({error!r}); remove its "
            "line from the file, or repeat the run."
        ) from error


def print_plots(files: Sequence[Path], *, quiet: bool = False) -> None:
    """Print where plots were drawn."""
    if files and not quiet:
        print(f"plots in {', '.join(map(str, files))}")


def as_json(value: Any) -> str:
    """One line of JSON; values that JSON does not know, such as paths, become text."""
    return json.dumps(value, default=str)
