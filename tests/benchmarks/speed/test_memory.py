"""Benchmarks of peak memory."""

from types import ModuleType

import pytest

from benchmarks.speed import memory, tpt_memory


@pytest.mark.parametrize("benchmark", [memory, tpt_memory])
def test_too_much_memory_misses_the_target(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "MOST_GB", 0.0)
    (record,) = benchmark.run(quick=True)
    assert "peak_gb" in record.missed[0]
