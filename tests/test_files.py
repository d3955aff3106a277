"""Locks: one process at a time, released whenever their holder ends; and files that are written completely."""

import subprocess
import sys
from pathlib import Path

import pytest

from vlprompt.errors import VlpromptError
from vlprompt.files import alone, write_files

HOLD = """
import sys, time
from pathlib import Path
from vlprompt.files import alone
with alone(Path(sys.argv[1])):
    print("inside", flush=True)
    time.sleep(100)
"""
COUNT = """
import sys
from pathlib import Path
from vlprompt.files import alone
folder = Path(sys.argv[1])
for _ in range(200):
    with alone(folder / "lock"):
        number = int((folder / "number").read_text())
        (folder / "number").write_text(str(number + 1))
"""


def test_a_killed_process_releases_its_lock(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "inside\n"
    holder.kill()
    with alone(path):  # waits for ever if the lock was not released
        assert path.exists()
    holder.communicate()
    assert path.exists(), "the file stays: two processes must not lock two files of one name"


def test_one_process_at_a_time_has_the_lock(tmp_path: Path) -> None:
    (tmp_path / "number").write_text("0")
    counters = [subprocess.Popen([sys.executable, "-c", COUNT, str(tmp_path)]) for _ in range(3)]
    assert [counter.wait() for counter in counters] == [0, 0, 0]
    assert (tmp_path / "number").read_text() == "600"


def test_an_error_releases_the_lock(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), alone(tmp_path / "lock"):
        raise ZeroDivisionError
    with alone(tmp_path / "lock"):
        pass


def test_all_files_are_written_or_none(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_bytes(b"before")
    (tmp_path / "taken").touch()
    with pytest.raises(VlpromptError, match=r"taken/new could not be written .*; its earlier content is unchanged"):
        write_files({old: b"after", tmp_path / "taken" / "new": b"after"})
    assert old.read_bytes() == b"before"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["old", "taken"]
    write_files({old: b"after", tmp_path / "deep" / "new": b"after"})
    assert old.read_bytes() == (tmp_path / "deep" / "new").read_bytes() == b"after"
