"""Matlab's files, through scipy, which scikit-learn brings along."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vlprompt.errors import VlpromptError


def read_mat(file: Path, names: Sequence[str], hint: str = "") -> dict[str, Any]:
    """The named arrays of a .mat file (up to version 7).

    Raises:
        VlpromptError: It is damaged, or lacks one of them.
    """
    from scipy.io import loadmat

    try:
        found: dict[str, Any] = loadmat(file)
    except Exception as error:  # what scipy raises depends on where a file is damaged
        reason = f"{error}".split("\n")[0] or type(error).__name__
        raise VlpromptError(f"{file} is not a readable .mat file: {reason}; get it again. {hint}".strip()) from error
    for name in names:
        if name not in found:
            there = ", ".join(key for key in found if not key.startswith("__")) or "nothing"
            raise VlpromptError(f"{file} has no {name!r}; it holds {there}. {hint}".strip())
    return {name: found[name] for name in names}
