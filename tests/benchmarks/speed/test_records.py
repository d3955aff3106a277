"""Records, comparison with earlier ones, and the summary."""

from pathlib import Path
from typing import Any

from benchmarks.speed.common import records, tables


def line(benchmark: str = "it", *, cpu: str = "one", date: str = "2026-01-01", **figures: float) -> dict[str, Any]:
    machine = {"cpu": cpu, "threads": 2, "torch": date}
    setting = {"classes": 1, "rounds": len(figures)}
    own = {"benchmark": benchmark, "date": date, "machine": machine, "setting": setting, "figures": figures}
    return {**own, "missed": []}


def test_missed_targets_are_named() -> None:
    figures = {"times_faster": 11.0, "share_of_matmul": 0.6, "features_apart": 1e-7, "gradient_apart": float("nan")}
    least, most = {"times_faster": 12, "share_of_matmul": 0.55}, {"features_apart": 1e-4, "gradient_apart": 1e-4}
    assert records.misses(figures, least=least, most=most) == [
        "times_faster is 11, target 12 or more",
        "gradient_apart is nan, target 0.0001 or less",
    ]


def test_a_lower_ratio_is_compared_with_the_last_one_of_its_kind() -> None:
    earlier = [
        line(times_faster=90.0),
        line(times_faster=20.0),
        line("other", times_faster=90.0),
        line(cpu="two", times_faster=90.0),
    ]
    assert records.slower(line(times_faster=17.1, ours_s=9.0), earlier) == []
    assert records.slower(line(times_faster=16.9), earlier) == ["times_faster is 16.9, was 20 on 2026-01-01"]
    assert records.slower(line(share_of_matmul=0.1, text_times_faster=0.1), earlier) == [], "new figures"
    assert records.slower({**line(times_faster=1.0), "setting": {"classes": 2}}, earlier) == []
    assert records.slower(line(ours_s=2.0), [line(ours_s=1.0)]) == [], "seconds are not a ratio"


def test_committed_results_are_those_of_git() -> None:
    committed = records.committed(records.RESULTS)
    assert committed
    assert records.read(records.RESULTS)[: len(committed)] == committed
    assert records.committed(Path("/nowhere/r.jsonl")) == []


def test_the_summary_shows_the_last_ratio() -> None:
    rate = {"share_of_matmul": 0.5, "gflop": 100.0, "least_s": 0.5, "ours_s": 1.0, "matmul_gflop_per_s": 200.0}
    roof = {**line("roofline", **rate), "setting": {"learner": "coop", "part": "step", "batch": 32}}
    side = {**line(ours_s=0.05, plain_s=2.0, times_faster=16.0), "missed": ["times_faster is 16, target 18 or more"]}
    text = tables.summary([roof, side, line("memory", peak_gb=2.5)], [line(times_faster=20.0)])
    rows = {row.split()[0]: " ".join(row.split()) for row in text.splitlines() if row.strip()}
    assert rows["coop,"] == "coop, step of 32 100 0.5 s 1 s 0.5 –"
    assert rows["it:"].startswith(
        "it: classes 1, rounds 3 50 ms 2 s 16 20 MISSED times_faster is 16, target 18 or more"
    )
    assert rows["it:"].endswith("SLOWER times_faster is 16, was 20 on 2026-01-01")
    assert "peak_gb 2.5" in rows["memory:"]


def test_the_processor_is_named(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: A Good One @ 3 GHz\n")
    assert records.cpu_model(info) == "A Good One @ 3 GHz"
    assert records.cpu_model(tmp_path / "none")
