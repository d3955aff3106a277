"""Files of results: a line for each run. They only grow. This module does not need torch.

Several processes may append to one file. A process that is killed while it writes damages its own line only.
"""

import io
import os
from pathlib import Path

from vlprompt.errors import VlpromptError, warn
from vlprompt.experiments.results import Result
from vlprompt.files import alone, reason


class ResultsFile:
    """The results in a file. Each call of `read` reads only what was appended since the last one.

    Attributes:
        path: The file; it may not exist yet.
        results: What was read so far, oldest first.
    """

    _size: int  # bytes that were read
    _lines: int
    _incomplete_at: int  # where an incomplete last line was reported

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._restart()

    def read(self) -> list[Result]:
        """Every result so far; other lines are skipped, with one warning that names the first of them.

        Raises:
            VlpromptError: The file cannot be read.
        """
        *lines, rest = self._new_content().split(b"\n")
        problems = [self._add(line) for line in lines]
        self._size += sum(map(len, lines)) + len(lines)
        self._lines += len(lines)
        if rest:  # another process may be writing this line, so it is read again the next time
            problem = self._add(rest)
            self._size += 0 if problem else len(rest)
            problems.append(problem if self._size != self._incomplete_at else "")
            self._incomplete_at = self._size
        first = self._lines - len(lines) + 1
        if skipped := [f"line {first + at} {problem}" for at, problem in enumerate(problems) if problem]:
            others = f" (and {len(skipped) - 1} more)" if len(skipped) > 1 else ""
            warn(f"{self.path}, {skipped[0]}; it was skipped{others}. Repeat the runs that are missing.")
        return self.results

    def latest(self, key: str) -> Result | None:
        """The last result with this key, or None; a file that does not exist has none."""
        if not self.path.exists():
            return None
        self.read()
        return self._latest.get(key)

    def _restart(self) -> None:
        self.results: list[Result] = []
        self._latest: dict[str, Result] = {}
        self._size = self._lines = 0
        self._incomplete_at = -1

    def _new_content(self) -> bytes:
        """What was appended since the last call; everything again where the file is shorter than it was."""
        try:
            with self.path.open("rb") as file:
                if file.seek(0, os.SEEK_END) < self._size:
                    self._restart()
                file.seek(self._size)
                return file.read()
        except OSError as error:
            raise VlpromptError(f"{self.path} could not be read ({reason(error)}); check the path.") from error

    def _add(self, line: bytes) -> str:
        """Take in one line; return what is wrong with it, or nothing."""
        if not line.strip():
            return ""
        try:
            result = Result.from_json(line)
        except (ValueError, RecursionError):  # of the JSON parser
            return "is incomplete"
        except VlpromptError as error:
            return f"is not a result: {str(error).rstrip('.')}"
        self.results.append(result)
        self._latest[result.key] = result
        return ""


def read(path: str | Path) -> list[Result]:
    """Every result in a file, oldest first; other lines are skipped with a warning.

    Raises:
        VlpromptError: The file cannot be read.
    """
    return ResultsFile(path).read()


def append(path: str | Path, result: Result) -> None:
    """Append one line to a file, completely or not at all; several processes may do so at once.

    If the last line is incomplete, because its process was killed, the new one starts on a line of its own.

    Raises:
        VlpromptError: The disk is full or the file cannot be written; the file is unchanged.
    """
    path = Path(path)
    line = result.to_json().encode() + b"\n"
    try:
        with alone(path.with_name(f".{path.name}.lock")), path.open("a+b", buffering=0) as file:
            _append_locked(file, line)
    except OSError as error:
        raise VlpromptError(
            f"the result could not be written to {path} ({reason(error)}); the file is unchanged. "
            "Check the path, the rights and the free space."
        ) from error


def _append_locked(file: io.FileIO, line: bytes) -> None:
    size = file.seek(0, os.SEEK_END)
    if size:
        file.seek(size - 1)
        line = line if file.read(1) == b"\n" else b"\n" + line
    try:
        while line:  # one write, unless the disk is nearly full: then the next one raises the error
            line = line[file.write(line) :]
        os.fsync(file.fileno())
    except BaseException:
        file.truncate(size)
        raise
