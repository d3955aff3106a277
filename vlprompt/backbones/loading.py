"""Load a backbone by name: the bundled one, a folder, a model of open_clip or a model of timm."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from vlprompt.backbones.bundled import load_tiny
from vlprompt.backbones.clip import Clip
from vlprompt.backbones.folder_checks import check_folder, check_open_clip
from vlprompt.backbones.memory_limit import MemoryLimit
from vlprompt.backbones.sources import HUB, LOCAL, OFFLINE_HINT, TIMM, device_of, folder_of, one_error, one_line
from vlprompt.backbones.tag_facts import common_facts, split_weights
from vlprompt.backbones.tokens import Tokenizer
from vlprompt.backbones.vit import Vit
from vlprompt.backbones.vit_loading import is_timm_folder, load_vit
from vlprompt.data.transforms import Preprocess
from vlprompt.errors import UsageError, VlpromptError, unknown
from vlprompt.files import parse_json

# What open_clip stores about the weights of a tag.
FACTS = ("quick_gelu", "mean", "std", "interpolation", "resize_mode")
# Weight files in open_clip's order of preference.
WEIGHTS = ["open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "model.safetensors"]


def load_backbone(
    name: str = "tiny", pretrained: str = "", *, precision: str = "fp32", device: str = "cpu"
) -> Clip | Vit:
    """Load a frozen model by any name that `load_clip` or `load_vit` accepts; a folder's config decides between them.

    Raises:
        UsageError: See `load_clip` and `load_vit`.
        VlpromptError: See `load_clip` and `load_vit`.
    """
    load = load_vit if name.startswith(TIMM) or is_timm_folder(name) else load_clip
    return load(name, pretrained, precision=precision, device=device)


def load_clip(name: str = "tiny", pretrained: str = "", *, precision: str = "fp32", device: str = "cpu") -> Clip:
    """Load a frozen CLIP.

    Args:
        name: "tiny" for the bundled model; "local-dir:PATH" for a folder with `open_clip_config.json` and safetensors
            weights; "hf-hub:ORG/REPO"; or a model of open_clip ("ViT-B-16").
        pretrained: For a model of open_clip, the tag of its weights ("openai"); a safetensors file, alone or behind the
            tag whose activation and preprocessing it has ("openai:FILE"); or "random" (seed 0, for timing).
        precision: "fp32" or "bf16".
        device: Where to put it.

    Raises:
        UsageError: An unknown model or tag, or options that contradict each other.
        VlpromptError: The weights are missing, damaged or cannot be fetched.
    """
    place = device_of(device)
    if name == "tiny":
        if pretrained:
            raise UsageError(f"'tiny' contains its own weights; leave out pretrained {pretrained!r}.")
        model, trained_ids = load_tiny()
        tokenizer = _tokenizer("ViT-B-32", model, trained_ids)
        return Clip(model, tokenizer, _preprocess(model), name=name, precision=precision).to(place)
    if not name.startswith((LOCAL, HUB)):
        name = name.replace("/", "-")  # OpenAI writes ViT-B/16
    folder = _check(name, pretrained)
    label = f"{name}/{pretrained}" if pretrained else name
    source = f"{LOCAL}{folder}" if folder else name
    with MemoryLimit(folder), one_error(lambda error: _load_error(name, pretrained, error)):
        model = _create(source, pretrained)
        tokenizer = _tokenizer(source, model)
        return Clip(model, tokenizer, _preprocess(model), name=label, precision=precision).to(place)


def _check(name: str, pretrained: str) -> Path | None:
    """Raise the errors that open_clip would raise later, with the names that are allowed; return a local folder."""
    import open_clip

    if name.startswith((LOCAL, HUB)) and pretrained not in ("", "random"):
        raise UsageError(f"{name} contains its own weights; leave out pretrained {pretrained!r}, or give 'random'.")
    if name.startswith(LOCAL):
        return _check_folder(folder_of(name))
    if name.startswith(HUB):
        return None
    models = open_clip.list_models()
    if name not in models:
        raise unknown("backbone", name, ["tiny", *models], f"Or {LOCAL}PATH, {HUB}ORG/REPO or {TIMM}NAME.")
    tags = open_clip.list_pretrained_tags_by_model(name)
    if not pretrained:
        raise UsageError(f"{name} needs weights: give pretrained as one of {', '.join([*tags, 'random'])}.")
    _, file = split_weights(pretrained, tags)
    if file and file.is_file() and file.suffix != ".safetensors":
        raise UsageError(f"{file} is not a safetensors file; weights are read from these only (never pickle).")
    if pretrained not in (*tags, "random") and not (file and file.is_file()):
        raise unknown(f"weights of {name}", pretrained, [*tags, "random"], "Or a safetensors file.")
    return None


def _check_folder(folder: Path) -> Path:
    """Raise an error for a folder from which open_clip would not read safetensors weights, or that is not safe."""
    config = folder / "open_clip_config.json"
    if not config.is_file():
        raise UsageError(f"{folder} contains no {config.name}; give a folder in open_clip's format.")
    found = [file for file in WEIGHTS if (folder / file).is_file()]
    if not found:
        raise VlpromptError(
            f"{folder} contains none of {', '.join(WEIGHTS)}; weights are read from these only (never pickle)."
        )
    pickles = [path.name for suffix in ("bin", "pth") for path in folder.glob(f"*.{suffix}")]
    if found == WEIGHTS[-1:] and pickles:  # open_clip would prefer them
        raise VlpromptError(f"{folder} contains pickled weights ({pickles[0]}) beside {found[0]}; remove them.")
    check_folder(folder)
    check_open_clip(parse_json(config.read_bytes(), str(config)), str(config), folder)
    return folder


def _create(name: str, pretrained: str) -> Any:
    """A model in float32 on the CPU; random weights are seeded and leave the global generator unchanged."""
    import open_clip

    if name.startswith(HUB):
        check_open_clip(open_clip.get_model_config(name), name)
    tag, file = split_weights(pretrained, open_clip.list_pretrained_tags_by_model(name))
    facts = _facts(name, tag, file)
    with torch.random.fork_rng(devices=[]), _silent():
        torch.manual_seed(0)
        if pretrained == "random":
            return open_clip.create_model(name, load_weights=False, pretrained_text=False)
        if (tag and not file) or name.startswith(HUB):
            _refuse_pickle(name, tag)
        # Weights trained with quick GELU need it; without this option open_clip only warns that the results are wrong.
        quick = bool(facts.pop("quick_gelu", False))
        given = str(file) if file else tag or None
        return open_clip.create_model(
            name, pretrained=given, force_quick_gelu=quick, force_preprocess_cfg=facts, require_pretrained=True
        )


def _facts(name: str, tag: str, file: Path | None) -> dict[str, Any]:
    """The activation and the preprocessing that weights were trained with, by the tag or by all tags of the model."""
    import open_clip

    if tag or file is None:
        return {key: value for key, value in open_clip.get_pretrained_cfg(name, tag).items() if key in FACTS}
    known = {each: open_clip.get_pretrained_cfg(name, each) for each in open_clip.list_pretrained_tags_by_model(name)}
    return common_facts(name, {each: {key: config.get(key) for key in FACTS} for each, config in known.items()})


def _refuse_pickle(name: str, tag: str) -> None:
    """Fetch weights as open_clip would, and raise VlpromptError if they are no safetensors file."""
    from open_clip import factory

    if name.startswith(HUB):
        path = factory.download_pretrained_from_hf(name.removeprefix(HUB))
    else:
        path = factory.download_pretrained(factory.get_pretrained_cfg(name, tag))
    if not str(path).endswith(".safetensors"):
        raise VlpromptError(f"{name} {tag} has pickled weights only ({path}); safetensors are read (never pickle).")


@contextmanager
def _silent() -> Iterator[None]:
    """While open, open_clip does not log: problems are raised as errors instead."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)


def _load_error(name: str, pretrained: str, error: BaseException) -> VlpromptError:
    """The error for a model that could not be loaded: the reason and what to try."""
    what = f"{name} {pretrained}".strip()
    if isinstance(error, ImportError) or "install transformers" in str(error):
        return VlpromptError(f"{what} needs transformers; install it with: pip install 'vlprompt[text]'")
    advice = f"{OFFLINE_HINT}; if it is a file, check that it is complete and fits its config"
    return VlpromptError(f"{what} could not be loaded ({one_line(error)}). {advice}.")


def _tokenizer(name: str, model: Any, trained_ids: frozenset[int] | None = None) -> Tokenizer:
    """The model's tokenizer, with the shorter of open_clip's context length and the text tower's."""
    import open_clip

    text = (open_clip.get_model_config(name) or {}).get("text_cfg", {})
    safe = {"trust_remote_code": False} if text.get("hf_tokenizer_name") else {}  # other tokenizers lack it
    with _silent(), one_error(lambda error: _load_error(f"the tokenizer of {name}", "", error)):
        tokenizer = open_clip.get_tokenizer(name, **safe)
    tower = int(getattr(getattr(model, "text", model), "context_length", 0))
    return Tokenizer(tokenizer, min(tower or tokenizer.context_length, tokenizer.context_length), trained_ids)


def _preprocess(model: Any) -> Preprocess:
    """Image size and normalisation that open_clip stores with a model; an error for images that are not square."""
    import open_clip

    config = open_clip.get_model_preprocess_cfg(model)
    size = config["size"] if isinstance(config["size"], int) else config["size"][-1]
    if config["size"] not in (size, [size, size], (size, size)):
        raise VlpromptError(f"the model reads images of {config['size']} pixels; only square ones are supported.")
    resize = config.get("resize_mode", "shortest")
    return Preprocess(size, tuple(config["mean"]), tuple(config["std"]), config["interpolation"], resize)
