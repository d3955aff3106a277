"""The command: which benchmarks exist, processes, results."""

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.speed import __main__ as command

ROOT = Path(__file__).resolve().parents[3]


def test_every_module_is_a_benchmark() -> None:
    folder = ROOT / "benchmarks" / "speed"
    measuring = [path.stem for path in folder.glob("*.py") if "\ndef run(quick: bool" in path.read_text()]
    assert command.names() == sorted(measuring)


def test_a_benchmark_runs_in_its_own_process(tmp_path: Path) -> None:
    path = tmp_path / "new" / "r.jsonl"
    options = ["memory", "--quick", "--results", str(path)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.speed", *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "memory: small" in done.stdout
    text = path.read_text()
    (line,) = map(json.loads, text.splitlines())
    assert line["figures"]["peak_gb"] > line["figures"]["loaded_gb"] * 0.99
    assert platform.node() not in text or not platform.node()
    assert str(Path.home()) not in text
    assert str(ROOT) not in text


def test_an_unknown_name_is_answered_with_all_benchmarks(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["speling"])
    assert "text_side" in capsys.readouterr().err
