"""The command line: find the command, import its module and run it.

Each command is a file in `commands/` with a function `run`, whose signature and docstring become options and help.
Slow imports are inside of `main`, where Ctrl-C ends in one line.
"""

import importlib
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from vlprompt.errors import UsageError, VlpromptError, VlpromptWarning, unknown

# The first line of each command's help. `vlprompt --help` imports no command, and so no torch.
COMMANDS: Mapping[str, str] = {
    "demo": "Train prompts for a bundled CLIP on a few handwritten digits.",
    "cloze demo": "Train prompts for a bundled language model on a few made-up reviews.",
    "list": "List methods with their published settings, data sets and protocols.",
    "zero-shot": "Evaluate class names in templates, without training.",
    "few-shot": "Train on K images per class, evaluate on the test split.",
    "base-to-new": "Train on half of the classes, evaluate on both halves.",
    "cross-dataset": "Train on one data set, evaluate on others with other classes.",
    "domain-shift": "Train on one data set, evaluate on other versions of its classes.",
    "adapt": "Train on a labelled and an unlabelled domain, evaluate on the latter.",
    "test-time": "Adapt to each test image, evaluate before and after.",
    "continual": "Train on one group of classes or domain after another, evaluate on all so far.",
    "cloze": "Train on K texts per class: a language model fills a blank with a word for the class.",
    "sensitivity": "Evaluate every template with every set of label words.",
    "probe": "Evaluate what a language model knows: precision at 1 for the missing object of a fact.",
    "sweep": "Run a grid of experiments in several processes or on a cluster.",
    "predict": "Classify images or texts with a saved prompt.",
    "show": "Print the words nearest to a saved prompt's learned tokens, or the words that it found.",
    "report": "Print tables and draw plots of earlier results.",
    "cache": "Print the size of the feature store, or empty it.",
}
STOPPED = "stopped; run the same command again to continue"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command, and exit with 1 if it failed, 2 on wrong usage, 130 on Ctrl-C.

    Args:
        arguments: The words of the command line; those of this process if None.
    """
    with _interrupts() as seen:
        try:
            warnings.showwarning = _print_warning  # type: ignore[assignment]
            _run(sys.argv[1:] if arguments is None else list(arguments))
        except (Exception, KeyboardInterrupt) as error:
            # A library can turn Ctrl-C into an error of its own, such as a failed import.
            _end(KeyboardInterrupt() if seen else error)


def _end(error: BaseException) -> None:
    """Print the line for an error and exit; an error that is a fault of ours is raised again."""
    if isinstance(error, KeyboardInterrupt):
        # Python ends as if killed if a string of code was interrupted (dataclasses run some); a new one resets that.
        exec("")
        _fail("stopped; run the same command again to continue", 130)
    if isinstance(error, BrokenPipeError):  # the program that read our output has ended, as with `| head`
        sys.stderr.close()
        sys.exit(0)
    if not isinstance(error, VlpromptError):
        raise error
    _fail(str(error), 2 if isinstance(error, UsageError) else 1)


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """While open, every Ctrl-C is noted in a list, besides raising KeyboardInterrupt."""
    seen: list[int] = []

    def note(number: int, _: object) -> None:
        seen.append(number)
        raise KeyboardInterrupt

    is_ours = threading.current_thread() is threading.main_thread()
    if not is_ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield seen  # another program runs this one and handles its signals
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _run(arguments: list[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        sys.exit(0 if arguments else 2)
    words = 2 if " ".join(arguments[:2]) in COMMANDS else 1
    name = " ".join(arguments[:words])
    if name not in COMMANDS:
        raise unknown("command", name, COMMANDS, "`vlprompt --help` describes them.")
    import tyro

    command = importlib.import_module(f"vlprompt.commands.{name.replace('-', '_').replace(' ', '_')}")
    with _first_process_prints():
        tyro.cli(command.run, prog=f"vlprompt {name}", args=arguments[words:], config=(tyro.conf.FlagCreatePairsOff,))


def _overview() -> str:
    """What `vlprompt --help` prints."""
    width = max(map(len, COMMANDS))
    head = ["usage: vlprompt COMMAND [OPTIONS]", "", "Prompt learning for frozen vision-language models.", ""]
    rows = [f"  {name:<{width}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join([*head, *rows, "", "The options of a command: vlprompt COMMAND --help"])


@contextmanager
def _first_process_prints() -> Iterator[None]:
    """Connect the processes that torchrun has started, if it has; only the first one prints."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield
        return
    from vlprompt.training.distributed import connected

    with (
        connected() as processes,
        Path(os.devnull).open("w", encoding="utf-8") as nowhere,
        redirect_stdout(sys.stdout if processes.is_first else nowhere),
    ):
        yield


def _fail(message: str, code: int) -> None:
    print(f"vlprompt: {message}", file=sys.stderr)
    sys.exit(code)


def _print_warning(message: Warning | str, category: type[Warning], *_: Any) -> None:
    """Print our own warnings in one line; those of libraries are not for the user."""
    if issubclass(category, VlpromptWarning):
        print(f"vlprompt: warning: {message}", file=sys.stderr)
