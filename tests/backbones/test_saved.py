"""Saved prompts of unknown origin: every field is checked, and no backbone of a stranger is fetched or run."""

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import vlprompt as vp
from benchmarks.fuzz.mutations import mutate_json
from vlprompt import checkpoint
from vlprompt.backbones.saved import saved_backbone
from vlprompt.commands.prompts import PromptOptions
from vlprompt.errors import VlpromptError
from vlprompt.learners import CoOp


@pytest.fixture(scope="module")
def clip() -> vp.Clip:
    return vp.load_clip("tiny")


@pytest.fixture(scope="module")
def good(clip: vp.Clip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    CoOp(clip, ("one", "two")).save(folder)
    return folder


@pytest.fixture
def changed(good: Path, tmp_path: Path) -> Callable[..., Path]:
    """A prompt with a valid checksum whose description or tensors are changed."""

    def make(change: Callable[[torch.Tensor], torch.Tensor] = torch.clone, **fields: Any) -> Path:
        tensors, meta = checkpoint.load(good)
        new = {name: change(tensor) for name, tensor in tensors.items()}
        checkpoint.save(tmp_path / "prompt", new, {**meta, **fields})
        return tmp_path / "prompt"

    return make


def refused(action: Callable[[], object]) -> str:
    with pytest.raises(VlpromptError) as caught:
        action()
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) <= 2000
    return str(caught.value)


FIELDS: list[tuple[str, Any]] = [
    ("classes", 5),
    ("classes", "ab"),
    ("classes", []),
    ("classes", [["a"]]),
    ("classes", ["a", None]),
    ("classes", ["a", ""]),
    ("classes", ["a"] * 300_000),
    ("classes", ["a", "word " * 200_000]),
    ("config", []),
    ("config", None),
    ("config", {"n_ctx": 10**9}),
    ("config", {"n_ctx": 1e9}),
    ("config", {"layers": [[1, 10**9]]}),
    ("config", {"layers": {"a": [-1e9]}}),
    ("config", {"n_ctx": "four"}),
    ("config", {"n_ctx": -1}),
    ("config", {"nothing": 1}),
    ("seed", {}),
    ("seed", 2**70),
    ("seed", 1.5),
    ("seed", True),
    ("over", ["a"]),
    ("over", {}),
    ("method", None),
    ("method", "../evil"),
    ("method", "evil.py:Evil"),
    ("method", "os:system"),
    ("fingerprint", 1),
    ("backbone", {"a": 1}),
]


@pytest.mark.parametrize(("key", "value"), FIELDS, ids=lambda value: str(value)[:30])
def test_a_field_of_another_kind_is_one_line(key: str, value: Any, changed: Callable[..., Path], clip: vp.Clip) -> None:
    folder = changed(**{key: value})
    refused(lambda: vp.load(folder, clip))


def test_a_chain_of_wrapped_learners_is_limited(changed: Callable[..., Path], clip: vp.Clip, good: Path) -> None:
    meta = checkpoint.load(good)[1]
    for _ in range(20):
        meta = {**meta, "method": "tpt", "over": meta}
    assert "at most 4 deep" in refused(lambda: vp.load(changed(**meta), clip))


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_tensors_that_are_not_finite_are_refused(number: float, changed: Callable[..., Path], clip: vp.Clip) -> None:
    folder = changed(lambda tensor: torch.full_like(tensor, number))
    assert "holds NaN or infinity" in refused(lambda: vp.load(folder, clip))
    first = changed(lambda tensor: tensor.index_fill(0, torch.tensor([0]), number))
    assert "holds NaN or infinity" in refused(lambda: vp.load(first, clip))


@pytest.mark.parametrize(
    "text",
    ['{"classes": ["\\ud800"]}', '{"seed": NaN}', "[" * 5000, "5", '{"seed": ' + "1" * 5000 + "}", "null", ""],
    ids=lambda text: text[:20],
)
def test_descriptions_that_are_no_json_are_one_line(text: str, tmp_path: Path) -> None:
    header = json.dumps({"format": 1, "meta": text, "sha256": checkpoint._digest(text, {})})
    (tmp_path / "prompt.safetensors").write_bytes(safetensors.torch.save({}, {"vlprompt": header}))
    refused(lambda: checkpoint.load(tmp_path))


@pytest.mark.parametrize("header", ["[]", "5", "null", '"\\udfff"', '{"format": "1", "meta": {}, "sha256": 1}', "["])
def test_headers_that_are_no_records_are_one_line(header: str, tmp_path: Path) -> None:
    (tmp_path / "prompt.safetensors").write_bytes(safetensors.torch.save({}, {"vlprompt": header}))
    refused(lambda: checkpoint.load(tmp_path))


def test_a_huge_sparse_file_is_not_read(tmp_path: Path) -> None:
    size = 20 * 2**30
    header = json.dumps({"x": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    with (tmp_path / "prompt.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + size)
    assert "at most" in refused(lambda: checkpoint.load(tmp_path))


def test_a_huge_copy_of_the_description_is_not_read(changed: Callable[..., Path]) -> None:
    folder = changed()
    with (folder / "prompt.json").open("wb") as file:
        file.truncate(100 * 2**30)
    with pytest.warns(vp.errors.VlpromptWarning, match="differs from the description"):
        checkpoint.load(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused(changed: Callable[..., Path]) -> None:
    folder = changed()
    for name in ("prompt.json", "prompt.safetensors"):
        (folder / name).unlink()
        os.mkfifo(folder / name)
    assert "is a device, a pipe or a socket" in refused(lambda: checkpoint.load(folder))


@pytest.mark.parametrize("name", ["hf-hub:evil/repo", "evil/lm", "roberta-base", "", "http://evil/x", "s3://a"])
@pytest.mark.parametrize("method", ["coop", "prompt_tuning"])
def test_a_hub_address_opens_only_when_the_caller_names_it(
    name: str, method: str, changed: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("the network is used")

    monkeypatch.setattr("socket.getaddrinfo", fail)
    folder = changed(backbone=name, method=method)
    assert f"name it: --backbone {name}" in refused(lambda: PromptOptions().load_prompt(folder))


def test_the_folder_of_a_stranger_runs_no_code(changed: Callable[..., Path], tmp_path: Path) -> None:
    model = tmp_path / "stranger"
    model.mkdir()
    config = {"model_cfg": {"text_cfg": {"hf_tokenizer_name": "x", "tokenizer_kwargs": {"trust_remote_code": True}}}}
    (model / "open_clip_config.json").write_text(json.dumps(config))
    (model / "tokenizer_config.json").write_text(json.dumps({"auto_map": {"AutoTokenizer": ["evil.E", None]}}))
    (model / "evil.py").write_text(f"open({str(tmp_path / 'RAN')!r}, 'w')")
    (model / "model.safetensors").write_bytes(safetensors.torch.save({"x": torch.zeros(1)}))
    folder = changed(backbone=f"local-dir:{model}")
    assert "names code" in refused(lambda: PromptOptions().load_prompt(folder))
    assert not (tmp_path / "RAN").exists()


def test_names_of_libraries_and_local_folders_open(changed: Callable[..., Path], tmp_path: Path) -> None:
    for stated, wanted in {
        "tiny": ("tiny", ""),
        "ViT-B-16/openai": ("ViT-B-16", "openai"),
        "ViT-B-16/openai:/home/w.safetensors": ("ViT-B-16", "openai:/home/w.safetensors"),
        "timm:test_vit/random": ("timm:test_vit/random", ""),
        f"local-dir:{tmp_path}": (f"local-dir:{tmp_path}", ""),
        f"local-dir:{tmp_path}/random": (f"local-dir:{tmp_path}", "random"),
    }.items():
        assert saved_backbone(changed(backbone=stated)) == wanted


@pytest.mark.parametrize("end", ["", "/random"])
def test_a_folder_that_has_moved_is_explained(end: str, changed: Callable[..., Path], tmp_path: Path) -> None:
    folder = changed(backbone=f"local-dir:{tmp_path}/gone{end}")
    message = refused(lambda: PromptOptions().load_prompt(folder))
    assert "there is no such folder; if it has moved, give --backbone local-dir:NEW, or load(" in message


def test_names_with_control_characters_are_escaped(changed: Callable[..., Path]) -> None:
    assert "\\x1b[2J" in refused(lambda: PromptOptions().load_prompt(changed(backbone="\x1b[2Jevil\n")))


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.filterwarnings("ignore::vlprompt.errors.VlpromptWarning")
def test_a_mutated_description_is_success_or_one_error(seed: int, good: Path, tmp_path: Path, clip: vp.Clip) -> None:
    tensors, meta = checkpoint.load(good)
    text = json.dumps(mutate_json(random.Random(seed), meta))
    header = json.dumps({"format": 1, "meta": text, "sha256": checkpoint._digest(text, tensors)})
    (tmp_path / "prompt.safetensors").write_bytes(safetensors.torch.save(tensors, {"vlprompt": header}))
    message = ""
    try:
        vp.load(tmp_path, clip)
    except VlpromptError as error:
        message = str(error)
    assert message.isprintable()
    assert len(message) <= 2000
