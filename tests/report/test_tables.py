"""Numbers and formats of tables."""

import re
from dataclasses import replace
from typing import Any

import pytest

from vlprompt.errors import UsageError
from vlprompt.experiments.results import ALL_SHOTS, Result
from vlprompt.report.tables import base_to_new_table, few_shot_table


def run(learner: str, shots: int, seed: int, **metrics: float) -> Result:
    return Result(
        protocol="base_to_new" if "new_top1" in metrics else "few_shot",
        learner=learner,
        backbone="tiny",
        fingerprint="f" * 16,
        task="digits",
        split_hash=f"{shots} {seed}",
        classes=10,
        shots=shots,
        seed=seed,
        metrics=metrics,
    )


FEW = [
    run("zero_shot", 0, 0, top1=0.7),
    *(run("coop", 1, seed, top1=value) for seed, value in ((1, 0.81), (2, 0.84), (3, 0.79))),
    *(run("coop", ALL_SHOTS, seed, top1=value) for seed, value in ((1, 0.9), (2, 1.0))),
]


def rows(table: str) -> list[list[str]]:
    """The cells of a Markdown table without its rule."""
    lines = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("|")]
    return [lines[0], *lines[2:]]


def test_cells_are_mean_and_interval_over_seeds() -> None:
    table = few_shot_table(FEW, "markdown")
    assert rows(table)[0] == ["learner", "0 shots", "1 shot", "all"]
    # 4.3027 * 0.025166 / sqrt(3) and 12.706 * 0.070711 / sqrt(2), in percent
    assert rows(table)[2:] == [["zero_shot", "70.0", "–", "–"], ["coop", "–", "81.3 ± 6.3", "95.0 ± 63.5"]]
    assert table.splitlines()[0] == (
        "digits: top1 in percent; mean ± 95 % interval (Student t) over 2 to 3 seeds; "
        "cells without ±: one seed, no interval."
    )


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        (FEW[:1], "percent; one seed, no interval."),
        (FEW[1:4], "percent; mean ± 95 % interval (Student t) over 3 seeds."),
        (FEW[:4], "over 3 seeds; cells without ±: one seed, no interval."),
    ],
)
def test_the_caption_describes_the_interval(chosen: list[Result], said: str) -> None:
    assert few_shot_table(chosen).splitlines()[0].endswith(said)


def test_the_latest_of_equal_runs_is_shown() -> None:
    again = replace(FEW[0], metrics={"top1": 0.25})
    assert rows(few_shot_table([*FEW, again], "markdown"))[2][1] == "25.0"
    assert rows(few_shot_table([again, *FEW], "markdown"))[2][1] == "70.0"


def test_terminal_columns_are_aligned() -> None:
    table = few_shot_table([*FEW, run("a_learner_with_a_long_name", 1, 1, top1=0.055)])
    lines = table.splitlines()[4:-1]
    for wanted in ("70.0", "81.3", " 5.5"):
        assert sum(wanted in line for line in lines) == 1
    points = {match.start() for line in lines for match in re.finditer(r"(?<=\d)\.(?=\d( ±|$))", line)}
    assert len(points) == 3  # one position for the decimal points of each column
    assert all(line == line.rstrip() for line in lines)
    assert len(set(map(len, (line for line in table.splitlines() if set(line) == {"-"})))) == 1


def test_latex_is_escaped_and_uses_booktabs() -> None:
    strange = replace(FEW[0], learner="tip_adapter", variant="50% & $x^2$ {a}~#", backbone="a_b")
    runs = [replace(each, task="50%_\\") for each in [strange, *FEW[1:4]]]
    table = few_shot_table(runs, "latex").splitlines()
    assert table[0:2] == [r"\begin{table}", r"\centering"]
    assert table[2].startswith(r"\caption{50\%\_\textbackslash{}: top1 in percent; mean $\pm$ 95 \% interval")
    assert table[3:] == [
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r"learner & 0 shots & 1 shot \\",
        r"\midrule",
        r"\multicolumn{3}{l}{\emph{a\_b}} \\",
        r"tip\_adapter (50\% \& \$x\textasciicircum{}2\$ \{a\}\textasciitilde{}\#) & $70.0$ & -- \\",
        r"\midrule",
        r"\multicolumn{3}{l}{\emph{tiny}} \\",
        r"coop & -- & $81.3 \pm 6.3$ \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]


def test_pipes_in_labels_are_escaped_in_markdown() -> None:
    table = few_shot_table([replace(FEW[0], variant="a|b")], "markdown")
    assert r"zero_shot (a\|b)" in table


def test_backbones_are_groups_and_each_task_has_a_table() -> None:
    other = [replace(each, backbone="RN50") for each in FEW]
    assert [row[0] for row in rows(few_shot_table([*FEW, *other], "markdown"))] == [
        "learner",
        "**RN50**",
        "zero_shot",
        "coop",
        "**tiny**",
        "zero_shot",
        "coop",
    ]
    both = few_shot_table([*FEW, *(replace(each, task="dtd") for each in FEW)], "markdown")
    assert [part.partition(":")[0] for part in both.split("\n\n") if not part.startswith("|")] == ["digits", "dtd"]


def test_h_is_computed_from_the_averages() -> None:
    """Averages 0.8 and 0.6 give 68.6; the mean of the seeds' own H would be 66.0."""
    runs = [run("coop", 16, seed, base_top1=base, new_top1=new) for seed, base, new in ((1, 0.9, 0.4), (2, 0.7, 0.8))]
    table = base_to_new_table(runs, "markdown")
    assert rows(table)[0] == ["learner", "base", "new", "H"]
    h = [2 * 0.9 * 0.4 / 1.3, 2 * 0.7 * 0.8 / 1.5]
    half = 100 * 12.706 * abs(h[0] - h[1]) / 2
    assert rows(table)[2][3] == f"68.6 ± {half:.1f}"
    assert "H of the averages" in table
    assert rows(base_to_new_table(runs[:1], "markdown"))[2] == ["coop", "90.0", "40.0", "55.4"]


def test_base_to_new_shots_are_rows() -> None:
    runs = [run("coop", shots, 1, base_top1=0.9, new_top1=0.5) for shots in (4, 16)]
    assert [row[0] for row in rows(base_to_new_table(runs, "markdown"))[2:]] == ["coop (shots=16)", "coop (shots=4)"]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: few_shot_table([]), "no result of few_shot or zero_shot"),
        (lambda: few_shot_table(FEW, metric="top_1"), "did you mean 'top1'"),
        (lambda: few_shot_table(FEW, "html"), "unknown form of a table 'html'"),
        (lambda: base_to_new_table(FEW), "no result of base_to_new"),
    ],
)
def test_nothing_to_show_is_a_usage_error(call: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        call()
