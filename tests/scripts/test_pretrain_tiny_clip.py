"""The pre-training script of the tiny CLIP: its pictures, its captions, and interrupted runs."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from vlprompt.backbones.bundled import load_compact

pytest.importorskip("matplotlib", reason="the script takes its fonts from matplotlib (extra `plot`)")

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
COMMAND = [sys.executable, str(SCRIPTS / "pretrain_tiny_clip.py"), "--epochs", "2", "--images-per-epoch", "128"]
FONTS = ("DejaVuSans", "cmr10")
COMMAND += ["--threads", "1", "--check-images", "128", "--fonts", *FONTS, "--out"]


@pytest.fixture(scope="module")
def script(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("pretrain_tiny_clip")


@pytest.fixture(scope="module")
def bank(script: ModuleType) -> Any:
    return script.g.build_bank(FONTS)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run without interruption."""
    out = tmp_path_factory.mktemp("whole")
    subprocess.run([*COMMAND, str(out)], check=True, capture_output=True)
    return out


def test_the_written_folder_can_be_loaded(whole: Path, script: ModuleType) -> None:
    model, known = load_compact(whole)
    assert known == set(script.Words().kept)
    assert model.encode_image(torch.zeros(1, 3, 32, 32)).shape == (1, script.MODEL["embed_dim"])
    assert load_file(whole / "open_clip_model.safetensors")["visual.conv1.weight"].dtype == torch.float16
    assert json.loads((whole / "open_clip_config.json").read_text())["preprocess_cfg"]["interpolation"] == "bicubic"


def test_a_killed_run_continues_to_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    with subprocess.Popen([*COMMAND, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("epoch 1 ")
        os.kill(process.pid, signal.SIGKILL)
    assert not (tmp_path / "open_clip_model.safetensors").exists()
    again = subprocess.run([*COMMAND, str(tmp_path)], check=True, capture_output=True, text=True)
    assert again.stdout.startswith("continue after epoch 1\nepoch 2 ")
    for name in ("open_clip_model.safetensors", "state"):
        assert (tmp_path / name).read_bytes() == (whole / name).read_bytes()


def test_other_settings_and_a_damaged_state_are_refused(whole: Path, tmp_path: Path, script: ModuleType) -> None:
    with pytest.raises(SystemExit, match=r"was saved with .*'seed': 0"):
        script.main([*COMMAND[2:], str(whole), "--seed", "1"])
    (tmp_path / "state").write_bytes((whole / "state").read_bytes()[:1000])
    with pytest.raises(SystemExit, match="state is damaged"):
        script.main([*COMMAND[2:], str(tmp_path)])


def test_fonts_without_a_class_are_refused(tmp_path: Path, script: ModuleType) -> None:
    with pytest.raises(SystemExit, match="none of cmr10 has a character for circle"):
        script.main([*COMMAND[2 : COMMAND.index("--fonts")], "--fonts", "cmr10", "--out", str(tmp_path)])


def test_a_block_depends_on_its_key_only(script: ModuleType, bank: Any) -> None:
    words = script.Words()
    first = script.draw_block(bank, words, (0, 3, 1), 64)
    np.random.default_rng(5).random(10)
    torch.rand(10)
    again = script.draw_block(bank, words, (0, 3, 1), 64)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.tokens, again.tokens)
    for other in ((1, 3, 1), (0, 4, 1), (0, 3, 2)):
        assert not torch.equal(first.images, script.draw_block(bank, words, other, 64).images)


def test_captions_are_true_of_their_picture_and_of_no_other_class(script: ModuleType, bank: Any) -> None:
    block = script.draw_block(bank, script.Words(), (0, 0, 0), 128)
    pictures = script.g.draw(bank, np.random.default_rng((0, 0, 0)), 128)
    assert block.true.diagonal().all()
    assert not block.true[pictures.labels[:, None] != pictures.labels].any()
    same = pictures.labels[:, None] == pictures.labels
    assert 0.1 < block.true[same].double().mean() < 0.9  # attributes distinguish pictures of one class


def test_a_caption_contains_what_it_states(script: ModuleType) -> None:
    facts = np.array([1, 0, -1, -1, -1, -1, -1, -1])  # light on dark, by pen
    for seed in range(50):
        text, stated = script.caption(np.random.default_rng(seed), 7, facts)
        assert "seven" in text or "7" in text
        assert (stated[2:] == -1).all()
        assert (stated[0] == 1) == ("white" in text or "bright" in text)
        assert (stated[1] == 0) == any(word in text for word in ("hand", "pen", "sketch"))


def test_all_classes_and_attributes_are_drawn(script: ModuleType, bank: Any) -> None:
    g = script.g
    pictures = g.draw(bank, np.random.default_rng(0), 2000)
    assert pictures.images.shape == (2000, 1, 32, 32)
    assert 0 <= pictures.images.min() <= pictures.images.max() <= 1
    assert set(pictures.labels.tolist()) == set(range(len(g.NAMES)))
    for column in range(len(g.ATTRIBUTES)):
        assert {0, 1} <= set(pictures.attributes[:, column].tolist())
    contrast = pictures.images.flatten(1).amax(1) - pictures.images.flatten(1).amin(1)
    assert (contrast > 0.2).double().mean() > 0.98  # almost none is blank


def test_attributes_are_visible(script: ModuleType, bank: Any) -> None:
    g = script.g
    pictures = g.draw(bank, np.random.default_rng(1), 2000)
    border = torch.cat([pictures.images[:, 0, 0], pictures.images[:, 0, -1]], 1).mean(1)
    light_on_dark = pictures.attributes[:, g.POLARITY] == 1
    assert border[light_on_dark].mean() < 0.35
    assert border[~light_on_dark].mean() > 0.65
    noise = (pictures.images[:, 0, 0, 1:] - pictures.images[:, 0, 0, :-1]).abs().mean(1)
    assert noise[pictures.attributes[:, g.NOISE] == 1].mean() > 2 * noise[pictures.attributes[:, g.NOISE] == 0].mean()


def test_the_script_uses_no_handwriting() -> None:
    for source in SCRIPTS.glob("*.py"):
        if source.name in ("glyphs.py", "pretrain_tiny_clip.py"):
            assert "sklearn" not in source.read_text()
            assert "torchvision" not in source.read_text()
