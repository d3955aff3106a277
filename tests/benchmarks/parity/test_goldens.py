"""vlprompt computes the numbers of the authors' own code."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.parity.__main__ import main


def rows(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return json.loads(capsys.readouterr().out)


def test_every_committed_case_passes(goldens: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main([str(goldens / "clip"), "--json"])
    found = rows(capsys)
    assert [row["file"] for row in found if row["status"] != "pass"] == []
    assert code == 0
    assert {row["adapter"] for row in found} >= {"zero_shot", "coop", "coop_schedule", "few_shot", "base_new"}


@pytest.mark.parametrize(
    ("folder", "passes"), [("clip", 27), ("clip_more", 36), ("vision", 16), ("vision_more", 12), ("text", 75)]
)
def test_every_shared_case_passes(folder: str, passes: int, shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main([str(shared / "goldens" / folder), "--json"])
    found = rows(capsys)
    assert {row["file"]: row["problem"] for row in found if row["status"] == "fail"} == {}
    assert code == 0
    assert sum(row["status"] == "pass" for row in found) >= passes


def test_committed_goldens_are_the_shared_ones(goldens: Path, entries: list[dict[str, Any]], shared: Path) -> None:
    for entry in entries:
        name = entry["file"]
        assert (goldens / "clip" / name).read_bytes() == (shared / "goldens" / "clip" / name).read_bytes()


def test_committed_goldens_are_small(goldens: Path) -> None:
    assert sum(path.stat().st_size for path in goldens.rglob("*") if path.is_file()) <= 5_000_000


def test_all_outputs_of_a_case_are_compared(
    goldens: Path, entries: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(goldens / "clip"), "--method", "CoOp", "--json"])
    given = {"classnames", "images", "labels", "ctx_init", "train_impath", "train_label", "val_impath", "val_label"}
    given |= {f"c{case}_{split}_label" for case in range(9) for split in ("train", "val", "test")}
    for row in rows(capsys):
        stored = set(next(entry for entry in entries if entry["file"] == row["file"])["arrays"])
        assert stored - set(row["arrays"]) <= given
