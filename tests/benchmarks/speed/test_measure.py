"""Timing, memory, matrix products, and taking a benchmark's measurements."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks.speed.common import measure, records
from benchmarks.speed.common.baseline import difference
from benchmarks.speed.common.records import Record
from vlprompt.backbones.matmul import fast_matmul


@pytest.fixture
def take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Takes the measurements of a benchmark that yields one record; the file of results is also the committed one."""
    monkeypatch.setattr(measure, "RESULTS", tmp_path / "r.jsonl")

    def run(figures: dict[str, float], *, save: bool = True) -> int:
        benchmark: Any = SimpleNamespace(run=lambda quick: [Record("it", {"classes": 1}, figures)])
        return measure.take(benchmark, quick=False, results=tmp_path / "r.jsonl" if save else None)

    return run


def test_results_are_appended(take: Callable[..., int], tmp_path: Path) -> None:
    assert take({"seconds": 0.5}, save=False) == 0
    assert not (tmp_path / "r.jsonl").exists()
    take({"seconds": 0.5})
    take({"seconds": 0.5})
    assert [line["figures"] for line in records.read(tmp_path / "r.jsonl")] == [{"seconds": 0.5}] * 2


def test_a_lower_ratio_is_a_failure(take: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert [take({"times_faster": value}) for value in (2.0, 1.8, 1.5, 1.5)] == [0, 0, 1, 0]
    assert "SLOWER: times_faster is 1.5, was 1.8" in capsys.readouterr().out


def test_sides_are_timed_in_turn() -> None:
    calls: list[str] = []
    found = measure.in_turn([(lambda: calls.append("a"), 2), (lambda: calls.append("b") or len(calls), 1)], 2)
    assert calls == ["a", "a", "b"] * 2
    assert [value for _, value in found] == [None, 6]


def test_saved_storages_count_once_and_weights_do_not_count() -> None:
    weights = torch.ones(1000, requires_grad=True)
    result, kept = measure.kept_bytes(lambda: weights.exp().view(10, 100)[:, :50].square().sum())
    assert kept == 4000  # exp saves its result, square half of the same storage
    result.backward()
    assert difference(weights.grad[:50], torch.full((50,), 2 * torch.e**2)) < 1e-6
    assert measure.kept_bytes(lambda: weights.square().sum())[1] == 4000
    assert measure.kept_bytes(lambda: weights.square().sum(), exclude=[weights])[1] == 0
    with torch.no_grad():
        assert measure.kept_bytes(lambda: weights.square().sum())[1] == 0


def test_both_sides_use_the_same_library_for_products() -> None:
    setting = getattr(torch.backends.mkldnn, "matmul", None)
    if setting is None:
        pytest.skip("torch has no such setting")
    seen, before = [], setting.fp32_precision

    def run(quick: bool) -> list[Record]:
        with fast_matmul():
            seen.append(setting.fp32_precision)
        return []

    for benchmark in (SimpleNamespace(run=run), SimpleNamespace(run=run, FAST_MATMUL=True)):
        measure.take(benchmark, quick=True, results=None)  # type: ignore[arg-type]
    assert seen[0] == "ieee"
    assert seen[1] != "ieee"
    assert setting.fp32_precision == before
