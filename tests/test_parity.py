"""vlprompt gives the numbers that the authors' own code gave, and the tool that says so can say no."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.parity.__main__ import main
from benchmarks.parity.adapters import adapter_name, adapters
from benchmarks.parity.case import Case
from benchmarks.parity.compare import Answer, compare, kind_of
from benchmarks.parity.models import Models
from benchmarks.parity.replay import replay

ROOT = Path(__file__).resolve().parent.parent
GOLDENS = ROOT / "tests" / "goldens"
COOP = "coop_m4_init_words.npz"
Change = Callable[[dict[str, np.ndarray]], None]


def rows(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return json.loads(capsys.readouterr().out)


def entries(folder: Path = GOLDENS / "clip") -> list[dict[str, Any]]:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["cases"]


@pytest.fixture
def one_case(tmp_path: Path) -> Callable[..., Path]:
    """A folder with one CoOp case under another name, its manifest entry and its arrays changed as asked."""

    def make(change: Change = lambda arrays: None, **entry: Any) -> Path:
        folder = tmp_path / "given"
        folder.mkdir(exist_ok=True)
        with np.load(GOLDENS / "clip" / COOP) as stored:
            arrays = {name: stored[name].copy() for name in stored.files}
        change(arrays)
        np.savez(folder / "renamed.npz", **arrays)
        known = next(each for each in entries() if each["file"] == COOP)
        manifest = {"cases": [{**known, "file": "renamed.npz", **entry}]}
        (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        shutil.copytree(GOLDENS / "tiny_clip", tmp_path / "tiny_clip", dirs_exist_ok=True)
        return folder

    return make


def test_every_committed_case_passes(capsys: pytest.CaptureFixture[str]) -> None:
    code = main([str(GOLDENS / "clip"), "--json"])
    found = rows(capsys)
    assert [row["file"] for row in found if row["status"] != "pass"] == []
    assert code == 0
    assert {row["adapter"] for row in found} >= {"zero_shot", "coop", "coop_schedule", "few_shot", "base_new"}


def test_every_shared_case_with_an_adapter_passes(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main([str(shared / "goldens" / "clip"), "--json"])
    found = rows(capsys)
    assert [row["file"] for row in found if row["status"] == "fail"] == []
    assert code == 0
    assert sum(row["status"] == "pass" for row in found) >= len(entries())


def test_every_shared_case_of_vision_with_an_adapter_passes(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main([str(shared / "goldens" / "vision"), "--json"])
    rows = json.loads(capsys.readouterr().out)
    assert code == 0, [row for row in rows if row["status"] == "fail"]
    assert sum(row["status"] == "pass" for row in rows) >= 8


def test_every_shared_text_case_passes(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(shared / "goldens" / "text"), "--json"])
    found = rows(capsys)
    left = {row["file"]: row["problem"] for row in found if row["status"] != "pass"}
    assert not left, left
    assert len(found) >= 75


def test_committed_goldens_are_the_shared_ones(shared: Path) -> None:
    for entry in entries():
        name = entry["file"]
        assert (GOLDENS / "clip" / name).read_bytes() == (shared / "goldens" / "clip" / name).read_bytes()


def test_committed_goldens_are_small() -> None:
    assert sum(path.stat().st_size for path in GOLDENS.rglob("*") if path.is_file()) <= 5_000_000


def test_all_outputs_of_a_case_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    main([str(GOLDENS / "clip"), "--method", "CoOp", "--json"])
    given = {"classnames", "images", "labels", "ctx_init", "train_impath", "train_label", "val_impath", "val_label"}
    given |= {f"c{case}_{split}_label" for case in range(9) for split in ("train", "val", "test")}
    for row in rows(capsys):
        stored = set(next(entry for entry in entries() if entry["file"] == row["file"])["arrays"])
        assert stored - set(row["arrays"]) <= given


def nudge(name: str, by: float) -> Change:
    def change(arrays: dict[str, np.ndarray]) -> None:
        flat = arrays[name].reshape(-1)
        flat[-1] += by
        arrays[name] = flat.reshape(arrays[name].shape)

    return change


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
    one_case: Callable[..., Path], capsys: pytest.CaptureFixture[str], name: str, by: float
) -> None:
    assert main([str(one_case(nudge(name, by))), "--json"]) == 1
    (row,) = rows(capsys)
    assert row["status"] == "fail"
    assert not row["arrays"][name]["ok"]
    if name != "ctx_init":  # an input too: all that follows from it is off
        assert row["worst_array"] == name
        assert row["worst_abs"] == pytest.approx(by, rel=0.2)


@pytest.mark.parametrize(
    "hyper", [{"weight_decay": 0.5}, {"momentum": 0.0}, {"lr": 0.003}, {"optimizer": "adam"}, {"nesterov": True}]
)
def test_other_training_settings_fail(one_case: Callable[..., Path], hyper: Mapping[str, Any]) -> None:
    known = next(each for each in entries() if each["file"] == COOP)
    assert main([str(one_case(hyperparameters={**known["hyperparameters"], **hyper}))]) == 1


def test_the_position_of_the_name_matters(one_case: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    known = next(each for each in entries() if each["file"] == COOP)
    assert main([str(one_case(hyperparameters={**known["hyperparameters"], "class_token_position": "front"}))]) == 1
    assert "text_features off by" in capsys.readouterr().out


def test_a_renamed_file_passes(one_case: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(one_case())]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 passed, 0 failed, 0 skipped"


def test_a_wrong_shape_fails(one_case: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    def cut(arrays: dict[str, np.ndarray]) -> None:
        arrays["logits"] = arrays["logits"][:, :-1]

    assert main([str(one_case(cut)), "--json"]) == 1
    (row,) = rows(capsys)
    assert row["worst_array"] == "logits"
    assert row["worst_abs"] is None  # JSON has no infinity
    assert "shape (8, 7), stored (8, 6)" in row["arrays"]["logits"]["note"]


def test_an_array_nobody_knows_fails(one_case: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(one_case(lambda arrays: arrays.update(new=np.zeros(2))))]) == 1
    out = capsys.readouterr().out
    assert "unknown array new" in out
    assert out.splitlines()[-1] == "0 passed, 1 failed, 0 skipped"


def test_a_lacking_input_fails_and_is_named(one_case: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(one_case(lambda arrays: arrays.pop("images")))]) == 1
    assert "the case holds no 'images'" in capsys.readouterr().out


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
    ("asked", "count"), [("coop", 9), ("ZERO_SHOT", 4), ("ensemble", 2), ("few-shot", 1), ("Dassl learning", 1)]
)
def test_method_picks_by_beginning_then_by_part(
    asked: str, count: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for adapter in adapters().values():  # only the picking is at stake
        monkeypatch.setattr(adapter, "replay", lambda case, models: case.arrays)
    main([str(GOLDENS / "clip"), "--method", asked, "--json"])
    assert len(rows(capsys)) == count


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "manifest.json"),
        ("{", "no manifest"),
        ("[]", "no manifest"),
        ('{"cases": [{"method": "CoOp"}]}', "'file'"),
        ('{"cases": [{"method": "CoOp", "file": "gone.npz"}]}', "gone.npz"),
        ('{"cases": [{"method": "CoOp", "file": "manifest.json"}]}', "damaged"),
    ],
)
def test_broken_input_is_one_line_and_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, said: str
) -> None:
    if text is not None:
        (tmp_path / "manifest.json").write_text(text, encoding="utf-8")
    assert main([str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_a_missing_or_damaged_model_is_one_line_and_code_2(
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


def test_a_method_that_is_not_there_names_those_that_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(GOLDENS / "clip"), "--method", "zero-shod"]) == 2
    assert "zero-shot CLIP (single template)" in capsys.readouterr().err


def test_the_cut_down_model_knows_no_word_that_was_left_out() -> None:
    features = Models(GOLDENS).clip.encode_texts(["a photo of a zeppelin."])
    assert features.isnan().any()


def test_the_command_line(one_case: Callable[..., Path]) -> None:
    command = [sys.executable, "-m", "benchmarks.parity", str(one_case(nudge("loss", 1.0)))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "0 passed, 1 failed, 0 skipped"


def test_an_answer_can_leave_entries_out_or_compare_something_else() -> None:
    stored = np.array([1.0, 2.0])
    ours = torch.tensor([1.0, 5.0])
    assert not compare("ctx", stored, ours).ok
    assert compare("ctx", stored, Answer(ours, where=np.array([True, False]))).ok
    assert compare("ctx", stored, Answer(ours, stored=np.array([1.0, 5.0]))).ok
    assert not compare("ctx", stored, torch.tensor([1.0, torch.nan])).ok
    assert compare("loss_u", np.array([np.nan]), torch.tensor([torch.nan])).ok


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("grad.meta_net.linear1.weight", "gradient"),
        ("grad_ctx_steps", "gradient"),
        ("lr_iterations", "learning rate"),
        ("loss_x_steps", "loss"),
        ("entropy_views", "loss"),
        ("logits_final", "logits"),
        ("image_features", "features"),
        ("meta_bias", "features"),
        ("step1.meta_net.linear1.bias", "trainable"),
        ("ctx_steps", "trainable"),
    ],
)
def test_arrays_fall_under_the_tolerances_of_the_manifest(name: str, kind: str) -> None:
    assert kind_of(name, np.zeros(1, np.float32)).name == kind
    assert kind_of(name, np.zeros(1, np.int32)).name == "exact"


def test_a_crash_fails_its_own_case_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(case: Case, models: Models) -> None:
        raise IndexError("too far")

    monkeypatch.setattr(adapters()["coop"], "replay", crash)
    row = replay(Case("CoOp", "any.npz", {}, {}), "coop", Models(GOLDENS))
    assert (row.status, row.problem) == ("fail", "IndexError: too far")
