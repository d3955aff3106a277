"""python -m benchmarks.fuzz: read changed inputs and report what ends in another error than a VlpromptError."""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from benchmarks.fuzz.kinds import KINDS, Kind
from vlprompt.errors import VlpromptError

LONGEST = 20  # seconds for one input


class TooSlowError(BaseException):
    """An input that takes longer than `LONGEST`; no handler of ordinary errors may hide it."""


@dataclass
class Report:
    """The outcomes of one kind.

    Attributes:
        tried: The number of inputs.
        refused: How many of them ended in a VlpromptError.
        failed: How many ended in anything else but success.
        first: The first seed of each distinct failure, which is an error with its place in the code.
    """

    tried: int = 0
    refused: int = 0
    failed: int = 0
    first: dict[str, int] = field(default_factory=dict)


def fuzz(kind: Kind, name: str, seeds: Sequence[int]) -> Report:
    """Read one changed input for each seed."""
    report = Report()
    for seed in seeds:
        report.tried += 1
        try:
            with _place() as folder, _limited():
                kind(random.Random(f"{name} {seed}"), folder)
        except VlpromptError:
            report.refused += 1
        except (Exception, TooSlowError, SystemExit) as error:
            report.failed += 1
            report.first.setdefault(_description(error), seed)
    return report


def main(arguments: Sequence[str] | None = None, kinds: Mapping[str, Kind] = KINDS) -> int:
    """Try all kinds, print a line for each, then each distinct failure; return 1 where there is one."""
    parser = argparse.ArgumentParser("python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=5000, help="inputs of each kind")
    parser.add_argument("--seed", type=int, default=0, help="of the first input; the others follow")
    parser.add_argument("--kind", nargs="+", choices=kinds, default=list(kinds), metavar="KIND", help=", ".join(kinds))
    given = parser.parse_args(arguments)
    failures = []
    print(f"{'kind':20}{'tried':>8}{'refused':>9}{'failed':>8}{'seconds':>9}")
    for name in given.kind:
        start = time.perf_counter()
        report = fuzz(kinds[name], name, range(given.seed, given.seed + given.count))
        seconds = time.perf_counter() - start
        print(f"{name:20}{report.tried:8}{report.refused:9}{report.failed:8}{seconds:9.1f}", flush=True)
        failures += [f"--kind {name} --seed {seed} --count 1: {what}" for what, seed in report.first.items()]
    print(*failures, sep="\n", end="\n" if failures else "")
    return 1 if failures else 0


@contextmanager
def _place() -> Iterator[Path]:
    """An empty folder, which is the working folder meanwhile; warnings are not shown."""
    home = Path.cwd()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.chdir(folder)
        try:
            yield Path(folder)
        finally:
            os.chdir(home)


@contextmanager
def _limited() -> Iterator[None]:
    """Raise TooSlowError in a block that takes too long."""

    def stop(_: int, __: FrameType | None) -> None:
        raise TooSlowError(f"it takes more than {LONGEST} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, LONGEST)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _description(error: BaseException) -> str:
    """An error with its place in this project, without numbers and names that differ from input to input."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "vlprompt" in Path(frame.filename).parts]
    frame = (frames or traceback.extract_tb(error.__traceback__))[-1]
    return f"{type(error).__name__} in {Path(frame.filename).name}, line {frame.lineno} ({frame.name})"


if __name__ == "__main__":
    sys.exit(main())
