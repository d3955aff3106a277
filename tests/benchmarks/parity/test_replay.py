"""A changed case fails, and the report names the reason."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.parity.__main__ import main
from benchmarks.parity.adapters import adapters
from benchmarks.parity.case import Case
from benchmarks.parity.models import Models
from benchmarks.parity.replay import replay


def row_of(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    (row,) = json.loads(capsys.readouterr().out)
    return row


@pytest.mark.parametrize(
    ("name", "by"),
    [
        ("ctx_init", 1e-4),
        ("name_lens", 1),
        ("tokenized_prompts", 1),
        ("text_features", 1e-4),
        ("logits", 1e-3),
        ("loss", 1e-4),
        ("grad_ctx", 1e-2),
        ("loss_steps", 1e-4),
        ("ctx_steps", 1e-4),
        ("logits_final", 1e-3),
    ],
)
def test_a_changed_output_fails(
    one_case: Callable[..., Path], add_to: Callable[..., Any], capsys: pytest.CaptureFixture[str], name: str, by: float
) -> None:
    assert main([str(one_case(add_to(name, by))), "--json"]) == 1
    row = row_of(capsys)
    assert row["status"] == "fail"
    assert not row["arrays"][name]["ok"]
    if name != "ctx_init":  # also an input, so everything that depends on it differs
        assert row["worst_array"] == name
        assert row["worst_abs"] == pytest.approx(by, rel=0.2)


@pytest.mark.parametrize(
    "hyper", [{"weight_decay": 0.5}, {"momentum": 0.0}, {"lr": 0.003}, {"optimizer": "adam"}, {"nesterov": True}]
)
def test_other_training_settings_fail(
    one_case: Callable[..., Path], coop_entry: dict[str, Any], hyper: Mapping[str, Any]
) -> None:
    assert main([str(one_case(hyperparameters={**coop_entry["hyperparameters"], **hyper}))]) == 1


def test_another_position_of_the_class_name_fails(
    one_case: Callable[..., Path], coop_entry: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    hyper = {**coop_entry["hyperparameters"], "class_token_position": "front"}
    assert main([str(one_case(hyperparameters=hyper))]) == 1
    assert "text_features off by" in capsys.readouterr().out


def test_a_renamed_file_passes(one_case: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(one_case())]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 passed, 0 failed, 0 skipped"


def test_a_wrong_shape_fails(one_case: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    def cut(arrays: dict[str, np.ndarray]) -> None:
        arrays["logits"] = arrays["logits"][:, :-1]

    assert main([str(one_case(cut)), "--json"]) == 1
    row = row_of(capsys)
    assert row["worst_array"] == "logits"
    assert row["worst_abs"] is None  # JSON has no infinity
    assert "shape (8, 7), stored (8, 6)" in row["arrays"]["logits"]["note"]


def test_an_unknown_array_fails(one_case: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(one_case(lambda arrays: arrays.update(new=np.zeros(2))))]) == 1
    out = capsys.readouterr().out
    assert "unknown array new" in out
    assert out.splitlines()[-1] == "0 passed, 1 failed, 0 skipped"


def test_a_missing_input_fails_and_is_named(one_case: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(one_case(lambda arrays: arrays.pop("images")))]) == 1
    assert "the case lacks 'images'" in capsys.readouterr().out


def test_a_crash_fails_its_own_case_only(monkeypatch: pytest.MonkeyPatch, goldens: Path) -> None:
    def crash(case: Case, models: Models) -> None:
        raise IndexError("too far")

    monkeypatch.setattr(adapters()["coop"], "replay", crash)
    row = replay(Case("CoOp", "any.npz", {}, {}), "coop", Models(goldens))
    assert (row.status, row.problem) == ("fail", "IndexError: too far")
