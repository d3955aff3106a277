"""The cases of a manifest and their arrays."""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vlprompt.errors import UsageError, VlpromptError

Array = NDArray[Any]


class CaseError(Exception):
    """A case that cannot be replayed; the message is the reason."""


@dataclass(frozen=True)
class Case:
    """One run of an official implementation.

    Attributes:
        method: What was run, in the manifest's words.
        file: The file of its arrays, for the report only.
        hyper: Its hyperparameters.
        arrays: Inputs and outputs by name.
        backbone: The models it was run with, where the manifest states them.
    """

    method: str
    file: str
    hyper: Mapping[str, Any]
    arrays: Mapping[str, Array]
    backbone: str = ""

    def array(self, name: str) -> Array:
        """An array that the replay needs; CaseError where the case lacks it."""
        if name not in self.arrays:
            raise CaseError(f"the case lacks {name!r}")
        return self.arrays[name]

    def tensor(self, name: str) -> Tensor:
        """The same as a tensor; integers and bools as int64."""
        array = self.array(name)
        return torch.from_numpy(array.astype(np.int64) if array.dtype.kind in "iub" else array.copy())

    def words(self, name: str) -> list[str]:
        """An array of strings."""
        return [str(word) for word in self.array(name).tolist()]


def read_manifest(folder: Path) -> list[dict[str, Any]]:
    """The entries of a folder's manifest.json, each with a method, a file and hyperparameters.

    Raises:
        UsageError: There is no such file, or it is not a manifest.
    """
    path = folder / "manifest.json"
    try:
        cases = json.loads(path.read_text(encoding="utf-8"))["cases"]
        entries = [{"hyperparameters": {}, **entry} for entry in cases]
        for entry in entries:
            if not isinstance(entry["method"], str) or not isinstance(entry["file"], str):
                raise TypeError("method and file must be text")
            if not isinstance(entry["hyperparameters"], dict):
                raise TypeError(f"the hyperparameters of {entry['file']} are not a table")
    except OSError as error:
        raise UsageError(f"cannot read {path} ({error.strerror}); give a folder of goldens.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is not a manifest of goldens ({type(error).__name__}: {error}).") from error
    return entries


def read_case(folder: Path, entry: Mapping[str, Any]) -> Case:
    """A case with its arrays.

    Raises:
        UsageError: Its file is missing.
        VlpromptError: Its file is damaged.
    """
    path = folder / entry["file"]
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except FileNotFoundError as error:
        raise UsageError(f"the manifest names {path}, which does not exist.") from error
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise VlpromptError(f"{path} is damaged ({type(error).__name__}: {str(error).splitlines()[0]}).") from error
    return Case(entry["method"], entry["file"], entry["hyperparameters"], arrays, str(entry.get("backbone", "")))
