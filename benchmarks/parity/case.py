"""What is replayed: the cases of a manifest and their arrays."""

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
    """A case that cannot be replayed, as it stands; its row says why and fails."""


@dataclass(frozen=True)
class Case:
    """One run of an official implementation.

    Attributes:
        method: What was run, in the manifest's words.
        file: Where its arrays are, for the report only.
        hyper: Its hyperparameters.
        arrays: Inputs and outputs by name.
        backbone: The models it was made with, where the manifest says.
    """

    method: str
    file: str
    hyper: Mapping[str, Any]
    arrays: Mapping[str, Array]
    backbone: str = ""

    def array(self, name: str) -> Array:
        """An array the replay needs.

        Raises:
            CaseError: The case does not hold it.
        """
        if name not in self.arrays:
            raise CaseError(f"the case holds no {name!r}")
        return self.arrays[name]

    def tensor(self, name: str) -> Tensor:
        """The same as a tensor; whole numbers as int64."""
        array = self.array(name)
        return torch.from_numpy(array.astype(np.int64) if array.dtype.kind in "iub" else array.copy())

    def words(self, name: str) -> list[str]:
        """An array of strings."""
        return [str(word) for word in self.array(name).tolist()]


def read_manifest(folder: Path) -> list[dict[str, Any]]:
    """The entries of a folder's manifest.json, each with a method, a file and hyperparameters.

    Raises:
        UsageError: There is no such file, or it does not read as a manifest.
    """
    path = folder / "manifest.json"
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["cases"]
        whole = [{"hyperparameters": {}, **entry} for entry in entries]
        for entry in whole:
            if not isinstance(entry["method"], str) or not isinstance(entry["file"], str):
                raise TypeError("method and file must be text")
            if not isinstance(entry["hyperparameters"], dict):
                raise TypeError(f"the hyperparameters of {entry['file']} are no table")
    except OSError as error:
        raise UsageError(f"cannot read {path} ({error.strerror}); give a folder that holds goldens.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is no manifest of goldens ({type(error).__name__}: {error}).") from error
    return whole


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
        raise UsageError(f"{path}, which the manifest names, is not there.") from error
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise VlpromptError(f"{path} is damaged ({type(error).__name__}: {str(error).splitlines()[0]}).") from error
    return Case(entry["method"], entry["file"], entry["hyperparameters"], arrays, str(entry.get("backbone", "")))
