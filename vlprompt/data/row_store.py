"""Rows of bytes under keys, in one SQLite file: the part of the feature store that is on the disk.

A cache must never stop the work. A damaged or foreign file is renamed and a new one begun; where the disk is full,
locked or read-only, nothing is stored from then on. Both give one warning. A connection lives for one operation, so
that no worker process inherits it. Every operation is one transaction: killing the program leaves whole rows, and two
programs can write at once.
"""

import hashlib
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from vlprompt.errors import warn
from vlprompt.files import alone

FORMAT = 0x564C5031  # "VLP1", in SQLite's user_version
WAIT = 60.0  # seconds to wait for another program's transaction
FRESH = 3600  # seconds for which the time of a row's last use is not updated
CHUNK = 500  # keys in one query

SCHEMA = f"""
CREATE TABLE rows (key BLOB PRIMARY KEY, space INTEGER NOT NULL, used INTEGER NOT NULL, value BLOB NOT NULL);
CREATE INDEX rows_by_space ON rows (space);
CREATE INDEX rows_by_use ON rows (used);
CREATE TABLE spaces (id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL);
CREATE TABLE files (stamp TEXT PRIMARY KEY, digest TEXT NOT NULL);
PRAGMA user_version = {FORMAT};
"""

T = TypeVar("T")


class RowStore:
    """A mapping of keys to bytes on the disk; the least recently used rows are dropped first.

    Args:
        file: The SQLite file; its folder is created when something is stored.
        limit: Maximum size of the file in bytes; rows are dropped until a tenth of it is free. 0 stores nothing.
    """

    def __init__(self, file: Path, limit: int) -> None:
        self.file = file
        self.limit = limit
        self._reads = self._writes = limit > 0

    def read(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The undamaged rows under these keys; the time of their last use becomes now."""
        now = int(time.time())
        sealed = {row[0]: row[1:] for row in self._select("SELECT key, used, value FROM rows WHERE key IN", keys)}
        stale = [(now, key) for key, (used, _) in sealed.items() if used < now - FRESH]
        if stale:
            statement = "UPDATE rows SET used = ? WHERE key = ?"
            self._change(lambda database: database.executemany(statement, stale), quiet=True)
        values = {key: _unseal(value) for key, (_, value) in sealed.items()}
        return {key: value for key, value in values.items() if value is not None}

    def write(self, space: str, values: Mapping[bytes, bytes]) -> None:
        """Store rows under the name of a space, all or none."""

        def work(database: sqlite3.Connection) -> None:
            """Insert the rows and make room for them."""
            database.execute("INSERT OR IGNORE INTO spaces (name) VALUES (?)", (space,))
            (number,) = database.execute("SELECT id FROM spaces WHERE name = ?", (space,)).fetchone()
            now = int(time.time())
            sealed = ((key, number, now, _seal(value)) for key, value in values.items())
            database.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?)", sealed)
            self._evict(database)

        self._change(work)

    def read_digests(self, stamps: Sequence[str]) -> dict[str, str]:
        """Content digests of files by their stamps, where they are stored."""
        return dict(self._select("SELECT stamp, digest FROM files WHERE stamp IN", stamps))

    def write_digests(self, digests: Mapping[str, str]) -> None:
        """Store content digests of files by their stamps."""
        statement = "INSERT OR REPLACE INTO files VALUES (?, ?)"
        if digests:
            self._change(lambda database: database.executemany(statement, digests.items()))

    @contextmanager
    def alone(self, keys: Sequence[bytes]) -> Iterator[None]:
        """A lock on these keys between processes, held while rows are computed; no lock where its file cannot exist."""
        with ExitStack() as stack:
            if self._writes:
                name = hashlib.blake2b(b"".join(keys), digest_size=8).hexdigest()
                with suppress(OSError):
                    stack.enter_context(alone(self.file.with_name(f"{self.file.stem}.{name}.lock")))
            yield

    def count(self) -> dict[str, int]:
        """The number of rows in each space."""
        query = "SELECT name, COUNT(*) FROM rows JOIN spaces ON rows.space = spaces.id GROUP BY space ORDER BY name"
        empty: dict[str, int] = {}
        return self._query(lambda database: dict(database.execute(query).fetchall()), empty)

    def clear(self, space: str | None = None) -> None:
        """Delete the rows of one space, or everything, and shrink the file."""

        def work(database: sqlite3.Connection) -> None:
            """Delete the chosen rows."""
            chosen = "SELECT id FROM spaces WHERE ?1 IS NULL OR name = ?1"
            database.execute(f"DELETE FROM rows WHERE space IN ({chosen})", (space,))
            database.execute("DELETE FROM spaces WHERE ?1 IS NULL OR name = ?1", (space,))
            database.execute("DELETE FROM files WHERE ?1 IS NULL", (space,))

        if self.file.exists():
            self._change(work)
            self._query(lambda database: database.execute("VACUUM"), None, begin="")

    def _evict(self, database: sqlite3.Connection) -> None:
        """Delete the least recently used rows where the file exceeds its limit."""
        pages, free, size = (_pragma(database, name) for name in ("page_count", "freelist_count", "page_size"))
        used = (pages - free) * size
        if used > self.limit:
            (rows,) = database.execute("SELECT COUNT(*) FROM rows").fetchone()
            surplus = 1 + int(rows * (used - 0.9 * self.limit) / used)
            oldest = "SELECT key FROM rows ORDER BY used, rowid LIMIT ?"
            database.execute(f"DELETE FROM rows WHERE key IN ({oldest})", (surplus,))

    def _select(self, query: str, keys: Sequence[bytes] | Sequence[str]) -> list[tuple[Any, ...]]:
        """All results of `query (?, ?, ...)`, in chunks of keys."""

        def work(database: sqlite3.Connection) -> list[tuple[Any, ...]]:
            """The results of all chunks."""
            results: list[tuple[Any, ...]] = []
            for start in range(0, len(keys), CHUNK):
                chunk = keys[start : start + CHUNK]
                results += database.execute(f"{query} ({','.join('?' * len(chunk))})", chunk).fetchall()
            return results

        return self._query(work, [])

    def _query(self, work: Callable[[sqlite3.Connection], T], default: T, begin: str = "BEGIN") -> T:
        """The result of reading from the file; the default where there is no usable file."""
        if not self._reads or not self.file.exists():
            return default
        try:
            return self._transaction(work, begin)
        except (sqlite3.DatabaseError, OSError) as error:
            self._reads = self._recover(error)
            return default

    def _change(self, work: Callable[[sqlite3.Connection], object], *, quiet: bool = False) -> None:
        """Change the file, or stop storing with a warning."""
        if not self._writes:
            return
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self._transaction(work, "BEGIN IMMEDIATE")
        except (sqlite3.DatabaseError, OSError) as error:
            self._recover(error, quiet=quiet)

    def _transaction(self, work: Callable[[sqlite3.Connection], T], begin: str) -> T:
        """Do all of the work or, if it is interrupted, none."""
        with closing(sqlite3.connect(self.file, timeout=WAIT, isolation_level=None)) as database:
            _prepare(database)
            if not begin:
                return work(database)
            database.execute(begin)
            result = work(database)
            database.execute("COMMIT")
            return result

    def _recover(self, error: Exception, *, quiet: bool = False) -> bool:
        """Rename a damaged file so that a new one can be begun (True), or stop storing (False)."""
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
            try:
                self.file.replace(f"{self.file}.damaged")
                Path(f"{self.file}-journal").unlink(missing_ok=True)
            except OSError as second:
                error = second
            else:
                warn(f"the feature store {self.file} cannot be read ({error}); it is renamed and a new one begun")
                return True
        if self._writes and not quiet:
            warn(f"the feature store {self.file} cannot be used ({error}); features are not stored from here on")
        self._writes = False
        return False


def _prepare(database: sqlite3.Connection) -> None:
    """Create the tables of a new file; refuse a file in another format."""
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


def _seal(value: bytes) -> bytes:
    """The bytes after their checksum: SQLite itself does not notice a flipped bit in a value."""
    return zlib.crc32(value).to_bytes(4, "big") + value


def _unseal(sealed: bytes) -> bytes | None:
    """The bytes, or None where they are damaged."""
    value = sealed[4:]
    return value if sealed[:4] == zlib.crc32(value).to_bytes(4, "big") else None
