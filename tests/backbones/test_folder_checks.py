"""Hostile folders of models: none of their code runs, no file outside of them is opened, no absurd size is built."""

import gzip
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import timm
import torch
from safetensors.torch import save_file

from tests.backbones.test_loading import MODEL, PIXELS
from vlprompt.backbones.folder_checks import check_folder, check_settings
from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.lm_loading import load_lm
from vlprompt.backbones.loading import load_backbone, load_clip
from vlprompt.errors import VlpromptError

Edit = Callable[[dict[str, Any], Path], Any]
CODE = """
from pathlib import Path
(Path(__file__).parent / "RAN").touch()
from transformers import PreTrainedConfig, PreTrainedTokenizer
class C(PreTrainedConfig): model_type = "evil"
class T(PreTrainedTokenizer): pass
class M: pass
"""


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": MODEL, "preprocess_cfg": PIXELS}))
    save_file(open_clip.CLIP(**MODEL).state_dict(), folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture(scope="module")
def timm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("timm")
    model = timm.create_model("test_vit")
    (folder / "config.json").write_text(json.dumps({"architecture": "test_vit", "num_classes": 1000}))
    save_file(model.state_dict(), folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def lm_folder(tmp_path_factory: pytest.TempPathFactory, tiny_lm: Callable[[str], LanguageModel]) -> Path:
    folder, lm = tmp_path_factory.mktemp("lm"), tiny_lm("bert")
    lm.model.save_pretrained(folder)
    lm.vocabulary.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def copy(tmp_path: Path) -> Callable[..., Path]:
    """A copy of a folder with an edited configuration, with code and secrets inside and beside it."""

    def make(source: Path, name: str, edit: Edit) -> Path:
        folder = tmp_path / "model"
        shutil.copytree(source, folder)
        config = json.loads((folder / name).read_text()) if (folder / name).exists() else {}
        edit(config, folder)
        (folder / name).write_text(json.dumps(config))
        (folder / "evil.py").write_text(CODE)
        torch.save({}, tmp_path / "x.pth")
        return folder

    return make


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Questions, downloads and unpickling that a library has tried; there must be none."""
    tried: list[str] = []

    def forbidden(name: str) -> Callable[..., Any]:
        def fail(*args: Any, **_: Any) -> Any:
            tried.append(f"{name} {args}")
            raise OSError(name)

        return fail

    for name in ("builtins.input", "torch.load", "gzip.open", "socket.socket.connect", "socket.getaddrinfo"):
        monkeypatch.setattr(name, forbidden(name))
    return tried


def refused(load: Callable[[str], Any], folder: Path) -> str:
    with pytest.raises(VlpromptError) as caught:
        load(f"local-dir:{folder}")
    assert "\n" not in str(caught.value)
    assert not list(folder.glob("**/RAN")), "code of the folder has run"
    return str(caught.value)


def text(**settings: Any) -> Edit:
    return lambda config, _: config["model_cfg"]["text_cfg"].update(settings)


def vision(**settings: Any) -> Edit:
    return lambda config, _: config["model_cfg"]["vision_cfg"].update(settings)


def own_tower(config: dict[str, Any], folder: Path) -> None:
    """A text tower of transformers in the folder, whose configuration names code."""
    config["model_cfg"]["text_cfg"] = {"hf_model_name": str(folder), "hf_tokenizer_name": "x"}
    (folder / "config.json").write_text(json.dumps({"model_type": "e", "auto_map": {"AutoConfig": "evil.C"}}))


def own_tokenizer(config: dict[str, Any], folder: Path) -> None:
    config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "x"
    written = {"tokenizer_class": "T", "auto_map": {"AutoTokenizer": ["evil.T", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(written))


OPEN_CLIP: dict[str, tuple[Edit, str]] = {
    "trusted code": (text(hf_tokenizer_name="x", tokenizer_kwargs={"trust_remote_code": True}), "trust_remote_code"),
    "code of a tokenizer": (own_tokenizer, "names code (auto_map)"),
    "code of a text tower": (own_tower, "names code (auto_map)"),
    "tower of the hub": (text(hf_model_name="evil/repo"), "'evil/repo', which is not in the folder"),
    "tower elsewhere": (text(hf_model_name="/"), "'/', which is not in the folder"),
    "vision tower of the hub": (vision(timm_model_name="hf-hub:evil/x"), "is no architecture of timm"),
    "vocabulary elsewhere": (text(tokenizer_kwargs={"bpe_path": "/x/bomb.gz"}), "bpe_path names a file outside"),
    "vocabulary inside": (text(tokenizer_kwargs={"bpe_path": "bomb.gz"}), "tokenizer_kwargs is"),
    "other option": (text(tokenizer_kwargs={"cache_dir": "x"}), "tokenizer_kwargs is"),
    "layers": (vision(layers=10**9), "layers is 1000000000; at most 1000"),
    "text layers": (text(layers=10**6), "at most 1000"),
    "width": (vision(width=10**6), "far larger model than its weights"),
    "text width": (text(width=10**6), "far larger model than its weights"),
    "image": (vision(image_size=10**6), "at most 4096"),
    "length": (text(context_length=10**6), "far larger model than its weights"),
    "negative": (text(vocab_size=-(10**12)), "at most"),
    "no table": (lambda config, _: config.update(model_cfg=5), "could not be loaded"),
}


@pytest.mark.parametrize("fault", OPEN_CLIP)
def test_hostile_folders_of_open_clip(
    fault: str, clip_folder: Path, copy: Callable[..., Path], opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    edit, expected = OPEN_CLIP[fault]
    assert expected in refused(load_clip, copy(clip_folder, "open_clip_config.json", edit))
    assert not opened


TIMM: dict[str, tuple[Edit, str]] = {
    "pickle": (lambda c, f: c.update(model_args={"checkpoint_path": str(f.parent / "x.pth")}), "checkpoint_path"),
    "pickle inside": (lambda c, _: c.update(model_args={"checkpoint_path": "x.pth"}), "would open other weights"),
    "pretrained": (lambda c, _: c.update(model_args={"pretrained": True}), "would open other weights"),
    "file": (
        lambda c, f: c.update(model_args={"pretrained": 1}, pretrained_cfg={"file": str(f.parent / "x.pth")}),
        "would open other weights|names a file outside",
    ),
    "hub": (lambda c, _: c.update(architecture="hf-hub:evil/x"), "is no architecture of timm"),
    "folder": (lambda c, _: c.update(architecture="local-dir:/x"), "is no architecture of timm"),
    "list": (lambda c, _: c.update(architecture=["test_vit"]), "is no architecture of timm"),
    "depth": (lambda c, _: c.update(model_args={"depth": 10**7}), "depth is 10000000; at most 1000"),
    "width": (lambda c, _: c.update(model_args={"embed_dim": 640_000}), "far larger model than its weights"),
    "classes": (lambda c, _: c.update(num_classes=10**8), "far larger model than its weights"),
    "preprocessing": (lambda c, _: c.update(pretrained_cfg=1), "does not describe"),
    "mean": (lambda c, _: c.update(pretrained_cfg={"mean": "abc"}), "does not give features"),
}


@pytest.mark.parametrize("fault", TIMM)
def test_hostile_folders_of_timm(fault: str, timm_folder: Path, copy: Callable[..., Path], opened: list[str]) -> None:
    edit, expected = TIMM[fault]
    message = refused(load_backbone, copy(timm_folder, "config.json", edit))
    assert any(each in message for each in expected.split("|")), message
    assert not opened


def unknown_type(config: dict[str, Any], _: Path) -> None:
    config.update(model_type="evil", auto_map={"AutoConfig": "evil.C", "AutoModelForMaskedLM": "evil.M"})


def index(_: dict[str, Any], folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../../x.safetensors"}}))


def config_of_tokenizer(**settings: Any) -> Edit:
    def edit(_: dict[str, Any], folder: Path) -> None:
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))

    return edit


LM: dict[str, tuple[Edit, str]] = {
    "code": (unknown_type, "names code (auto_map)"),
    "type": (lambda c, _: c.update(model_type="evil"), "model_type is 'evil'"),
    "kernel": (lambda c, _: c.update(attn_implementation="org/kernel"), "names code of a hub"),
    "own kernel": (lambda c, _: c.update(_attn_implementation="org/kernel"), "names code of a hub"),
    "kernel inside": (lambda c, _: c.update(text_config={"attn_implementation": {"": "a/b"}}), "code of a hub"),
    "weights elsewhere": (index, "weight_map names a file outside"),
    "code of the tokenizer": (config_of_tokenizer(auto_map={"AutoTokenizer": ["a/b--evil.T", None]}), "names code"),
    "vocabulary elsewhere": (config_of_tokenizer(vocab_file="/etc/passwd"), "vocab_file names a file outside"),
    "tokenizer elsewhere": (config_of_tokenizer(tokenizer_file="../x.json"), "tokenizer_file names a file outside"),
    "other tokenizer": (config_of_tokenizer(fast_tokenizer_files=["../tokenizer.1.json"]), "names a file outside"),
    "adapter": (lambda _, f: (f / "adapter_config.json").write_text("{}"), "is an adapter for another model"),
    "quantized": (lambda c, _: c.update(quantization_config={"quant_method": "torchao"}), "is quantized"),
    "layers": (lambda c, _: c.update(num_hidden_layers=10**9), "at most 1000"),
    "width": (lambda c, _: c.update(hidden_size=10**6, num_attention_heads=1), "far larger model"),
    "vocabulary": (lambda c, _: c.update(vocab_size=10**9), "far larger model"),
}


@pytest.mark.parametrize("fault", LM)
def test_hostile_folders_of_language_models(
    fault: str, lm_folder: Path, copy: Callable[..., Path], opened: list[str]
) -> None:
    edit, expected = LM[fault]
    assert expected in refused(load_lm, copy(lm_folder, "config.json", edit))
    assert not opened


DEEP: list[tuple[dict[str, Any], str]] = [
    ({"a": [[{"auto_map": {"A": "b.C"}}]]}, "names code (auto_map)"),
    ({"a": {"b": [{"c": [[{"trust_remote_code": 1}]]}]}}, "names code (trust_remote_code)"),
    ({"vocab_file": [["/etc/passwd"]]}, "vocab_file names a file outside"),
    ({"vocab_file": {"a": {"b": "/etc/passwd"}}}, "vocab_file names a file outside"),
    ({"a": [[{"merges_files": [{"b": "../x"}]}]]}, "merges_files names a file outside"),
    ({"_attn_implementation_internal": "org/kernel"}, "names code of a hub"),
    ({"a": [{"experts_implementation_x": [{"": ["org/kernel"]}]}]}, "names code of a hub"),
    ({"layers": [[10**9]]}, "layers is 1000000000; at most 1000"),
    ({"layers": 1e9}, "at most 1000"),
    ({"a": [[{"depth": [[-2000.0]]}]]}, "depth is -2000.0; at most 1000"),
    ({"width": [[2e9]]}, "at most 1000000000"),
]


@pytest.mark.parametrize(("settings", "expected"), DEEP, ids=str)
def test_settings_are_checked_at_any_depth(settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(VlpromptError) as caught:
        check_settings(settings, "config.json")
    assert expected in str(caught.value)


def test_links_out_of_a_folder_are_refused(clip_folder: Path, copy: Callable[..., Path], tmp_path: Path) -> None:
    folder = copy(clip_folder, "open_clip_config.json", lambda *_: None)
    weights = folder / "open_clip_model.safetensors"
    weights.rename(tmp_path / "elsewhere")
    weights.symlink_to(tmp_path / "elsewhere")
    assert "is a link to a place outside" in refused(load_clip, folder)
    weights.unlink()
    shutil.move(tmp_path / "elsewhere", folder / "weights")
    weights.symlink_to("weights")
    load_clip(f"local-dir:{folder}")
    (folder / "data").symlink_to(folder)
    load_clip(f"local-dir:{folder}")
    (folder / "more").symlink_to(tmp_path)
    assert "more is a link to a place outside" in refused(load_clip, folder)


def test_snapshots_of_the_hub_are_links_to_their_blobs(lm_folder: Path, tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "models--a--b" / "blobs", tmp_path / "models--a--b" / "snapshots" / "1"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, file in enumerate(lm_folder.iterdir()):
        shutil.copy(file, blobs / str(number))
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    load_lm(f"local-dir:{snapshot}")
    (tmp_path / "secret").touch()
    (blobs / "0").unlink()
    (blobs / "0").symlink_to(tmp_path / "secret")
    assert "is a link to a place outside" in refused(load_lm, snapshot)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("name", ["open_clip_model.safetensors", "vocab.txt", "special_tokens_map.json"])
def test_pipes_in_a_folder_are_refused(name: str, clip_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(clip_folder, tmp_path / "model")
    (tmp_path / "model" / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / "model" / name)
    refused(load_clip, tmp_path / "model")


@pytest.mark.parametrize("content", ["[" * 100_000, "1" * 5000, '{"a": NaN}', '{"a": "\\ud800"}', "5", "[]"])
@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_damaged_configurations_are_one_line(name: str, content: str, clip_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(clip_folder, tmp_path / "model")
    (tmp_path / "model" / name).write_text(content)
    assert name in refused(load_backbone, tmp_path / "model")


def test_settings_of_ordinary_models_pass(lm_folder: Path) -> None:
    check_folder(lm_folder)
    legacy = {
        "special_tokens_map_file": "/mnt/models/map.json",
        "name_or_path": "/mnt/models/x",
        "model_max_length": 10**30,
    }
    check_settings({**legacy, "tokenizer_file": None, "rope_theta": 3.6e9, "attn_implementation": "sdpa"}, "")
    check_settings({"metadata": {"total_size": 10**12}, "weight_map": {"layers.0": "model-1-of-2.safetensors"}}, "")


def test_a_gzip_bomb_stays_closed(clip_folder: Path, copy: Callable[..., Path], tmp_path: Path) -> None:
    with gzip.open(tmp_path / "bomb.gz", "wb") as file:
        file.write(bytes(10**6))
    edit = text(tokenizer_kwargs={"bpe_path": str(tmp_path / "bomb.gz")})
    assert "names a file outside" in refused(load_clip, copy(clip_folder, "open_clip_config.json", edit))
