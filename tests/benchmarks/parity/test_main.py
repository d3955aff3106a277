"""The command: selection of methods, exit codes, one-line errors."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.parity.__main__ import main
from benchmarks.parity.adapters import adapter_name, adapters
from benchmarks.parity.models import Models

ROOT = Path(__file__).resolve().parents[3]


def test_an_unknown_method_has_no_adapter(one_case: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(one_case(method="A Method To Come"))]) == 0
    out = capsys.readouterr().out
    assert "no adapter" in out
    assert out.splitlines()[-1] == "0 passed, 0 failed, 1 skipped"


@pytest.mark.parametrize(
    ("method", "adapter"),
    [
        ("CoOp", "coop"),
        ("coop (class-specific contexts)", "coop"),
        ("CoOp (several epochs with the learning-rate schedule)", "coop_schedule"),
        ("CoOp/Dassl few-shot sampling", "few_shot"),
        ("CoOp base/new class split", "base_new"),
        ("Dassl learning-rate schedules", "lr_schedule"),
        ("zero-shot CLIP (80-template ensemble)", "zero_shot"),
        ("TPT", "tpt"),
        ("TPT + CoCoOp", "tpt"),
        ("CoOperative game", ""),
    ],
)
def test_methods_find_their_adapters(method: str, adapter: str) -> None:
    assert adapter_name(method) == adapter


@pytest.mark.parametrize(
    ("method", "count"), [("coop", 9), ("ZERO_SHOT", 4), ("ensemble", 2), ("few-shot", 1), ("Dassl learning", 1)]
)
def test_method_selects_by_start_then_by_part(
    method: str, count: int, goldens: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for adapter in adapters().values():  # only the selection is tested
        monkeypatch.setattr(adapter, "replay", lambda case, models: case.arrays)
    main([str(goldens / "clip"), "--method", method, "--json"])
    assert len(json.loads(capsys.readouterr().out)) == count


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "manifest.json"),
        ("{", "is not a manifest"),
        ("[]", "is not a manifest"),
        ('{"cases": [{"method": "CoOp"}]}', "'file'"),
        ('{"cases": [{"method": "CoOp", "file": "gone.npz"}]}', "gone.npz"),
        ('{"cases": [{"method": "CoOp", "file": "manifest.json"}]}', "damaged"),
    ],
)
def test_broken_input_is_a_one_line_error_with_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, message: str
) -> None:
    if text is not None:
        (tmp_path / "manifest.json").write_text(text, encoding="utf-8")
    assert main([str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_a_missing_or_damaged_model_is_a_one_line_error_with_code_2(
    one_case: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = one_case()
    assert main([str(folder), "--models", str(tmp_path / "nowhere")]) == 2
    (tmp_path / "tiny_clip" / "cut_down.safetensors").write_bytes(b"no weights")
    assert main([str(folder)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "--models" in lines[0]
    assert "cannot be read" in lines[1]


def test_an_unknown_method_is_an_error_with_the_nearest_names(
    goldens: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(goldens / "clip"), "--method", "zero-shod"]) == 2
    assert "zero-shot CLIP (single template)" in capsys.readouterr().err


def test_left_out_words_of_the_cut_down_model_are_nan(goldens: Path) -> None:
    features = Models(goldens).clip.encode_texts(["a photo of a zeppelin."])
    assert features.isnan().any()


def test_the_command_line(one_case: Callable[..., Path], add_to: Callable[..., Any]) -> None:
    command = [sys.executable, "-m", "benchmarks.parity", str(one_case(add_to("loss", 1.0)))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "0 passed, 1 failed, 0 skipped"
