"""Loading of backbones by name, and one-line errors."""

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from vlprompt.backbones.loading import load_backbone, load_clip
from vlprompt.data.transforms import Preprocess
from vlprompt.errors import UsageError, VlpromptError, VlpromptWarning

MODEL = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
PIXELS = {"size": [16, 16], "mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7], "interpolation": "bilinear"}


def small(seed: int = 0, **options: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return open_clip.CLIP(**MODEL, **options)


def save(folder: Path, model: Any, model_cfg: dict[str, Any] = MODEL, **pixels: Any) -> Path:
    folder.mkdir(exist_ok=True)
    config = {"model_cfg": model_cfg, "preprocess_cfg": {**PIXELS, **pixels}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder in open_clip's format."""
    return save(tmp_path / "model", small())


def refusal(*args: str, kind: type[VlpromptError] = VlpromptError, **options: Any) -> str:
    """The error of a refused request, which is one line."""
    with pytest.raises(kind) as caught:
        load_clip(*args, **options)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 800
    return str(caught.value)


def test_a_folder_gives_its_weights_and_pixels(folder: Path) -> None:
    clip = load_clip(f"local-dir:{folder}")
    ids = open_clip.tokenize(["a cat"], context_length=16)
    torch.testing.assert_close(clip.encode_texts(["a cat"]), small().eval().encode_text(ids).detach())
    assert clip.preprocess == Preprocess(16, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7), "bilinear", "shortest")
    assert clip.name == f"local-dir:{folder}"
    assert clip.tokenizer.context_length == 16


def test_resizing_follows_the_config(tmp_path: Path) -> None:
    squashed = load_clip(f"local-dir:{save(tmp_path / 'a', small(), resize_mode='squash')}")
    assert squashed.preprocess.resize == "squash"
    assert "unknown resize 'longest'" in refusal(f"local-dir:{save(tmp_path / 'b', small(), resize_mode='longest')}")


def test_images_that_are_not_square_are_refused(tmp_path: Path) -> None:
    folder = save(tmp_path, small())
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"]["image_size"] = [16, 32]
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    assert "images of [16, 32] pixels; only square ones" in refusal(f"local-dir:{folder}", "random")


def test_random_weights_are_reproducible_and_leave_the_generator_unchanged(folder: Path) -> None:
    clips = []
    for seed, tag in enumerate(("random", "random", "")):
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        clips.append(load_clip(f"local-dir:{folder}", tag))
        assert torch.equal(torch.get_rng_state(), state)
    first, second, _ = clips
    assert first.fingerprint == second.fingerprint
    assert first.name.endswith("/random")


def test_a_model_of_open_clip_with_a_file_of_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-B-16", MODEL)
    save_file(small(3).state_dict(), tmp_path / "mine.safetensors")
    with pytest.warns(VlpromptWarning, match=r"differ in quick_gelu.* such as openai:FILE"):
        clip = load_clip("ViT-B/16", str(tmp_path / "mine.safetensors"))  # OpenAI's spelling is accepted
    assert clip.name.startswith("ViT-B-16/")
    assert torch.equal(clip.model.text_projection, small(3).text_projection)
    torch.save(small().state_dict(), tmp_path / "mine.pt")
    assert "not a safetensors file" in refusal("ViT-B-16", str(tmp_path / "mine.pt"))


@pytest.mark.parametrize(("tag", "quick"), [("openai", True), ("laion2b_s34b_b88k", False)])
def test_weights_get_the_activation_they_were_trained_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tag: str, quick: bool
) -> None:
    """open_clip alone runs "ViT-B-16" with OpenAI's weights with the wrong GELU and only warns."""
    save_file(small().state_dict(), tmp_path / "w.safetensors")
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-B-16", MODEL)
    monkeypatch.setattr(open_clip.factory, "download_pretrained", lambda *_, **__: str(tmp_path / "w.safetensors"))
    clip = load_clip("ViT-B-16", tag)
    assert any(type(module).__name__ == "QuickGELU" for module in clip.model.transformer.modules()) is quick


@pytest.mark.parametrize(("tag", "quick"), [("openai", True), ("laion2b_s34b_b88k", False)])
def test_a_file_has_the_activation_of_the_tag_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tag: str, quick: bool
) -> None:
    save_file(small().state_dict(), tmp_path / "w.safetensors")
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-B-16", MODEL)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for file in (f"{tmp_path}/w.safetensors", "~/w.safetensors", "w.safetensors"):
        clip = load_clip("ViT-B-16", f"{tag}:{file}")
        assert any(type(module).__name__ == "QuickGELU" for module in clip.model.transformer.modules()) is quick
        assert clip.name == f"ViT-B-16/{tag}:{file}"
    assert "unknown weights of ViT-B-16" in refusal("ViT-B-16", f"{tag}:missing.safetensors")


@pytest.mark.parametrize("name", ["ViT-B-16", "MobileCLIP-S1", "ViT-H-14-CLIPA"])
def test_a_file_has_the_preprocessing_that_all_tags_of_its_model_share(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file(small().state_dict(), tmp_path / "w.safetensors")
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, MODEL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        got = load_clip(name, str(tmp_path / "w.safetensors")).preprocess
    wanted = open_clip.get_pretrained_cfg(name, open_clip.list_pretrained_tags_by_model(name)[0])
    assert (got.mean, got.std) == (tuple(wanted["mean"]), tuple(wanted["std"]))
    assert (got.interpolation, got.resize) == (wanted["interpolation"], wanted["resize_mode"])


def test_a_folder_can_be_given_with_a_tilde_or_relative(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.chdir(folder.parent)
    names = ("local-dir:~/model", "local-dir:model", "local-dir:./model/", f"local-dir:{folder}")
    assert len({load_backbone(name).fingerprint for name in names}) == 1


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_tiny_is_the_bundled_model(folder: Path, monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    model = open_clip.create_model(f"local-dir:{folder}")
    known = frozenset(open_clip.SimpleTokenizer().encode("a photo of x"))
    monkeypatch.setattr("vlprompt.backbones.loading.load_tiny", lambda: (model, known))
    clip = load_clip("tiny", precision=precision)
    assert (clip.name, clip.precision, clip.preprocess.size) == ("tiny", precision, 16)
    assert clip.dtype is {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    assert clip.tokenizer.context_length == 16  # the model's, though its tokenizer goes to 77
    with pytest.warns(VlpromptWarning, match="not trained on 'cat'"):
        assert clip.encode_texts(["a photo of a cat"]).dtype is torch.float32


def test_a_hugging_face_tower_from_a_folder(tmp_path: Path, build: Callable[[str], Any]) -> None:
    built = build("roberta")
    built.model.text.transformer.config.save_pretrained(tmp_path)
    built.tokens.save_pretrained(tmp_path)
    text = {"hf_model_name": str(tmp_path), "hf_tokenizer_name": "its own", "context_length": 20}
    save(
        tmp_path, built.model, model_cfg={**MODEL, "vision_cfg": {**MODEL["vision_cfg"], "layers": 2}, "text_cfg": text}
    )
    clip = load_clip(f"local-dir:{tmp_path}")
    torch.testing.assert_close(clip.encode_texts(["a grey owl", "cat"]), built.texts(["a grey owl", "cat"]))
    assert clip.tokenizer.context_length == 20  # the tower has 40 positions, open_clip pads to 20


def test_unknown_names_are_refused_with_the_nearest_names() -> None:
    assert "unknown backbone 'ViT-B-61'; did you mean 'ViT-B-16'?" in refusal("ViT-B-61", "openai", kind=UsageError)
    assert "unknown backbone 'tiney'; did you mean 'tiny'?" in refusal("tiney", kind=UsageError)
    assert "did you mean 'openai'?" in refusal("ViT-B-16", "opnai", kind=UsageError)
    assert "needs weights: give pretrained as one of openai," in refusal("ViT-B-16", kind=UsageError)


def test_contradicting_options_are_refused(folder: Path) -> None:
    assert "'tiny' contains its own weights" in refusal("tiny", "openai", kind=UsageError)
    assert "contains its own weights" in refusal(f"local-dir:{folder}", "openai", kind=UsageError)
    assert "contains its own weights" in refusal("hf-hub:org/repo", "openai", kind=UsageError)
    assert "unknown precision 'fp8'" in refusal(f"local-dir:{folder}", precision="fp8", kind=UsageError)


def edit_config(folder: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    config = json.loads((folder / "open_clip_config.json").read_text())
    edit(config)
    (folder / "open_clip_config.json").write_text(json.dumps(config))


def damage(folder: Path) -> None:
    weights = folder / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no folder": (shutil.rmtree, "there is no folder"),
    "no config": (lambda f: (f / "open_clip_config.json").unlink(), "contains no open_clip_config.json"),
    "no weights": (lambda f: (f / "open_clip_model.safetensors").unlink(), "never pickle"),
    "damaged weights": (damage, "check that it is complete"),
    "weights that are none": (lambda f: (f / "open_clip_model.safetensors").write_text("hello"), "could not be loaded"),
    "damaged config": (lambda f: (f / "open_clip_config.json").write_text("{"), "is not valid JSON"),
    "foreign config": (lambda f: (f / "open_clip_config.json").write_text('{"a": 1}'), "missing 'model_cfg'"),
    "half a config": (lambda f: edit_config(f, lambda c: c["model_cfg"].pop("text_cfg")), "KeyError: 'text_cfg'"),
    "unknown setting": (lambda f: edit_config(f, lambda c: c["model_cfg"].update(depth=3)), "'depth'"),
    "another width": (lambda f: edit_config(f, lambda c: c["model_cfg"]["text_cfg"].update(width=64)), "width changed"),
    "another depth": (lambda f: edit_config(f, lambda c: c["model_cfg"]["text_cfg"].update(layers=2)), "Missing key"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_folder_is_one_clear_line(folder: Path, fault: str) -> None:
    spoil, said = FAULTS[fault]
    spoil(folder)
    line = refusal(f"local-dir:{folder}")
    assert said in line
    assert str(folder) in line


def test_a_pickle_is_never_read(folder: Path) -> None:
    """open_clip prefers open_clip_pytorch_model.bin to model.safetensors."""
    (folder / "open_clip_model.safetensors").rename(folder / "model.safetensors")
    load_clip(f"local-dir:{folder}")
    torch.save(small().state_dict(), folder / "open_clip_pytorch_model.bin")
    assert "pickled weights (open_clip_pytorch_model.bin)" in refusal(f"local-dir:{folder}")
    (folder / "model.safetensors").unlink()
    assert "never pickle" in refusal(f"local-dir:{folder}")


def test_an_unavailable_device_is_refused() -> None:
    assert "device 'abacus' cannot be used here" in refusal("tiny", device="abacus", kind=UsageError)
    if not torch.cuda.is_available():
        assert "device 'cuda' cannot be used here" in refusal("tiny", device="cuda", kind=UsageError)


@pytest.mark.parametrize("request_", [("ViT-B-32", "laion2b_s34b_b79k"), ("hf-hub:org/repo",)], ids=str)
def test_a_download_without_a_network_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture, request_: tuple[str, ...]
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert "check the network" in refusal(*request_)
    assert not caplog.records  # open_clip would log the same


def test_a_repository_without_weights_is_not_left_random(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """open_clip only warns and uses random weights."""
    (tmp_path / "config.json").write_text(json.dumps({"model_cfg": MODEL, "preprocess_cfg": PIXELS}))

    def fetch(_: str, filename: str | None = None, **__: Any) -> str:
        if filename != "open_clip_config.json":
            raise FileNotFoundError("no weights here")
        return str(tmp_path / "config.json")

    monkeypatch.setattr(open_clip.factory, "download_pretrained_from_hf", fetch)
    assert "could not be loaded" in refusal("hf-hub:org/repo")


@pytest.mark.parametrize("request_", [("ViT-B-16", "openai"), ("hf-hub:org/repo",)], ids=str)
def test_a_download_of_pickled_weights_is_not_opened(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request_: tuple[str, ...]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_cfg": MODEL, "preprocess_cfg": PIXELS}))
    torch.save(small().state_dict(), tmp_path / "weights.bin")

    def fetch(_: object, filename: str = "", **__: Any) -> str:
        return str(tmp_path / ("config.json" if filename == "open_clip_config.json" else "weights.bin"))

    monkeypatch.setattr(open_clip.factory, "download_pretrained_from_hf", fetch)
    monkeypatch.setattr(open_clip.factory, "download_pretrained", fetch)
    monkeypatch.setattr(torch, "load", None)
    assert "has pickled weights only" in refusal(*request_)


CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "trusted code": ({"hf_tokenizer_name": "a/b", "tokenizer_kwargs": {"trust_remote_code": True}}, "names code"),
    "another tokenizer": ({"hf_tokenizer_name": "evil/x"}, "tokenizer of another repository (evil/x)"),
    "another tower": ({"hf_model_name": "evil/x"}, "no text tower of open_clip"),
    "its own tower": ({"hf_model_name": "org/repo"}, "no text tower of open_clip"),
}


@pytest.mark.parametrize("fault", CONFIGS)
def test_a_repository_that_leads_elsewhere_is_refused(
    fault: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text, expected = CONFIGS[fault]
    config = {"model_cfg": {**MODEL, "text_cfg": {**MODEL["text_cfg"], **text}}, "preprocess_cfg": PIXELS}
    (tmp_path / "config.json").write_text(json.dumps(config))

    def fetch(_: str, filename: str = "", **__: Any) -> str:
        assert filename == "open_clip_config.json", "nothing else is fetched"
        return str(tmp_path / "config.json")

    monkeypatch.setattr(open_clip.factory, "download_pretrained_from_hf", fetch)
    assert expected in refusal("hf-hub:org/repo")


def test_a_missing_optional_package_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit_config(folder, lambda c: c["model_cfg"]["text_cfg"].update(hf_tokenizer_name="some/name"))
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    assert "install it with: pip install 'vlprompt[text]'" in refusal(f"local-dir:{folder}")
