"""Matlab's files; a damaged one must not end the process."""

import contextlib
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from vlprompt.data.readers import mat
from vlprompt.data.readers.listing import DataError

CELLS = np.array(["a/b.jpg", "c/d.jpg"], dtype=object).reshape(-1, 1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    savemat(tmp_path / "list.mat", {"file_list": CELLS, "labels": np.ones((2, 1))})
    return tmp_path / "list.mat"


def test_cells_of_text_and_numbers_are_read(file: Path) -> None:
    arrays = mat.read_mat(file, ("file_list", "labels"))
    assert arrays["file_list"].tolist() == ["a/b.jpg", "c/d.jpg"]
    assert arrays["labels"].tolist() == [[1.0], [1.0]]


def test_a_missing_array_is_named(file: Path) -> None:
    with pytest.raises(DataError, match=r"list.mat has no 'X'; it holds file_list, labels."):
        mat.read_mat(file, ("X",))
    with pytest.raises(DataError, match="missing file"):
        mat.read_mat(file.with_name("gone.mat"), ("X",))


@pytest.mark.parametrize(("byte", "bit"), [(144, 2), (130, 0), (136, 7), (200, 4), (260, 1)])
def test_a_changed_bit_ends_in_one_line_or_in_arrays(file: Path, byte: int, bit: int) -> None:
    content = bytearray(file.read_bytes())
    content[byte] ^= 1 << bit  # the first one makes scipy read outside of its memory
    file.write_bytes(content)
    with contextlib.suppress(DataError):
        mat.read_mat(file, ("file_list", "labels"))


@pytest.mark.parametrize("content", [b"", b"MATLAB", b"\x00" * 200])
def test_what_is_no_such_file_is_one_line(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"list.mat is not a readable .mat file: .*; get it again."):
        mat.read_mat(file, ("X",))


def test_cells_within_cells_are_refused(file: Path) -> None:
    inner = np.empty(1, dtype=object)
    inner[0] = np.array(["a", "b"], dtype=object)
    savemat(file, {"X": inner})
    with pytest.raises(DataError, match=r"is not a readable .mat file"):
        mat.read_mat(file, ("X",))


def test_a_reader_that_does_not_end_is_stopped(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **options: Any) -> None:
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(DataError, match="was not read in 300 s"):
        mat.read_mat(file, ("X",))
