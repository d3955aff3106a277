"""Files that are whole or absent, locks between processes, and checks of files that others wrote."""

import contextlib
import json
import math
import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from vlprompt.errors import VlpromptError, warn

DEEPEST = 100  # levels of lists and tables in JSON; code that walks them may be recursive
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")  # half of a character, as an escape or as it is


@contextmanager
def alone(path: Path, waiting: str = "") -> Iterator[None]:
    """Hold the lock on a path; wait while another process holds it.

    The operating system releases the lock when its process ends, also after `kill -9`. The (empty) file stays: removing
    it could give two processes a lock on two files of the same name.

    Args:
        path: The lock file.
        waiting: A warning to give where another process holds the lock.

    Raises:
        OSError: The file cannot be created.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0 if waiting else -1)
    except Timeout:
        warn(waiting)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def write_files(files: Mapping[Path, bytes]) -> None:
    """Write several files completely or leave the old ones: first write all under other names, then rename them.

    Raises:
        VlpromptError: A file could not be written; none has changed unless the renaming itself failed.
    """
    staged: dict[Path, Path] = {}
    path = Path()
    try:
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            staged[path] = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
            _write_to_disk(staged[path], content)
        for path, part in staged.items():
            part.replace(path)
            _sync_folder(path.parent)
    except OSError as error:
        raise VlpromptError(
            f"{path} could not be written ({reason(error)}); its earlier content is unchanged. "
            "Check the path, the permissions and the free space."
        ) from error
    finally:
        for part in staged.values():
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)


def parse_json(text: str | bytes, where: str, *, nan_is_null: bool = False) -> Any:
    """Parse JSON that may be damaged or hostile.

    Args:
        text: The JSON; bytes in UTF-8, UTF-16 or UTF-32.
        where: The file, line or option it comes from, for the error.
        nan_is_null: Read NaN, Python's mark of a missing number, as null instead of refusing it.

    Raises:
        VlpromptError: It is not JSON; it holds NaN, infinity, a number of too many digits or half of a surrogate pair;
            or it is nested too deeply.
    """
    try:
        value = json.loads(text, parse_constant=_null if nan_is_null else _finite, parse_float=_finite)
        if isinstance(text, bytes) or SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise VlpromptError(f"{where} contains half of a surrogate pair, which is no character; correct it.") from error
    except RecursionError as error:
        raise _too_deep(where) from error
    except ValueError as error:
        raise VlpromptError(f"{where} is not valid JSON ({str(error).splitlines()[0]}).") from error
    if _is_deep(value):
        raise _too_deep(where)
    return value


def refuse_special(path: Path) -> None:
    """Raise VlpromptError for a path that is neither a file nor a folder: reading it may never end.

    A path that does not exist passes, since opening it gives a better error.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise VlpromptError(f"{path} is a device, a pipe or a socket, not a file; give a file.")


def reason(error: OSError) -> str:
    """The reason of an operating-system error in a few words."""
    return error.strerror or str(error).splitlines()[0]


def _write_to_disk(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Write a renaming to the disk, where the system can open a folder (Windows cannot)."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is not a finite number")
    return number


def _null(text: str) -> float | None:
    return None if text == "NaN" else _finite(text)


def _too_deep(where: str) -> VlpromptError:
    return VlpromptError(f"{where} is nested too deeply; at most {DEEPEST} levels of lists and tables are read.")


def _is_deep(value: Any) -> bool:
    """Whether a value has more than `DEEPEST` levels."""
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [inner for each in level for inner in _inside(each) if isinstance(inner, list | dict)]
        if not level:
            return False
    return True


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
