"""The command `vlprompt report`."""

from collections.abc import Sequence
from pathlib import Path

from tyro.conf import Positional

from vlprompt.commands.output import print_plots, print_tables
from vlprompt.experiments.results import Result
from vlprompt.experiments.results_file import read


def run(
    results_file: Positional[Path] = Path("runs/results.jsonl"),
    form: str = "terminal",
    plot: Path | None = None,
    paper: Path | None = None,
) -> None:
    """Print tables and draw plots of earlier results.

    Args:
        results_file: A results.jsonl.
        form: terminal, markdown or latex.
        plot: Also draw accuracy by shots into this PNG file; for continual learning, draw NAME-matrix.png,
            NAME-tasks.png and NAME-usage.png, given NAME.png.
        paper: Also compare with the published numbers in this file (benchmarks/paper.toml).
    """
    from vlprompt.report.comparison import comparison_tables
    from vlprompt.report.published import read_paper

    published = read_paper(paper) if paper else ()
    found = read(results_file)
    print_tables(found, form)
    if paper is not None:
        nothing = f"{paper} has no numbers of the protocols, tasks, methods and shots in {results_file}"
        print(comparison_tables(found, published, form) or nothing, end="\n\n")
    if plot is not None:
        print_plots(_draw(found, plot))


def _draw(found: Sequence[Result], plot: Path) -> list[Path]:
    """Draw the plots that there are results for, and return their files."""
    from vlprompt.report.continual_plots import draw_continual
    from vlprompt.report.plots import accuracy_by_shots

    files = draw_continual(found, plot) if any(result.protocol == "continual" for result in found) else []
    few_shot = [result for result in found if result.protocol == "few_shot"]
    if few_shot or not files:
        accuracy_by_shots(few_shot, plot)
        files.append(plot)
    return files
