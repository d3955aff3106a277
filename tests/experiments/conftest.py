"""The bundled CLIP, features that the tests of a file share, and a runner with a folder of its own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vlprompt as vp
from vlprompt.data.features import FeatureStore
from vlprompt.experiments.runner import Runner

MakeRunner = Callable[..., Runner]


@pytest.fixture(scope="module")
def clip() -> vp.Clip:
    return vp.load_clip("tiny")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return FeatureStore(tmp_path_factory.mktemp("store"))


@pytest.fixture
def make_runner(clip: vp.Clip, store: FeatureStore, tmp_path: Path) -> MakeRunner:
    """make_runner("name", epochs=2): a folder of that name, the bundled CLIP, no augmentation, training settings."""

    def make(name: str = "out", backbone: Any = None, **training: Any) -> Runner:
        settings = {"augment": "none", **training}
        return Runner(backbone or clip, tmp_path / name, store, settings, quiet=True)

    return make
