"""The command `vlprompt report`."""

from collections.abc import Sequence
from pathlib import Path

from tyro.conf import Positional

from vlprompt import results
from vlprompt.report import plots, tables
from vlprompt.report import published as published_numbers
from vlprompt.report.continual_plots import draw_continual
from vlprompt.report.paper import beside
from vlprompt.results import Result


def run(
    results_file: Positional[Path] = Path("runs/results.jsonl"),
    form: str = "terminal",
    plot: Path | None = None,
    paper: Path | None = None,
) -> None:
    """Print tables of earlier results.

    Args:
        results_file: A results.jsonl.
        form: terminal, markdown or latex.
        plot: Also draw accuracy by shots into this PNG file; and of tasks one after another, NAME-matrix.png,
            NAME-tasks.png and NAME-usage.png.
        paper: Also set ours beside the published numbers in this file (benchmarks/paper.toml).
    """
    published = published_numbers.read_paper(paper) if paper else ()
    found = results.read(results_file)
    for protocol, table in tables.BY_PROTOCOL.items():
        chosen = [result for result in found if result.protocol == protocol]
        if chosen:
            print(table(chosen, form), end="\n\n")
    if paper is not None:
        nothing = f"{paper} has no numbers of the protocols, tasks, methods and shots in {results_file}"
        print(beside(found, published, form) or nothing, end="\n\n")
    if plot is not None:
        print(f"plots in {', '.join(map(str, _drawn(found, plot)))}")


def _drawn(found: Sequence[Result], plot: Path) -> list[Path]:
    """The files of the pictures that there is something for."""
    files = draw_continual(found, plot) if any(result.protocol == "continual" for result in found) else []
    few_shot = [result for result in found if result.protocol == "few_shot"]
    if few_shot or not files:
        plots.accuracy_by_shots(few_shot, plot)
        files.append(plot)
    return files
