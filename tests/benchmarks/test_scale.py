"""The page about full grids: its formulas, and that it is up to date."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import scale
from benchmarks.scale import Costs, Method, Work


@pytest.fixture
def costs() -> Costs:
    return replace(Costs.measured(scale.RESULTS), text=0.01, cocoop=0.02, image=0.1, gflop=100.0, efficiency=0.5)


def test_the_page_is_up_to_date() -> None:
    assert scale.PAGE.read_text() == scale.page(), "python -m benchmarks.scale --write"


def test_the_cost_of_a_run(costs: Costs) -> None:
    """CoOp, 16 shots of EuroSAT's 10 classes: 200 epochs of 5 steps of 32 images; 8,100 test images."""
    plain = scale.run_of(Method("coop", costs.text, train_passes=0), "eurosat", 16, costs)
    assert plain == Work(pytest.approx(1000 * 0.01 * 10), 1000)
    crops = scale.run_of(Method("coop", costs.text, train_passes=1), "eurosat", 16, costs)
    assert crops.seconds == pytest.approx(100 + 1000 * 32 * 0.1)
    inside = scale.run_of(Method("coop", costs.text, train_passes=3, test_passes=1), "eurosat", 16, costs)
    assert inside.seconds == pytest.approx(100 + 1000 * 32 * 3 * 0.1 + 8100 * 0.1)
    few = scale.run_of(Method("coop", costs.text, train_passes=1), "eurosat", 1, costs)
    assert few.seconds == pytest.approx(50 * (0.01 * 10 + 10 * 0.1)), "50 epochs of one batch, of ten images"


def test_seconds_on_all_machines(costs: Costs) -> None:
    works = [Work(1000.0, 10), Work(10.0, 10_000)]
    one, gpu, cluster = scale.times(works, costs)
    assert one == 1010
    assert gpu == pytest.approx(1000 * 100 / (scale.GPU_GFLOP * scale.GPU_SHARE) + 10_000 * scale.GPU_STEP)
    assert cluster == 1000, "one worker executes the longest run"
    assert scale.times([Work(1.0, 1)] * 6400, costs)[2] == pytest.approx(6400 / (128 * 0.5))


def test_the_latest_line_is_used(tmp_path: Path) -> None:
    path = tmp_path / "speed.jsonl"
    lines = [json.loads(line) for line in scale.RESULTS.read_text().splitlines()]
    newer = {"benchmark": "tpt", "setting": {"views": 64, "classes": 1000}, "figures": {"image_tower_s": 6.4}}
    path.write_text("\n".join(map(json.dumps, [*lines, newer])))
    found = Costs.measured(path)
    assert found.image == pytest.approx(0.1)
    assert found.image_is_measured
    assert "measured (`tpt`)" in scale.page(path)
    path.write_text("\n".join(json.dumps(line) for line in lines if line["benchmark"] != "cocoop"))
    with pytest.raises(ValueError, match="lacks a benchmark"):
        Costs.measured(path)


@pytest.mark.parametrize(
    ("seconds", "text"), [(7.0, "7 seconds"), (180, "3 minutes"), (1e6, "11.6 days"), (1e8, "3.17 years")]
)
def test_units_of_durations(seconds: float, text: str) -> None:
    assert scale.duration(seconds) == text


def test_the_command_prints_or_writes_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert scale.main([]) == 0
    assert capsys.readouterr().out == scale.page()
    monkeypatch.setattr(scale, "PAGE", tmp_path / "page.md")
    assert scale.main(["--write"]) == 0
    assert (tmp_path / "page.md").read_text() == scale.page()
