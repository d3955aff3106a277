"""A table and its output formats: terminal, Markdown, LaTeX."""

import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from vlprompt.errors import printable, unknown
from vlprompt.experiments.results import Result
from vlprompt.report.series import Estimate, arrange, by_task, seed_counts

Cell = Estimate | str | None
Row = tuple[str, tuple[Cell, ...]]


@dataclass(frozen=True)
class Table:
    """Rows of cells, in groups.

    Attributes:
        caption: What the table shows, and the number of seeds.
        header: The titles of the labels and of each column.
        groups: (title, rows) of each backbone.
    """

    caption: str
    header: tuple[str, ...]
    groups: tuple[tuple[str, tuple[Row, ...]], ...]

    def __post_init__(self) -> None:
        """Escape control characters, which names of data sets and classes may contain."""
        groups = tuple((printable(title), tuple(map(_printable_row, rows))) for title, rows in self.groups)
        object.__setattr__(self, "caption", printable(self.caption))
        object.__setattr__(self, "header", tuple(map(printable, self.header)))
        object.__setattr__(self, "groups", groups)

    def show(self, form: str) -> str:
        """The table as text; UsageError where `form` is not "terminal", "markdown" or "latex"."""
        if form not in FORMS:
            raise unknown("form of a table", form, FORMS)
        return FORMS[form](self)


def table_of(what: str, columns: Sequence[str], rows: Sequence[tuple[str, Row]], first: str = "learner") -> Table:
    """A table of rows, each with its backbone; the caption states the number of seeds."""
    estimates = [cell for _, (_, cells) in rows for cell in cells if isinstance(cell, Estimate)]
    counts = seed_counts(estimates)
    several = f"mean ± 95 % interval (Student t) over {counts} seeds" if counts else ""
    single = "one seed, no interval" if any(each.half_width is None for each in estimates) else ""
    seeds = "; cells without ±: ".join(filter(None, (several, single)))
    groups = groupby(rows, key=lambda row: row[0])
    members = tuple((title, tuple(row for _, row in group)) for title, group in groups)
    return Table("; ".join(filter(None, (what, seeds))) + ".", (first, *columns), members)


def show_by_task(
    results: Iterable[Result], form: str, make: Callable[[str, list[Result]], Table], *protocols: str
) -> str:
    """A table for each data set, of the results of the first of these protocols that has any."""
    tasks = by_task(results, *protocols)
    return "\n\n".join(make(task, runs).show(form) for task, runs in tasks.items())


def without_labels(task: str, runs: Sequence[Result]) -> Table:
    """The table of runs on examples without labels: a dash for each learner."""
    rows: list[tuple[str, Row]] = [(series.backbone, (series.label, (None,))) for series in arrange(runs)]
    what = f"{task}: no test example has a label, so there is no accuracy; predictions/ has the predictions"
    return table_of(what, ["accuracy"], rows)


def terminal(table: Table) -> str:
    """Aligned columns under the caption; the rows of a backbone are indented below its name."""
    rows = [["", *(f"{name:>5}" for name in table.header[1:])]]
    for title, members in table.groups:
        rows += [[title]] + [[f"  {label}", *map(_aligned, cells)] for label, cells in members]
    rows[0][0] = table.header[0]
    widths = [max(len(row[at]) for row in rows if len(row) > 1) for at in range(len(table.header))]
    lines = ["   ".join(map(str.ljust, row, widths)).rstrip() if len(row) > 1 else row[0] for row in rows]
    rule = "-" * max(map(len, lines))
    return "\n".join([table.caption, rule, lines[0], rule, *lines[1:], rule])


def markdown(table: Table) -> str:
    """A pipe table; the rows of a backbone follow a row with its name."""
    columns = len(table.header) - 1
    header = tuple(_marked(name) for name in table.header)
    rows = [header, ("---", *["---:"] * columns)]
    for title, members in table.groups:
        rows.append((f"**{_marked(title)}**", *[""] * columns))
        rows += [(_marked(label), *map(_plain, cells)) for label, cells in members]
    return "\n".join([_marked(table.caption), "", *(f"| {' | '.join(row)} |" for row in rows)])


def latex(table: Table) -> str:
    """A table for the package booktabs."""
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_escape(table.caption)}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(table.header) - 1)}}}",
        r"\toprule",
        " & ".join(map(_escape, table.header)) + r" \\",
    ]
    for title, members in table.groups:
        lines += [r"\midrule", rf"\multicolumn{{{len(table.header)}}}{{l}}{{\emph{{{_escape(title)}}}}} \\"]
        lines += [" & ".join([_escape(label), *map(_math, cells)]) + r" \\" for label, cells in members]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"])


FORMS: Mapping[str, Callable[[Table], str]] = {"terminal": terminal, "markdown": markdown, "latex": latex}

_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$"}
_LATEX |= {sign: f"\\{sign}" for sign in "&%$#_{}"} | {sign: f"${sign}$" for sign in "<>|"}


def _plain(cell: Cell) -> str:
    if not isinstance(cell, Estimate):
        return cell or "–"
    mean, digits = f"{cell.mean:.{cell.digits}f}", cell.digits
    return mean if cell.half_width is None else f"{mean} ± {cell.half_width:.{digits}f}"


def _aligned(cell: Cell) -> str:
    """A cell whose decimal point is below those of its column."""
    if not isinstance(cell, Estimate) or cell.half_width is None:
        return _plain(cell).rjust(5)
    return f"{cell.mean:{cell.digits + 4}.{cell.digits}f} ± {cell.half_width:{cell.digits + 3}.{cell.digits}f}"


def _math(cell: Cell) -> str:
    return "--" if cell is None else f"${_plain(cell)}$".replace("±", r"\pm")


def _marked(text: str) -> str:
    """A text that Markdown shows as it is: no HTML, no links, no end of a cell."""
    text = html.escape(text, quote=False).replace("\\", "\\\\")
    return "".join(f"\\{sign}" if sign in "|[]`" else sign for sign in text)


def _printable_row(row: Row) -> Row:
    label, cells = row
    return printable(label), tuple(printable(cell) if isinstance(cell, str) else cell for cell in cells)


def _escape(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in text)
