"""Matlab's files, read by scipy, which scikit-learn depends on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vlprompt.data.readers.listing import DataError, need_file


def read_mat(file: Path, names: Sequence[str]) -> dict[str, Any]:
    """The named arrays of a .mat file (up to version 7); DataError where it is missing, damaged or lacks one."""
    from scipy.io import loadmat

    need_file(file)
    try:
        arrays: dict[str, Any] = loadmat(file)
    except Exception as error:  # the type of scipy's error depends on where a file is damaged
        reason = f"{error}".split("\n")[0] or type(error).__name__
        raise DataError(f"{file} is not a readable .mat file: {reason}; get it again.") from error
    for name in names:
        if name not in arrays:
            others = ", ".join(key for key in arrays if not key.startswith("__")) or "nothing"
            raise DataError(f"{file} has no {name!r}; it holds {others}.")
    return {name: arrays[name] for name in names}
