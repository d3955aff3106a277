"""Errors that a user can act on: one line that states what was given, what is allowed and what to do."""

import difflib
import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

LONGEST = 2000  # characters of a message; a name in a hostile file can be as long as the file
UNSAFE = ("Cc", "Cf", "Cs", "Zl", "Zp")  # Unicode categories: controls, formats, lone surrogates, line separators
JOINERS = "\u200c\u200d"  # formats that ordinary words and emoji contain


class VlpromptError(Exception):
    """A mistake in the input or a broken file; the message is one printable line, however it was given."""

    def __init__(self, message: object = "") -> None:
        super().__init__(_one_line(message))


class UsageError(VlpromptError):
    """A request that cannot be fulfilled: an unknown name, an impossible combination."""


class VlpromptWarning(UserWarning):
    """A fact that the user should know and that does not stop the work."""


def unknown(kind: str, given: object, allowed: Iterable[str], hint: str = "") -> UsageError:
    """The error for a name that is not on a list; it suggests the nearest names.

    Args:
        kind: What the name is of ("learner", "data set").
        given: The name that was given.
        allowed: All valid names.
        hint: One more sentence on what to do.
    """
    names = sorted(allowed)
    lowered = {name.lower(): name for name in reversed(names)}
    close = [lowered[name] for name in difflib.get_close_matches(str(given)[:100].lower(), lowered, n=3, cutoff=0.4)]
    rest = [name for name in names if name not in close]
    listed = ", ".join((close + rest)[:12]) + (", ..." if len(names) > 12 else "")
    guess = f"; did you mean {close[0]!r}?" if close else "."
    return UsageError(f"unknown {kind} {given!r}{guess} Known: {listed}.{' ' + hint if hint else ''}")


def warn(message: str) -> None:
    """Show the user one printable line without stopping the work."""
    warnings.warn(_one_line(message), VlpromptWarning, stacklevel=3)


def printable(text: str) -> str:
    """A text with its control characters written as escapes, such as a backslash and n for a line break.

    Names from files may contain what moves a terminal's cursor, starts a new line, reverses the direction of writing
    or cannot be encoded. All other characters stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(char.encode("unicode_escape").decode() if _is_unsafe(char) else char for char in text)


@contextmanager
def out_of_memory(advice: str) -> Iterator[None]:
    """Turn an out-of-memory crash into one line that names what to lower.

    Raises:
        VlpromptError: Memory ran out inside the block.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or "out of memory" in str(error) or "allocate memory" in str(error):
            raise VlpromptError(f"out of memory {advice}") from error
        raise


def _is_unsafe(char: str) -> bool:
    return unicodedata.category(char) in UNSAFE and char not in JOINERS


def _one_line(message: object) -> str:
    """A message without control characters; of a long one, the start and the end."""
    text = str(message)
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]} ... {text[-LONGEST // 4 :]}"
    return printable(text)
