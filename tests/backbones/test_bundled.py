"""The bundled CLIP: its vocabulary, its accuracy, and errors for damaged folders."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits

from vlprompt.backbones import bundled
from vlprompt.backbones.bundled import load_compact, load_tiny
from vlprompt.errors import VlpromptError

PACKAGED = Path(bundled.__file__).parent / "tiny_clip"
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CONFIG = {
    "model_cfg": {
        "embed_dim": 8,
        "vision_cfg": {"image_size": 8, "layers": 1, "width": 8, "head_width": 8, "patch_size": 4},
        "text_cfg": {"context_length": 6, "vocab_size": 30, "width": 8, "heads": 1, "layers": 1},
    },
    "preprocess_cfg": {"size": [8, 8], "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "nearest"},
}


@pytest.fixture(scope="module")
def tiny() -> tuple[Any, frozenset[int]]:
    return load_tiny()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A compact folder of a very small model that was trained on five of thirty tokens."""
    torch.manual_seed(1)
    tensors = {name: tensor.half() for name, tensor in open_clip.CLIP(**CONFIG["model_cfg"]).state_dict().items()}
    ids = torch.tensor([2, 3, 11, 28, 29], dtype=torch.int32)
    tensors["token_embedding.weight"] = tensors["token_embedding.weight"][ids.long()]
    write(tmp_path, {**tensors, "token_ids": ids}, CONFIG)
    return tmp_path


def write(folder: Path, tensors: dict[str, torch.Tensor], config: dict[str, Any]) -> None:
    save_file(tensors, folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps(config))


def refusal(folder: Path) -> str:
    with pytest.raises(VlpromptError) as caught:
        load_compact(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert "pretrain_tiny_clip.py" in message
    return message


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """All 1,797 handwritten digits as the model reads them, and their labels."""
    data = load_digits()
    pictures = [Image.fromarray(np.round(image * 255 / 16).astype(np.uint8)) for image in data.images]
    pixels = np.stack([np.asarray(p.convert("RGB").resize((32, 32), Image.Resampling.BICUBIC)) for p in pictures])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255, torch.from_numpy(data.target)


def test_it_classifies_handwritten_digits_zero_shot(tiny: tuple[Any, frozenset[int]]) -> None:
    model, known = tiny
    tokens = open_clip.get_tokenizer("ViT-B-32")([f"a photo of the digit {name}." for name in NAMES])
    assert set(tokens.flatten().tolist()) - {0} <= known  # 0 is padding
    images, labels = digits()
    config = model.visual.preprocess_cfg
    images = (images - torch.tensor(config["mean"])[:, None, None]) / torch.tensor(config["std"])[:, None, None]
    with torch.no_grad():
        scores = F.normalize(model.encode_image(images), dim=-1) @ F.normalize(model.encode_text(tokens), dim=-1).T
    assert (scores.argmax(1) == labels).double().mean() >= 0.80


def test_it_is_small_and_ready_to_use(tiny: tuple[Any, frozenset[int]]) -> None:
    model, _ = tiny
    assert sum(file.stat().st_size for file in PACKAGED.iterdir()) <= 8_000_000
    assert not model.training
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert open_clip.get_model_preprocess_cfg(model)["size"] == [32, 32]


def test_untrained_words_have_the_mean_embedding(tiny: tuple[Any, frozenset[int]]) -> None:
    model, known = tiny
    tokenizer = open_clip.SimpleTokenizer()
    for text in ("a photo of the digit 7.", "a blurry picture of a capital letter b, white on black", "itap of a star"):
        assert set(tokenizer.encode(text)) <= known
    lizard = tokenizer.encode("lizard")
    assert not set(lizard) & known
    mean = model.token_embedding.weight[sorted(known)].mean(0)
    assert torch.allclose(model.token_embedding.weight[lizard[0]], mean, atol=1e-5)
    assert not torch.allclose(model.token_embedding.weight[tokenizer.encode("seven")[0]], mean, atol=1e-3)


def test_rows_are_restored_to_their_ids(folder: Path) -> None:
    model, known = load_compact(folder)
    rows = load_file(folder / "open_clip_model.safetensors")["token_embedding.weight"].float()
    assert known == {2, 3, 11, 28, 29}
    assert torch.equal(model.token_embedding.weight[[2, 3, 11, 28, 29]], rows)
    others = model.token_embedding.weight[[i for i in range(30) if i not in known]]
    assert torch.equal(others, rows.mean(0).expand_as(others))
    assert open_clip.get_model_preprocess_cfg(model)["interpolation"] == "nearest"


def test_loading_leaves_the_generator_unchanged(folder: Path) -> None:
    before = torch.get_rng_state()
    load_compact(str(folder))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "open_clip_model.safetensors").unlink()
    assert "open_clip_model.safetensors: it cannot be read" in refusal(folder)
    assert "open_clip_config.json: it cannot be read" in refusal(folder / "nowhere")


@pytest.mark.parametrize("size", [0, 7, 300, -1])
def test_cut_off_weights_are_refused(folder: Path, size: int) -> None:
    path = folder / "open_clip_model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    assert "it is damaged" in refusal(folder)


@pytest.mark.parametrize(("text", "why"), [('{"model_cfg"', "damaged"), ("\xff", "damaged"), ("[1]", "do not fit")])
def test_a_damaged_config_is_refused(folder: Path, text: str, why: str) -> None:
    (folder / "open_clip_config.json").write_bytes(text.encode("latin-1"))
    assert why in refusal(folder)


@pytest.mark.parametrize("change", ["layers", "unknown", "absent", "preprocess"])
def test_a_config_of_another_model_is_refused(folder: Path, change: str) -> None:
    config = json.loads(json.dumps(CONFIG))
    if change == "layers":
        config["model_cfg"]["text_cfg"]["layers"] = 2
    elif change == "unknown":
        config["model_cfg"]["colour"] = "red"
    else:
        del config["model_cfg" if change == "absent" else "preprocess_cfg"]
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    assert "do not fit" in refusal(folder)


@pytest.mark.parametrize("ids", [[2, 3, 11, 28], [2, 3, 11, 28, 28], [2, 3, 11, 28, 30], [-1, 3, 11, 28, 29], None])
def test_ids_that_do_not_name_the_rows_are_refused(folder: Path, ids: list[int] | None) -> None:
    tensors = load_file(folder / "open_clip_model.safetensors")
    del tensors["token_ids"]
    write(folder, tensors if ids is None else {**tensors, "token_ids": torch.tensor(ids)}, CONFIG)
    assert "token_ids" in refusal(folder)


def test_numbers_that_are_not_finite_are_refused(folder: Path) -> None:
    tensors = load_file(folder / "open_clip_model.safetensors")
    tensors["text_projection"][0, 0] = float("nan")
    write(folder, tensors, CONFIG)
    assert "not finite" in refusal(folder)
