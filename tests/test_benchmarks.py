"""The benchmarks run, agree with the plain way, and say when they miss a target; their figures are not judged here."""

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.speed import __main__ as command
from benchmarks.speed import measure, memory, text_side, vpt
from benchmarks.speed.measure import Record
from benchmarks.speed.models import model
from benchmarks.speed.names import names
from vlprompt.learners import CoOp, CoOpConfig

ROOT = Path(__file__).resolve().parent.parent


def read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_file_that_is_no_helper_is_a_benchmark() -> None:
    assert command.known() == ["memory", "text_side", "vpt"]
    folder = ROOT / "benchmarks" / "speed"
    assert all("\ndef run(quick: bool" in (folder / f"{name}.py").read_text() for name in command.known())


def test_the_quick_text_side_agrees_with_the_plain_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert measure.main(text_side.run, ["--quick", "--results", str(tmp_path / "r.jsonl")]) == 0
    lines = read(tmp_path / "r.jsonl")
    assert len(lines) == len(text_side.QUICK)
    assert len(capsys.readouterr().out.splitlines()) == len(text_side.QUICK)
    for line in lines:
        assert line["figures"]["features_apart"] < 1e-5
        assert line["figures"]["gradient_apart"] < 1e-5
        assert line["figures"]["ours_gflop_per_s"] > 0


def test_the_quick_vpt_step_agrees_with_the_plain_way(tmp_path: Path) -> None:
    assert measure.main(vpt.run, ["--quick", "--results", str(tmp_path / "r.jsonl")]) == 0
    step, linear = read(tmp_path / "r.jsonl")
    assert step["figures"]["scores_apart"] < 1e-5
    assert step["figures"]["gradient_apart"] < 1e-4
    assert linear["figures"]["times_faster"] > 1


def test_a_side_that_disagrees_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run = text_side.Plain.run

    def wrong(self: text_side.Plain, above: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        text, gradient = run(self, above)
        return text, gradient * 1.001

    monkeypatch.setattr(text_side.Plain, "run", wrong)
    assert measure.main(text_side.run, ["--quick", "--results", str(tmp_path / "r.jsonl")]) == 1
    assert all("gradient_apart" in line["missed"][0] for line in read(tmp_path / "r.jsonl"))


def test_missed_targets_are_named() -> None:
    setting = text_side.Setting(100, 16, rounds=1, faster=12, share=0.55)
    figures = {"times_faster": 11.0, "share_of_matmul": 0.6, "features_apart": 1e-7, "gradient_apart": 1e-7}
    assert text_side.misses(setting, figures) == ["times_faster is 11, wanted 12"]


def test_the_plain_side_in_chunks_is_the_plain_side(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = model(quick=True)
    learner = CoOp(clip, names(7), CoOpConfig(n_ctx=2))
    above = torch.randn(7, clip.embed_dim, generator=torch.Generator().manual_seed(0))
    text, gradient = text_side.Plain(clip, learner).run(above)
    monkeypatch.setattr(text_side, "PLAIN_CHUNK", 3)
    parts, summed = text_side.Plain(clip, learner).run(above)
    assert text_side.difference(parts, text) < 1e-5
    assert text_side.difference(summed, gradient) < 1e-5


def test_too_much_memory_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MOST_GB", 0.0)
    (record,) = memory.run(quick=True)
    assert "peak_gb" in record.missed[0]


def test_the_command_runs_a_benchmark_in_a_process_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "new" / "r.jsonl"
    options = ["memory", "--quick", "--results", str(path)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.speed", *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (line,) = read(path)
    assert line["figures"]["peak_gb"] > line["figures"]["loaded_gb"] * 0.99
    written = path.read_text()
    assert platform.node() not in written or not platform.node()
    assert str(Path.home()) not in written
    assert str(ROOT) not in written


def test_a_quick_run_keeps_nothing_unless_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(measure, "RESULTS", tmp_path / "r.jsonl")
    record = Record("it", {"classes": 1}, {"seconds": 0.5})
    assert measure.main(lambda quick: [record], ["--quick"]) == 0
    assert not (tmp_path / "r.jsonl").exists()
    measure.main(lambda quick: [record], [])
    measure.main(lambda quick: [record], [])
    assert [line["figures"] for line in read(tmp_path / "r.jsonl")] == [{"seconds": 0.5}] * 2


def test_the_command_names_the_benchmarks_it_has(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["speling"])
    assert "text_side" in capsys.readouterr().err


def test_sides_are_timed_in_turn() -> None:
    calls: list[str] = []
    found = measure.in_turn([(lambda: calls.append("a"), 2), (lambda: calls.append("b") or len(calls), 1)], 2)
    assert calls == ["a", "a", "b"] * 2
    assert [value for _, value in found] == [None, 6]


def test_names_are_real_and_different() -> None:
    assert names(1000)[:2] == ["apple", "aquarium fish"]
    assert len({*names(1000)}) == 1000
    with pytest.raises(ValueError, match="asked for"):
        names(10**6)


def test_the_processor_is_named(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: A Good One @ 3 GHz\n")
    assert measure.cpu_model(info) == "A Good One @ 3 GHz"
    assert measure.cpu_model(tmp_path / "none")
