"""A table and the forms it can take: terminal, Markdown, LaTeX."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from vlprompt.errors import unknown
from vlprompt.report.series import Cell, seeds

Entry = Cell | str | None
Row = tuple[str, tuple[Entry, ...]]


@dataclass(frozen=True)
class Table:
    """Rows of cells, in groups.

    Attributes:
        caption: What is shown, and over how many seeds.
        header: Above the labels, then above each column.
        groups: (title, rows) of each backbone.
    """

    caption: str
    header: tuple[str, ...]
    groups: tuple[tuple[str, tuple[Row, ...]], ...]

    def show(self, form: str) -> str:
        """The table as text.

        Args:
            form: "terminal", "markdown" or "latex".

        Raises:
            UsageError: It is none of these.
        """
        if form not in FORMS:
            raise unknown("form of a table", form, FORMS)
        return FORMS[form](self)


def table_of(what: str, columns: Sequence[str], rows: Sequence[tuple[str, Row]], first: str = "learner") -> Table:
    """A table of rows, each with the backbone it stands under; the caption says over how many seeds."""
    cells = [each for _, (_, cells) in rows for each in cells if isinstance(each, Cell)]
    several = f"mean ± 95 % interval (Student t) over {seeds(cells)} seeds" if seeds(cells) else ""
    single = "one seed: no interval" if any(each.half is None for each in cells) else ""
    how = "; without ±, ".join(filter(None, (several, single)))
    groups = groupby(rows, key=lambda row: row[0])
    return Table(
        f"{what}; {how}.",
        (first, *columns),
        tuple((title, tuple(row for _, row in group)) for title, group in groups),
    )


def terminal(table: Table) -> str:
    """Aligned columns under the caption; a backbone's rows are indented below its name."""
    rows = [["", *(f"{name:>5}" for name in table.header[1:])]]
    for title, members in table.groups:
        rows += [[title]] + [[f"  {label}", *map(_aligned, cells)] for label, cells in members]
    rows[0][0] = table.header[0]
    widths = [max(len(row[at]) for row in rows if len(row) > 1) for at in range(len(table.header))]
    lines = ["   ".join(map(str.ljust, row, widths)).rstrip() if len(row) > 1 else row[0] for row in rows]
    rule = "-" * max(map(len, lines))
    return "\n".join([table.caption, rule, lines[0], rule, *lines[1:], rule])


def markdown(table: Table) -> str:
    """A pipe table; a backbone's rows follow a row of its name."""
    columns = len(table.header) - 1
    rows = [table.header, ("---", *["---:"] * columns)]
    for title, members in table.groups:
        rows.append((f"**{_pipes(title)}**", *[""] * columns))
        rows += [(_pipes(label), *map(_plain, cells)) for label, cells in members]
    return "\n".join([table.caption, "", *(f"| {' | '.join(row)} |" for row in rows)])


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


def _plain(cell: Entry) -> str:
    if not isinstance(cell, Cell):
        return cell or "–"
    digits = cell.digits
    return f"{cell.mean:.{digits}f}" if cell.half is None else f"{cell.mean:.{digits}f} ± {cell.half:.{digits}f}"


def _aligned(cell: Entry) -> str:
    """The decimal points of a column under each other."""
    if not isinstance(cell, Cell) or cell.half is None:
        return _plain(cell).rjust(5)
    return f"{cell.mean:{cell.digits + 4}.{cell.digits}f} ± {cell.half:{cell.digits + 3}.{cell.digits}f}"


def _math(cell: Entry) -> str:
    return "--" if cell is None else f"${_plain(cell)}$".replace("±", r"\pm")


def _pipes(text: str) -> str:
    return text.replace("|", r"\|")


def _escape(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in text)
