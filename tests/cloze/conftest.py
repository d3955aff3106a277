"""Fixtures of the tests of text methods."""

from collections.abc import Callable
from pathlib import Path

import pytest

import vlprompt as vp
from tests.cloze.texts import KINDS
from vlprompt.backbones.lm import LanguageModel


@pytest.fixture(scope="session")
def goldens() -> dict[str, LanguageModel]:
    """The shared models that are loaded already."""
    return {}


@pytest.fixture(params=[*KINDS, *(f"shared {name}" for name in KINDS)])
def any_lm(
    request: pytest.FixtureRequest, tiny_lm: Callable[[str], LanguageModel], goldens: dict[str, LanguageModel]
) -> LanguageModel:
    """A random model, or one of the shared goldens where they are available."""
    name = str(request.param)
    if not name.startswith("shared "):
        return tiny_lm(name)
    folder: Path = request.getfixturevalue("shared") / "goldens" / f"tiny_{name.removeprefix('shared ')}"
    return goldens.get(name) or goldens.setdefault(name, vp.load_lm(f"local-dir:{folder}"))
