"""Mutated configurations and tokenizers: a model loads, or there is one clear line."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.fuzz.mutations import mutate_bytes, mutate_json_file
from tests.backbones.test_folder_checks import clip_folder, lm_folder, timm_folder
from vlprompt.backbones.lm_loading import load_lm
from vlprompt.backbones.loading import load_backbone
from vlprompt.errors import VlpromptError

__all__ = ["clip_folder", "lm_folder", "timm_folder"]  # fixtures
pytestmark = pytest.mark.filterwarnings("ignore")  # of libraries, about the settings of the mutated files
EACH = 20


def use(load: Callable[[str], Any], folder: Path) -> None:
    """Load a folder and use what loads; an error is one printable line."""
    message = ""
    try:
        backbone = load(f"local-dir:{folder}")
        assert backbone.fingerprint
        if load is load_lm:
            assert isinstance(backbone.max_length, int)
            assert backbone.vocabulary.fingerprint
    except VlpromptError as error:
        message = str(error)
    assert message.isprintable()
    assert len(message) <= 2000


CASES = {
    "clip_folder open_clip_config.json": load_backbone,
    "timm_folder config.json": load_backbone,
    "lm_folder config.json": load_lm,
    "lm_folder tokenizer_config.json": load_lm,
    "lm_folder tokenizer.json": load_lm,
}


@pytest.mark.parametrize("case", CASES)
def test_a_mutated_file_is_success_or_one_error(case: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    source, name = case.split()
    folder = tmp_path / "model"
    shutil.copytree(request.getfixturevalue(source), folder)
    content = (folder / name).read_bytes()
    for seed in range(EACH):
        rng = random.Random(f"{case} {seed}")
        (folder / name).write_bytes(mutate_json_file(rng, content))
        use(CASES[case], folder)


@pytest.mark.parametrize("source", ["clip_folder", "timm_folder", "lm_folder"])
def test_mutated_weights_are_success_or_one_error(source: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(request.getfixturevalue(source), folder)
    (weights,) = folder.glob("*.safetensors")
    content = weights.read_bytes()
    for seed in range(5):
        weights.write_bytes(mutate_bytes(random.Random(seed), content[:2000]) + content[2000:])
        use(load_lm if source == "lm_folder" else load_backbone, folder)
