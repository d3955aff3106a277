"""Fixtures for every test: where the shared material lies, and one thread so that tests can run side by side."""

import os
from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Tests run in parallel processes; each keeps to one core."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of large goldens, data and models; a test that asks for it is skipped where there is none."""
    folder = Path(os.environ.get("VLPROMPT_SHARED", "../shared"))
    if not (folder / "goldens").is_dir():
        pytest.skip(f"needs the shared material; {folder} is not there (set VLPROMPT_SHARED)")
    return folder
