"""Locks: one process at a time, released whenever their holder ends; whole files; JSON and files of others."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vlprompt.errors import VlpromptError
from vlprompt.files import alone, parse_json, refuse_special, write_files

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


JSON_FAULTS = {
    '{"a": ': "is not valid JSON",
    "": "is not valid JSON",
    "[" * 100_000: "nested too deeply",
    "[" * 150 + "]" * 150: "nested too deeply",
    '{"a":' * 120 + "1" + "}" * 120: "nested too deeply",
    "1" * 5000: "is not valid JSON",
    "NaN": "NaN is not a finite number",
    '{"a": [-Infinity]}': "-Infinity is not a finite number",
    "1e999": "1e999 is not a finite number",
    '"\\ud800"': "half of a surrogate pair",
    '{"a": {"\\uDFFF": 1}}': "half of a surrogate pair",
}


@pytest.mark.parametrize("text", JSON_FAULTS, ids=lambda text: text[:20])
@pytest.mark.parametrize("encode", [str, str.encode])
def test_faults_of_json_are_one_line(text: str, encode: Callable[[str], str | bytes]) -> None:
    with pytest.raises(VlpromptError, match=JSON_FAULTS[text]) as caught:
        parse_json(encode(text), "line 3 of a.jsonl")
    assert str(caught.value).startswith("line 3 of a.jsonl ")
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(VlpromptError, match="is not valid JSON"):
        parse_json(b'{"a": "\xff"}', "a.json")


@pytest.mark.parametrize("text", ['"\\ud83d\\ude00"', '"😀"'])
def test_whole_surrogate_pairs_are_text(text: str) -> None:
    assert parse_json(text, "") == "😀"


def test_plain_json_is_parsed() -> None:
    assert parse_json('{"a": [1, 2.5, null, "b"]}', "") == {"a": [1, 2.5, None, "b"]}
    assert parse_json("[" * 100 + "]" * 100, "")
    assert parse_json(b"\xef\xbb\xbf[1]", "") == [1]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes_and_devices_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path / "link", Path("/dev/zero")):
        with pytest.raises(VlpromptError, match="is a device, a pipe or a socket"):
            refuse_special(path)
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file", tmp_path / "missing", Path("a\0b")):
        refuse_special(path)
