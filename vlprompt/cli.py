"""The command line: flags in, tables out. What a command does is in its file under `commands/` and in the protocols."""

import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import tyro

from vlprompt import parallel
from vlprompt.commands import (
    adapt,
    base_to_new,
    cache,
    cloze,
    cross_dataset,
    demo,
    domain_shift,
    few_shot,
    list,  # noqa: A004
    predict,
    report,
    show,
    sweep,
    test_time,
    zero_shot,
)
from vlprompt.errors import UsageError, VlpromptError, VlpromptWarning

COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo.run,
    "list": list.run,
    "zero-shot": zero_shot.run,
    "few-shot": few_shot.run,
    "base-to-new": base_to_new.run,
    "cross-dataset": cross_dataset.run,
    "domain-shift": domain_shift.run,
    "adapt": adapt.run,
    "test-time": test_time.run,
    "cloze": cloze.run,
    "sweep": sweep.run,
    "predict": predict.run,
    "show": show.run,
    "report": report.run,
    "cache": cache.run,
}


ABOUT = "Prompt learning for frozen vision-language models."


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; exits with 0 when done, 1 when it failed, 2 on wrong usage, 130 on Ctrl-C."""
    warnings.showwarning = _warning_line  # type: ignore[assignment]
    try:
        with parallel.together() as team, _quiet_unless(team.leads):
            tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="vlprompt", args=arguments, description=ABOUT)
    except UsageError as error:
        _stop(str(error), 2)
    except VlpromptError as error:
        _stop(str(error), 1)
    except KeyboardInterrupt:
        _stop("stopped; the same command goes on from where it was", 130)
    except BrokenPipeError:  # the reader of our output has gone, as with `| head`
        sys.stderr.close()
        sys.exit(0)


@contextmanager
def _quiet_unless(leads: bool) -> Iterator[None]:
    """Of several processes that train together, only the first prints."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(sys.stdout if leads else nowhere):
        yield


def _stop(message: str, code: int) -> None:
    print(f"vlprompt: {message}", file=sys.stderr)
    sys.exit(code)


def _warning_line(message: Warning | str, category: type[Warning], *_: Any) -> None:
    """Our own warnings as one line; those of libraries are not the user's business here."""
    if issubclass(category, VlpromptWarning):
        print(f"vlprompt: warning: {message}", file=sys.stderr)
