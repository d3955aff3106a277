"""Matlab's files, read by scipy, which scikit-learn depends on.

A damaged file can end the process that reads it (scipy 1.x), so that another Python process reads it.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vlprompt.data.readers.listing import DataError, need_file

SECONDS = 300
# Cells of text become an array of strings: numpy loads it without a pickle.
PROGRAM = """
import sys
import numpy as np
from scipy.io import loadmat
file, made, *names = sys.argv[1:]
arrays = loadmat(file)
for name in names:
    if name not in arrays:
        others = ", ".join(key for key in arrays if not key.startswith("__")) or "nothing"
        print(f"has no {name!r}; it holds {others}.", file=sys.stderr)
        sys.exit(2)
def plain(array):
    return array if array.dtype != object else np.array([each.item() for each in array.ravel()])
np.savez(made, **{f"array_{i}": plain(arrays[name]) for i, name in enumerate(names)})
"""


def read_mat(file: Path, names: Sequence[str]) -> dict[str, Any]:
    """Read the named arrays of a .mat file (up to version 7); an array of cells becomes a flat array.

    Raises:
        DataError: The file is missing, damaged, or lacks an array.
    """
    need_file(file)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "arrays.npz"
        command = [sys.executable, "-P", "-c", PROGRAM, str(file), str(made), *names]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise DataError(f"{file} was not read in {SECONDS} s; get it again.") from error
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        if done.returncode == 2 and lines:  # the program's own; a signal is negative
            raise DataError(f"{file} {lines[-1]}")
        if done.returncode:
            raise DataError(f"{file} is not a readable .mat file: {lines[-1] if lines else 'damaged'}; get it again.")
        try:
            with np.load(made, allow_pickle=False) as arrays:
                return {name: arrays[f"array_{number}"] for number, name in enumerate(names)}
        except (OSError, ValueError) as error:  # cells within cells
            raise DataError(f"{file} is not a readable .mat file: {error}; get it again.") from error
