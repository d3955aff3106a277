"""Files that are whole or absent, and locks between processes."""

import contextlib
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from vlprompt.errors import VlpromptError, warn


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
