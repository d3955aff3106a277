"""Three kinds of handwritten digits as files, and sweeps of many short runs over them."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import vlprompt as vp

# 3 shots x 10 seeds x 2 learners, and zero-shot once: 61 runs.
GRID = """
protocol = "few_shot"
task = "photos"
learners = ["zero_shot", "coop", "linear_probe"]
shots = [1, 2, 3]
seeds = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
set.train = { augment = "none", epochs = 3 }
set.coop.n_ctx = 2
"""
RUNS = 61


@pytest.fixture(scope="package")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds `photos/` with sixteen images of each of three digits."""
    folder = tmp_path_factory.mktemp("digits")
    task = vp.load_task("digits")
    for label, name in enumerate(("zero", "one", "two")):
        (folder / "photos" / name).mkdir(parents=True)
        for example in [each for each in task.test if each.label == label][:16]:
            task.images.open(example.item).save(folder / "photos" / name / f"{example.item}.png")
    return folder


@pytest.fixture(scope="package")
def environment(photos: Path) -> dict[str, str]:
    """For processes that sweep: one thread each, their own feature store, and a Ray that reports to nobody."""
    code = str(Path(vp.__file__).parents[1])
    own = {"OMP_NUM_THREADS": "1", "VLPROMPT_CACHE": str(photos / "cache"), "PYTHONPATH": code}
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": ""}
    return {**os.environ, **own, **quiet}


@pytest.fixture(scope="package")
def start(photos: Path, environment: dict[str, str]) -> Callable[..., "subprocess.Popen[str]"]:
    """Start `vlprompt sweep` in its own process, in the folder of the photos."""

    def started(*arguments: str, grid: str = GRID, **more: str) -> "subprocess.Popen[str]":
        (photos / "grid.toml").write_text(grid)
        command = [sys.executable, "-m", "vlprompt", "sweep", "grid.toml", *arguments]
        return subprocess.Popen(
            command,
            cwd=photos,
            env={**environment, **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return started
