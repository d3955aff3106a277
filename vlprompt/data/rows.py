"""Rows of bytes under a key, in one SQLite file: the disk half of the feature store.

A cache must never stop the work. A file that is damaged, or is something else, is set aside and a new one begun; where
the disk is full, locked or read-only, nothing is stored from then on. Either gives one warning. A connection lives for
one operation, so that no worker process inherits it. Every operation is one transaction: killing the program leaves
whole rows, and two programs can write at once.
"""

import hashlib
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from vlprompt.errors import warn
from vlprompt.locks import alone

FORMAT = 0x564C5031  # "VLP1", in SQLite's user_version
WAIT = 60.0  # seconds to wait for another program's transaction
FRESH = 3600  # seconds within which a row need not be marked as used again
CHUNK = 500  # keys in one question

SCHEMA = f"""
CREATE TABLE rows (key BLOB PRIMARY KEY, space INTEGER NOT NULL, used INTEGER NOT NULL, value BLOB NOT NULL);
CREATE INDEX rows_by_space ON rows (space);
CREATE INDEX rows_by_use ON rows (used);
CREATE TABLE spaces (id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL);
CREATE TABLE files (stamp TEXT PRIMARY KEY, digest TEXT NOT NULL);
PRAGMA user_version = {FORMAT};
"""

T = TypeVar("T")


class Rows:
    """Keys to bytes, the least recently used first to go.

    Args:
        file: The SQLite file; its folder is made when something is stored.
        limit: Bytes the file may take: beyond it rows are dropped until a tenth is free again. 0 stores nothing.
    """

    def __init__(self, file: Path, limit: int) -> None:
        self.file = file
        self.limit = limit
        self._reads = self._writes = limit > 0

    def read(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """What is stored under these keys, and whole; it counts as used now."""
        now = int(time.time())
        sealed = {row[0]: row[1:] for row in self._select("SELECT key, used, value FROM rows WHERE key IN", keys)}
        stale = [(now, key) for key, (used, _) in sealed.items() if used < now - FRESH]
        if stale:
            self._change(lambda database: _many(database, "UPDATE rows SET used = ? WHERE key = ?", stale), quiet=True)
        values = {key: _unseal(value) for key, (_, value) in sealed.items()}
        return {key: value for key, value in values.items() if value is not None}

    def write(self, space: str, values: Mapping[bytes, bytes]) -> None:
        """Store rows, all or none."""

        def work(database: sqlite3.Connection) -> None:
            """One transaction: the space, its rows, and what must go for them."""
            database.execute("INSERT OR IGNORE INTO spaces (name) VALUES (?)", (space,))
            (number,) = database.execute("SELECT id FROM spaces WHERE name = ?", (space,)).fetchone()
            now = int(time.time())
            sealed = ((key, number, now, _seal(value)) for key, value in values.items())
            _many(database, "INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?)", sealed)
            self._evict(database)

        self._change(work)

    def read_digests(self, stamps: Sequence[str]) -> dict[str, str]:
        """Content digests of files, by the stamp they had."""
        return dict(self._select("SELECT stamp, digest FROM files WHERE stamp IN", stamps))

    def write_digests(self, digests: Mapping[str, str]) -> None:
        """Remember content digests."""
        statement = "INSERT OR REPLACE INTO files VALUES (?, ?)"
        if digests:
            self._change(lambda database: _many(database, statement, digests.items()))

    @contextmanager
    def alone(self, keys: Sequence[bytes]) -> Iterator[None]:
        """While rows are made: no other process is inside with the same keys. Without a lock where none can be kept."""
        with ExitStack() as stack:
            if self._writes:
                name = hashlib.blake2b(b"".join(keys), digest_size=8).hexdigest()
                with suppress(OSError):
                    stack.enter_context(alone(self.file.with_name(f"{self.file.stem}.{name}.lock")))
            yield

    def count(self) -> dict[str, int]:
        """Rows in each space."""
        query = "SELECT name, COUNT(*) FROM rows JOIN spaces ON rows.space = spaces.id GROUP BY space ORDER BY name"
        nothing: dict[str, int] = {}
        return self._look(lambda database: dict(database.execute(query).fetchall()), nothing)

    def clear(self, space: str | None = None) -> None:
        """Drop the rows of one space, or everything there is, and give the room back."""

        def work(database: sqlite3.Connection) -> None:
            chosen = "SELECT id FROM spaces WHERE ?1 IS NULL OR name = ?1"
            database.execute(f"DELETE FROM rows WHERE space IN ({chosen})", (space,))
            database.execute("DELETE FROM spaces WHERE ?1 IS NULL OR name = ?1", (space,))
            database.execute("DELETE FROM files WHERE ?1 IS NULL", (space,))

        if self.file.exists():
            self._change(work)
            self._look(lambda database: database.execute("VACUUM"), None, begin="")

    def _evict(self, database: sqlite3.Connection) -> None:
        """Drop the least recently used rows once the file is over its limit."""
        pages, free, size = (_pragma(database, name) for name in ("page_count", "freelist_count", "page_size"))
        taken = (pages - free) * size
        if taken > self.limit:
            (rows,) = database.execute("SELECT COUNT(*) FROM rows").fetchone()
            surplus = 1 + int(rows * (taken - 0.9 * self.limit) / taken)
            oldest = "SELECT key FROM rows ORDER BY used, rowid LIMIT ?"
            database.execute(f"DELETE FROM rows WHERE key IN ({oldest})", (surplus,))

    def _select(self, query: str, keys: Sequence[bytes] | Sequence[str]) -> list[tuple[Any, ...]]:
        """The answers to `query (?, ?, ...)`, asked in chunks."""

        def work(database: sqlite3.Connection) -> list[tuple[Any, ...]]:
            answers: list[tuple[Any, ...]] = []
            for start in range(0, len(keys), CHUNK):
                chunk = keys[start : start + CHUNK]
                answers += database.execute(f"{query} ({','.join('?' * len(chunk))})", chunk).fetchall()
            return answers

        return self._look(work, [])

    def _look(self, work: Callable[[sqlite3.Connection], T], default: T, begin: str = "BEGIN") -> T:
        """The answer to a question, or the default where there is no file to ask."""
        if not self._reads or not self.file.exists():
            return default
        try:
            return self._transaction(work, begin)
        except (sqlite3.DatabaseError, OSError) as error:
            self._reads = self._set_aside_if_damaged(error)
            return default

    def _change(self, work: Callable[[sqlite3.Connection], None], *, quiet: bool = False) -> None:
        """Change the file, or give up storing with a warning."""
        if not self._writes:
            return
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self._transaction(work, "BEGIN IMMEDIATE")
        except (sqlite3.DatabaseError, OSError) as error:
            self._set_aside_if_damaged(error, quiet=quiet)

    def _transaction(self, work: Callable[[sqlite3.Connection], T], begin: str) -> T:
        """All of the work or, should anything interrupt it, none."""
        with closing(sqlite3.connect(self.file, timeout=WAIT, isolation_level=None)) as database:
            _prepare(database)
            if not begin:
                return work(database)
            database.execute(begin)
            result = work(database)
            database.execute("COMMIT")
            return result

    def _set_aside_if_damaged(self, error: Exception, *, quiet: bool = False) -> bool:
        """Make room for a new file (True), or give up storing (False)."""
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
            try:
                self.file.replace(f"{self.file}.damaged")
                Path(f"{self.file}-journal").unlink(missing_ok=True)
            except OSError as second:
                error = second
            else:
                warn(f"the feature store {self.file} cannot be read ({error}); it is set aside and begun anew")
                return True
        if self._writes and not quiet:
            warn(f"the feature store {self.file} is out of order ({error}); features are not stored from here on")
        self._writes = False
        return False


def _prepare(database: sqlite3.Connection) -> None:
    """Make the tables of a new file; refuse a file that is not ours."""
    if _pragma(database, "user_version") == FORMAT:
        return
    database.execute("BEGIN IMMEDIATE")  # another program may be doing the same
    if _pragma(database, "user_version") != FORMAT:
        if database.execute("SELECT COUNT(*) FROM sqlite_master").fetchone() != (0,):
            raise sqlite3.DatabaseError("it has another format")
        for statement in SCHEMA.split(";"):
            database.execute(statement)
    database.execute("COMMIT")


def _pragma(database: sqlite3.Connection, name: str) -> int:
    (value,) = database.execute(f"PRAGMA {name}").fetchone()
    return int(value)


def _many(database: sqlite3.Connection, statement: str, values: Iterable[tuple[Any, ...]]) -> None:
    database.executemany(statement, values)


def _seal(value: bytes) -> bytes:
    """The bytes behind their checksum: SQLite itself does not notice a flipped bit in a value."""
    return zlib.crc32(value).to_bytes(4, "big") + value


def _unseal(sealed: bytes) -> bytes | None:
    """The bytes, or None where they are not what was stored."""
    value = sealed[4:]
    return value if sealed[:4] == zlib.crc32(value).to_bytes(4, "big") else None
