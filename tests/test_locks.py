"""Locks: one at a time, free when their holder ends in whatever way."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from vlprompt.locks import alone

HOLD = """
import sys, time
from pathlib import Path
from vlprompt.locks import alone
with alone(Path(sys.argv[1])):
    print("inside", flush=True)
    time.sleep(100)
"""
COUNT = """
import sys
from pathlib import Path
from vlprompt.locks import alone
folder = Path(sys.argv[1])
for _ in range(200):
    with alone(folder / "lock"):
        number = int((folder / "number").read_text())
        (folder / "number").write_text(str(number + 1))
"""


def test_a_killed_holder_frees_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "inside\n"
    holder.kill()
    began = time.monotonic()
    with alone(path):
        assert time.monotonic() - began < 30
        assert path.exists()
    holder.communicate()
    assert not path.exists()


def test_nobody_else_is_inside(tmp_path: Path) -> None:
    """Though the file is removed and made anew all the time."""
    (tmp_path / "number").write_text("0")
    counters = [subprocess.Popen([sys.executable, "-c", COUNT, str(tmp_path)]) for _ in range(3)]
    assert [counter.wait() for counter in counters] == [0, 0, 0]
    assert (tmp_path / "number").read_text() == "600"


def test_an_error_inside_frees_it(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), alone(tmp_path / "lock"):
        raise ZeroDivisionError
    with alone(tmp_path / "lock"):
        pass
