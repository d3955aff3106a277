"""Errors that a user can act on: one line that states what was given, what is allowed and what to do."""

import difflib
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class VlpromptError(Exception):
    """A mistake in the input or a broken file; the message is one line."""


class UsageError(VlpromptError):
    """A request that cannot be fulfilled: an unknown name, an impossible combination."""


class VlpromptWarning(UserWarning):
    """A fact that the user should know and that does not stop the work."""


def unknown(kind: str, given: str, allowed: Iterable[str], hint: str = "") -> UsageError:
    """The error for a name that is not on a list; it suggests the nearest names.

    Args:
        kind: What the name is of ("learner", "data set").
        given: The name that was given.
        allowed: All valid names.
        hint: One more sentence on what to do.
    """
    names = sorted(allowed)
    lowered = {name.lower(): name for name in reversed(names)}
    close = [lowered[name] for name in difflib.get_close_matches(given.lower(), lowered, n=3, cutoff=0.4)]
    rest = [name for name in names if name not in close]
    listed = ", ".join((close + rest)[:12]) + (", ..." if len(names) > 12 else "")
    guess = f"; did you mean {close[0]!r}?" if close else "."
    return UsageError(f"unknown {kind} {given!r}{guess} Known: {listed}.{' ' + hint if hint else ''}")


def warn(message: str) -> None:
    """Show the user one line without stopping the work."""
    warnings.warn(message, VlpromptWarning, stacklevel=3)


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
