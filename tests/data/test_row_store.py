import multiprocessing
import sqlite3
import time
import warnings
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from vlprompt.data import row_store
from vlprompt.data.row_store import RowStore
from vlprompt.errors import VlpromptWarning

LIMIT = 2**26


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def values(*numbers: int, size: int = 100) -> dict[bytes, bytes]:
    return {key(number): bytes([number % 256]) * size for number in numbers}


def in_turn(*calls: Callable[[], object]) -> None:
    for call in calls:
        call()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "features.sqlite"


def test_reads_what_was_stored(file: Path) -> None:
    RowStore(file, LIMIT).write("clip", values(1, 2))
    again = RowStore(file, LIMIT)
    assert again.read([key(2), key(1), key(3)]) == values(1, 2)
    again.write("clip", {key(2): b"new"})
    assert again.read([key(2)]) == {key(2): b"new"}
    assert again.count() == {"clip": 2}


def test_reads_thousands_of_keys_at_once(file: Path) -> None:
    store = RowStore(file, LIMIT)
    store.write("clip", values(*range(1700), size=4))
    assert len(store.read([key(i) for i in range(3000)])) == 1700


def test_reading_creates_no_file(file: Path) -> None:
    store = RowStore(file, LIMIT)
    assert store.read([key(1)]) == {}
    assert store.count() == {}
    store.clear()
    assert not file.parent.exists()


def test_stores_digests(file: Path) -> None:
    store = RowStore(file, LIMIT)
    store.write_digests({"a|1|2": "d1", "b|1|2": "d2"})
    assert store.read_digests(["b|1|2", "c"]) == {"b|1|2": "d2"}


def test_clears_one_space_or_everything(file: Path) -> None:
    store = RowStore(file, LIMIT)
    store.write("one", values(*range(500), size=2000))
    store.write("two", values(1000))
    full = file.stat().st_size
    store.clear("one")
    assert store.count() == {"two": 1}
    assert file.stat().st_size < full / 4
    store.write_digests({"a": "d"})
    store.clear()
    assert store.count() == {}
    assert store.read_digests(["a"]) == {}


def test_the_least_recently_used_rows_are_dropped_first(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_000_000.0]
    monkeypatch.setattr(row_store.time, "time", lambda: now[0])
    store = RowStore(file, 2**20)
    for number in range(8):
        now[0] += 10_000
        store.write("clip", values(number, size=100_000))
    now[0] += 10_000
    assert list(store.read([key(0)])) == [key(0)]  # used again
    for number in range(8, 14):
        now[0] += 10_000
        store.write("clip", values(number, size=100_000))
    kept = {number for number in range(14) if store.read([key(number)])}
    assert {0, 13} <= kept
    assert kept.isdisjoint({1, 2, 3})
    assert file.stat().st_size < 1.3 * 2**20


def test_a_limit_of_zero_stores_nothing(file: Path) -> None:
    store = RowStore(file, 0)
    store.write("clip", values(1))
    assert not file.exists()
    assert store.read([key(1)]) == {}


@pytest.mark.parametrize("damage", ["text", "cut", "scribbled", "foreign"])
def test_a_damaged_file_is_renamed_and_a_new_one_begun(file: Path, damage: str) -> None:
    RowStore(file, LIMIT).write("clip", values(*range(300)))
    content = file.read_bytes()
    if damage == "text":
        file.write_text("this was never a data base" * 100)
    elif damage == "cut":
        file.write_bytes(content[: len(content) // 3])
    elif damage == "scribbled":
        file.write_bytes(content[:4096] + b"\xa5" * (len(content) - 4096))
    else:
        file.unlink()
        with sqlite3.connect(file) as other:
            other.execute("CREATE TABLE photos (name TEXT)")
        other.close()
    store = RowStore(file, LIMIT)
    with pytest.warns(VlpromptWarning, match="renamed and a new one begun") as caught:
        in_turn(lambda: store.read([key(i) for i in range(300)]), lambda: store.write("clip", values(7)))
    assert len(caught) == 1
    assert store.read([key(7)]) == values(7)
    assert Path(f"{file}.damaged").exists()
    assert RowStore(file, LIMIT).read([key(7)]) == values(7)


def test_a_row_with_a_flipped_bit_is_not_read(file: Path) -> None:
    store = RowStore(file, LIMIT)
    store.write("clip", {key(1): b"A" * 64, key(2): b"B" * 64})
    content = file.read_bytes()
    file.write_bytes(content.replace(b"A" * 64, b"A" * 63 + b"C"))
    assert store.read([key(1), key(2)]) == {key(2): b"B" * 64}


def test_an_empty_file_is_a_new_one(file: Path) -> None:
    file.parent.mkdir()
    file.touch()
    store = RowStore(file, LIMIT)
    assert store.read([key(1)]) == {}
    store.write("clip", values(1))
    assert store.read([key(1)]) == values(1)


def test_a_full_disk_is_one_warning(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = RowStore(file, LIMIT)
    store.write("clip", values(1))
    connect = sqlite3.connect

    def small_disk(*args: object, **options: object) -> sqlite3.Connection:
        database: sqlite3.Connection = connect(*args, **options)  # type: ignore[call-overload]
        database.execute("PRAGMA max_page_count = 12")
        return database

    monkeypatch.setattr(row_store.sqlite3, "connect", small_disk)
    with pytest.warns(VlpromptWarning, match="full.*features are not stored from here on") as caught:
        in_turn(
            lambda: store.write("clip", values(*range(100, 200), size=5000)), lambda: store.write("clip", values(2))
        )
    assert len(caught) == 1
    assert store.read([key(1), key(150), key(2)]) == values(1)


def test_a_folder_that_cannot_be_created_is_one_warning(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = RowStore(tmp_path / "file" / "features.sqlite", LIMIT)
    with pytest.warns(VlpromptWarning, match="cannot be used") as caught:
        in_turn(lambda: store.write("clip", values(1)), lambda: store.write("clip", values(2)))
    assert len(caught) == 1
    assert store.read([key(1)]) == {}


def test_a_store_that_cannot_be_written_can_be_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    RowStore(file, LIMIT).write("clip", values(1))
    connect = sqlite3.connect
    read_only = f"file:{file}?mode=ro"
    monkeypatch.setattr(row_store.sqlite3, "connect", lambda _, **options: connect(read_only, uri=True, **options))
    monkeypatch.setattr(row_store, "FRESH", -10)  # so that reading updates the time of use
    store = RowStore(file, LIMIT)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert store.read([key(1)]) == values(1)
    again = RowStore(file, LIMIT)
    with pytest.warns(VlpromptWarning, match="readonly"):
        again.write("clip", values(2))
    assert again.read([key(1)]) == values(1)


def test_a_lock_that_never_opens_is_one_warning(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    RowStore(file, LIMIT).write("clip", values(1))
    monkeypatch.setattr(row_store, "WAIT", 0.05)
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    store = RowStore(file, LIMIT)
    with pytest.warns(VlpromptWarning, match="locked") as caught:
        in_turn(lambda: store.read([key(1)]), lambda: store.write("clip", values(2)), lambda: store.read([key(1)]))
    assert len(caught) == 1
    assert store.read([key(1)]) == {}
    other.close()


def write_rows(file: Path, start: int, count: int) -> None:
    """Write rows as one program; a warning ends it with an error."""
    warnings.simplefilter("error")
    store = RowStore(file, 2**30)
    for number in range(start, start + count):
        store.write("clip", values(number, size=20_000))


def program(file: Path, start: int, count: int) -> BaseProcess:
    process = multiprocessing.get_context("fork").Process(target=write_rows, args=(file, start, count))
    process.start()
    return process


def test_two_programs_write_at_once(file: Path) -> None:
    programs = [program(file, start, 60) for start in (0, 30)]
    for each in programs:
        each.join(60)
        assert each.exitcode == 0
    assert RowStore(file, LIMIT).read([key(i) for i in range(90)]) == values(*range(90), size=20_000)


def test_killing_a_writer_leaves_whole_rows(file: Path) -> None:
    for attempt in range(3):
        first = 1000 * attempt
        writer = program(file, first, 100_000)
        while not RowStore(file, LIMIT).read([key(first + attempt)]):
            time.sleep(0.02)
        writer.kill()
        writer.join()
        found = RowStore(file, LIMIT).read([key(i) for i in range(first + 900)])
        assert len(found) > attempt
        assert all(found[k] == values(int.from_bytes(k, "big"), size=20_000)[k] for k in found)
    RowStore(file, LIMIT).write("clip", values(5))
    assert RowStore(file, LIMIT).read([key(5)]) == values(5)
