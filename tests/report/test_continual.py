"""Tables and plots of tasks that are learned one after another."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from vlprompt.errors import UsageError
from vlprompt.experiments.results import Result
from vlprompt.experiments.statistics import CONTINUAL
from vlprompt.report import continual_plots as plots
from vlprompt.report.continual import continual_table, curve, mean_matrix
from vlprompt.report.series import arrange
from vlprompt.report.tables import BY_PROTOCOL

SEEDS = (1, 2, 3)


def run(learner: str, seed: int, matrix: list[list[float]] | None, *, variant: str = "", **extra: Any) -> Result:
    shown = {name: measure(matrix) for name, measure in CONTINUAL.items()} if matrix else {"average_accuracy": 0.9}
    return Result(
        protocol="continual",
        learner=learner,
        variant=variant,
        backbone="tiny",
        fingerprint="f" * 16,
        task="digits/3-tasks",
        split_hash=str(seed),
        classes=6,
        shots=-1,
        seed=seed,
        metrics=shown,
        trainable_parameters=5,
        backbone_parameters=100,
        extra={**({"matrix": matrix} if matrix else {}), **extra},
    )


def matrix(seed: int) -> list[list[float]]:
    low = 0.1 * seed
    return [[1.0], [0.8 - low, 0.9], [0.6 - low, 0.7, 0.8]]


POOL = [run("l2p", seed, matrix(seed), usage=[[0.5, 0.5], [0.25, 0.75], [1.0, 0.0]]) for seed in SEEDS]
JOINT = [run("linear", seed, None, variant="tasks=joint") for seed in SEEDS]
RUNS = [*POOL, *JOINT, run("linear", 1, matrix(1))]


def cells(table: str, row: str) -> list[str]:
    (line,) = [line for line in table.splitlines() if line.startswith(f"| {row} |")]
    return [each.strip() for each in line.strip("|").split("|")][1:]


def test_the_matrices_follow_a_table_of_averages_and_forgetting() -> None:
    assert BY_PROTOCOL["continual"] is continual_table
    table = continual_table(RUNS, "markdown")
    first, *matrices = table.split("\n\ndigits/3-tasks, ")
    header = next(line for line in first.splitlines() if line.startswith("| learner"))
    assert [name.strip() for name in header.strip("|").split("|")][1:] == [
        "average", "curve mean", "forgetting_max", "forgetting_chaudhry", "backward_transfer", "forgetting_stepwise",
        "trainable %",
    ]  # fmt: skip
    # finals: (0.5+0.7+0.8)/3, (0.4+...)/3, (0.3+...)/3; Student t over 3: 4.3027 s / sqrt(3)
    assert cells(first, "l2p")[0] == "63.3 ± 8.3"
    assert cells(first, "linear") == ["66.7", "82.2", "35.0", "35.0", "-35.0", "25.0", "5"]
    assert cells(first, "linear (tasks=joint)") == ["90.0 ± 0.0", "–", "–", "–", "–", "–", "5"]
    assert len(matrices) == 2, "joint training has no matrix"
    assert cells(matrices[0], "after task 2") == ["60.0 ± 24.8", "90.0 ± 0.0", "–"]


def test_averages_of_matrices_are_over_seeds() -> None:
    (series,) = arrange(POOL, lambda _: 0)
    assert [[round(each.mean) for each in row] for row in mean_matrix(series)] == [[100], [60, 90], [40, 70, 80]]
    assert [round(each.mean, 1) for each in curve(series)] == [100, 75, 63.3]
    assert all(each.seeds == 3 for each in curve(series))
    (joint,) = arrange(JOINT, lambda _: 0)
    assert mean_matrix(joint) == []


def test_a_common_test_set_has_one_column() -> None:
    common = run("l2p", 1, None)
    shared = Result(**{**vars(common), "extra": {"matrix": [[0.5], [0.75]]}})
    table = continual_table([shared], "markdown")
    assert cells(table, "after task 2") == ["75.0"]
    assert cells(table, "l2p")[2] == "–"


def test_three_plots(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="plots need the extra `plot`")
    files = plots.draw_continual(RUNS, tmp_path / "new" / "run.png")
    assert [file.name for file in files] == ["run-matrix.png", "run-tasks.png", "run-usage.png"]
    for file in files:
        with Image.open(file) as image:
            assert min(image.size) > 300
    assert [file.read_bytes() for file in files] == [
        file.read_bytes() for file in plots.draw_continual(RUNS, tmp_path / "again.png")
    ], "equal results give equal bytes"


def test_plots_show_the_numbers_at_their_places() -> None:
    pytest.importorskip("matplotlib", reason="plots need the extra `plot`")
    panels = plots._panels(RUNS)
    assert [title for title, _ in panels] == ["l2p", "linear"]
    figure = plots.accuracy_matrices(panels)
    axes = next(each for each in figure.axes if each.get_title(loc="left") == "l2p")
    shown = {text.get_position(): text.get_text() for text in axes.texts}
    assert shown == {(0, 0): "100", (0, 1): "60", (1, 1): "90", (0, 2): "40", (1, 2): "70", (2, 2): "80"}
    image = axes.images[0].get_array()
    assert image[2, 0] == pytest.approx(40)
    assert image.mask[0, 1], "a task that is not learned yet has no colour"
    lines = {line.get_label(): line for line in plots.accuracy_over_tasks(panels).axes[0].lines}
    assert lines["l2p"].get_xdata().tolist() == [1, 2, 3]
    assert lines["l2p"].get_ydata() == pytest.approx([100, 75, 190 / 3])
    used = plots.prompt_usage(panels).axes[0]
    assert used.get_title(loc="left") == "l2p, seed 1"
    assert used.images[0].get_array()[1].tolist() == [25, 75]
    assert plots.prompt_usage([panels[1]]) is None


def test_nothing_to_draw_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="all were trained jointly"):
        plots.draw_continual(JOINT, tmp_path / "a.png")
    with pytest.raises(UsageError, match="no result of continual"):
        plots.draw_continual([], tmp_path / "a.png")
    with pytest.raises(UsageError, match=r"must end in \.png"):
        plots.draw_continual(RUNS, tmp_path / "a.pdf")
