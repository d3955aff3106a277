"""Plots show the numbers of the results and are written atomically."""

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vlprompt.errors import UsageError, VlpromptError
from vlprompt.experiments import results_file
from vlprompt.experiments.results import ALL_SHOTS, Result
from vlprompt.report import plots

pytest.importorskip("matplotlib", reason="plots need the extra `plot`")


def run(learner: str, shots: int, seed: int, top1: float) -> Result:
    return Result(
        protocol="few_shot",
        learner=learner,
        backbone="tiny",
        fingerprint="f" * 16,
        task="digits",
        split_hash="s",
        classes=10,
        shots=shots,
        seed=seed,
        metrics={"top1": top1},
    )


SEEDS = (1, 2, 3)
RUNS = [run("zero_shot", 0, 0, 0.7)]
RUNS += [run("coop", shots, seed, 0.5 + 0.02 * shots + 0.01 * seed) for shots in (1, 2, 4, 8, 16) for seed in SEEDS]


def axes_of(runs: list[Result]) -> list[Any]:
    panels = {task: plots._lines(each, "top1") for task, each in plots.by_task(runs, "few_shot").items()}
    axes: list[Any] = plots._figure(panels, "accuracy").axes
    return axes


def test_the_png_opens_and_is_not_empty(tmp_path: Path) -> None:
    plots.accuracy_by_shots(RUNS, tmp_path / "new" / "plot.png")
    with Image.open(tmp_path / "new" / "plot.png") as image:
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    assert len(pixels) > 500_000
    colours = {tuple(int(x) for x in colour) for colour in np.unique(pixels, axis=0)}
    assert (0x00, 0x72, 0xB2) in colours
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["plot.png"]


def test_equal_results_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        plots.accuracy_by_shots(RUNS, tmp_path / name)
    first, second = (hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("a.png", "b.png"))
    assert first == second


def test_lines_bands_and_ticks_are_where_the_numbers_are() -> None:
    (axes,) = axes_of(RUNS)
    lines = {line.get_marker(): line for line in axes.lines}
    assert lines["o"].get_xdata().tolist() == [0, 1, 2, 3, 4]
    assert lines["o"].get_ydata() == pytest.approx([54, 56, 60, 68, 84])
    assert (lines["*"].get_xdata().tolist(), lines["*"].get_ydata().tolist()) == ([-1], [70])
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "1", "2", "4", "8", "16"]
    band = max((each.get_paths()[0].vertices for each in axes.collections), key=len)
    half = 4.302652729911275 * 1.0 / 3**0.5
    assert band[:, 1].min() == pytest.approx(54 - half)
    assert band[:, 1].max() == pytest.approx(84 + half)


def test_all_shots_are_last() -> None:
    (axes,) = axes_of([*RUNS, run("coop", ALL_SHOTS, 1, 0.9)])
    (line,) = [line for line in axes.lines if line.get_marker() == "o"]
    assert line.get_xdata().tolist() == [0, 1, 2, 3, 4, 5]
    assert line.get_ydata()[-1] == 90
    assert axes.get_xticklabels()[-1].get_text() == "all"


def test_a_panel_for_each_task_and_a_line_for_each_backbone(tmp_path: Path) -> None:
    runs = [replace(each, task=task, backbone=b) for each in RUNS for task in "xyz" for b in ("RN50", "ViT-B-16")]
    assert len(axes_of(runs)) == 3
    assert len({(line.get_color(), str(line.get_linestyle())) for line in axes_of(runs)[0].lines}) == 4
    plots.accuracy_by_shots(runs, tmp_path / "plot.png")


def test_zero_shot_alone_and_one_seed_can_be_drawn(tmp_path: Path) -> None:
    plots.accuracy_by_shots(RUNS[:2], tmp_path / "plot.png")
    plots.accuracy_by_shots([replace(RUNS[0], protocol="zero_shot")], tmp_path / "plot.png")


def test_global_state_of_matplotlib_is_not_changed(tmp_path: Path) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    plots.accuracy_by_shots(RUNS, tmp_path / "plot.png")
    assert dict(mpl.rcParams) == before


def test_matplotlib_is_imported_to_draw_only_and_torch_and_pyplot_never(tmp_path: Path) -> None:
    work = """
import sys
from vlprompt import report
from vlprompt.experiments import results_file
print("matplotlib" in sys.modules, "torch" in sys.modules)
report.accuracy_by_shots(results_file.read(sys.argv[1] + "/r"), sys.argv[1] + "/plot.png")
print("matplotlib.pyplot" in sys.modules, "torch" in sys.modules)
"""
    results_file.append(tmp_path / "r", RUNS[0])
    done = subprocess.run([sys.executable, "-c", work, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"] * 4


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(VlpromptError, match=r'pip install "vlprompt\[plot\]"'):
        plots.accuracy_by_shots(RUNS, tmp_path / "plot.png")


def test_wrong_endings_and_missing_metrics_leave_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"must end in \.png"):
        plots.accuracy_by_shots(RUNS, tmp_path / "plot.pdf")
    with pytest.raises(UsageError, match="unknown metric of zero_shot on digits 'top5'"):
        plots.accuracy_by_shots(RUNS, tmp_path / "plot.png", metric="top5")
    assert not list(tmp_path.iterdir())
