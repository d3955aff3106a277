"""Goldens of the repository, and folders with one changed case."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

GOLDENS = Path(__file__).resolve().parents[2] / "goldens"
COOP = "coop_m4_init_words.npz"
Change = Callable[[dict[str, np.ndarray]], None]


@pytest.fixture(scope="session")
def goldens() -> Path:
    return GOLDENS


@pytest.fixture(scope="session")
def entries() -> list[dict[str, Any]]:
    """The manifest's entries of the CLIP goldens."""
    return json.loads((GOLDENS / "clip" / "manifest.json").read_text(encoding="utf-8"))["cases"]


@pytest.fixture(scope="session")
def coop_entry(entries: list[dict[str, Any]]) -> dict[str, Any]:
    return next(entry for entry in entries if entry["file"] == COOP)


@pytest.fixture
def one_case(tmp_path: Path, coop_entry: dict[str, Any]) -> Callable[..., Path]:
    """A folder with one CoOp case under another name, with changed arrays and a changed manifest entry."""

    def make(change: Change = lambda arrays: None, **entry: Any) -> Path:
        folder = tmp_path / "given"
        folder.mkdir(exist_ok=True)
        with np.load(GOLDENS / "clip" / COOP) as stored:
            arrays = {name: stored[name].copy() for name in stored.files}
        change(arrays)
        np.savez(folder / "renamed.npz", **arrays)
        manifest = {"cases": [{**coop_entry, "file": "renamed.npz", **entry}]}
        (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        shutil.copytree(GOLDENS / "tiny_clip", tmp_path / "tiny_clip", dirs_exist_ok=True)
        return folder

    return make


@pytest.fixture
def add_to() -> Callable[[str, float], Change]:
    """A change that adds a number to the last entry of an array."""

    def make(name: str, number: float) -> Change:
        def change(arrays: dict[str, np.ndarray]) -> None:
            flat = arrays[name].reshape(-1)
            flat[-1] += number
            arrays[name] = flat.reshape(arrays[name].shape)

        return change

    return make
