"""Load a vision transformer of timm, by name or from a folder in timm's format for the hub."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from vlprompt.backbones.folder_checks import check_folder, check_timm
from vlprompt.backbones.memory_limit import MemoryLimit
from vlprompt.backbones.sources import LOCAL, OFFLINE_HINT, TIMM, device_of, folder_of, one_error, one_line
from vlprompt.backbones.tag_facts import common_facts, split_weights
from vlprompt.backbones.vit import Vit
from vlprompt.data.transforms import INTERPOLATIONS, Preprocess
from vlprompt.errors import UsageError, VlpromptError, unknown
from vlprompt.files import parse_json

CONFIG, WEIGHTS = "config.json", "model.safetensors"
# What timm stores about the preprocessing of a tag.
FACTS = ("input_size", "mean", "std", "interpolation", "crop_pct", "crop_mode")


def load_vit(name: str, pretrained: str = "", *, precision: str = "fp32", device: str = "cpu") -> Vit:
    """Load a frozen ViT.

    Args:
        name: "timm:NAME", a model of timm, with or without the tag of its weights
            ("timm:vit_base_patch16_224.augreg_in21k"); or "local-dir:PATH", a folder with timm's `config.json` and
            `model.safetensors`.
        pretrained: For a model of timm, the tag of its weights; a safetensors file, alone or as "TAG:FILE" with the tag
            whose preprocessing it has; or "random" (seed 0, for timing); empty for timm's default.
        precision: "fp32" or "bf16".
        device: Where to put it.

    Raises:
        UsageError: An unknown model or tag, or options that contradict each other.
        VlpromptError: The weights are missing, damaged or cannot be fetched.
    """
    if name.startswith(LOCAL):
        model = _from_folder(folder_of(name), pretrained)
    else:
        model_name, _, weights = name.removeprefix(TIMM).partition("/")  # results use names such as "timm:NAME/random"
        pretrained = pretrained or weights
        name = f"{TIMM}{model_name}"
        model = _from_timm(model_name, pretrained)
    label = f"{name}/{pretrained}" if pretrained else name
    with one_error(lambda error: VlpromptError(f"{label} does not give features ({one_line(error)}).")):
        return Vit(model, _preprocess(model), name=label, precision=precision).to(device_of(device))


def is_timm_folder(name: str) -> bool:
    """Whether a name is "local-dir:PATH" and the folder contains a model of timm."""
    if not name.startswith(LOCAL):
        return False
    folder = folder_of(name)
    if not (folder / CONFIG).is_file():
        return False
    config = parse_json((folder / CONFIG).read_bytes(), str(folder / CONFIG))
    return isinstance(config, dict) and "architecture" in config


def _from_timm(name: str, pretrained: str) -> nn.Module:
    """A model of timm by name, with the given weights."""
    import timm

    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise unknown("model of timm", architecture, timm.list_models(), f"Or {LOCAL}PATH.")
    if pretrained == "random":
        return _create(architecture)
    tags = [each.partition(".")[2] for each in timm.list_pretrained(f"{architecture}.*")]
    tag, file = (split_weights(pretrained, tags)[0] or tag), split_weights(pretrained, tags)[1]
    if file and file.suffix == ".safetensors":
        return _from_file(architecture, tag, file, tags)
    if (pretrained or tag) not in ("", *tags):
        raise unknown(f"weights of {architecture}", pretrained or tag, [*tags, "random"], "Or a safetensors file.")
    if not tags:
        raise UsageError(f"timm has no weights of {architecture}; give pretrained 'random' or a safetensors file.")
    return _create(".".join(filter(None, [architecture, pretrained or tag])), pretrained=True)


def _from_file(architecture: str, tag: str, file: Path, tags: Sequence[str]) -> nn.Module:
    """A model with the weights of a file and the preprocessing of a tag."""
    import timm

    if tag and tag not in tags:
        raise unknown(f"weights of {architecture}", tag, tags)
    if not tag:
        known = {each: timm.get_pretrained_cfg(f"{architecture}.{each}").to_dict() for each in tags}
        common_facts(architecture, {each: {key: config.get(key) for key in FACTS} for each, config in known.items()})
    return _with_weights(_create(".".join(filter(None, [architecture, tag]))), file)


def _from_folder(folder: Path, pretrained: str) -> nn.Module:
    """The model in a folder, with the settings of its `config.json`."""
    if pretrained not in ("", "random"):
        raise UsageError(f"{folder} contains its own weights; leave out pretrained {pretrained!r}, or give 'random'.")
    path = folder / CONFIG
    if not path.is_file():
        raise UsageError(f"{folder} contains no {CONFIG}, so it does not describe a model of timm.")
    check_folder(folder)
    config = parse_json(path.read_bytes(), str(path))
    check_timm(config, str(path))
    with one_error(lambda error: VlpromptError(f"{path} does not describe a model of timm ({one_line(error)}).")):
        preprocessing = config.get("pretrained_cfg", {}).items()
        overlay = {key: tuple(value) if isinstance(value, list) else value for key, value in preprocessing}
        options = {"num_classes": config["num_classes"], **config.get("model_args", {})}
        with MemoryLimit(folder):
            model = _create(config["architecture"], pretrained_cfg_overlay=overlay, **options)
    return model if pretrained else _with_weights(model, folder / WEIGHTS)


def _create(name: str, **options: Any) -> nn.Module:
    """A model in float32 on the CPU; random weights are seeded and leave the global generator unchanged."""
    import timm

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        with one_error(lambda e: VlpromptError(f"{name} could not be created ({one_line(e)}). {OFFLINE_HINT}.")):
            return timm.create_model(name, **options).float()  # type: ignore[no-any-return]


def _with_weights(model: nn.Module, path: Path) -> nn.Module:
    """Load the weights of a safetensors file into a model, in float32, but its classifier, which is not used."""
    heads = getattr(model, "pretrained_cfg", {}).get("classifier") or ()
    heads = (heads,) if isinstance(heads, str) else tuple(heads)
    with one_error(lambda e: VlpromptError(f"{path} does not contain the weights of this model ({one_line(e)}).")):
        model.reset_classifier(0)  # type: ignore[operator]
        tensors = {name: tensor.float() for name, tensor in load_file(path).items()}
        own = model.state_dict()
        model.load_state_dict({n: each for n, each in tensors.items() if n in own or not _is_part_of(n, heads)})
    return model


def _is_part_of(name: str, modules: tuple[str, ...]) -> bool:
    return any(name.startswith(f"{module}.") for module in modules)


def _preprocess(model: nn.Module) -> Preprocess:
    """Image size, crop and normalisation that timm stores with a model; VlpromptError if images are not square."""
    from timm.data import resolve_model_data_config

    config = resolve_model_data_config(model)
    size = config["input_size"]
    if size[0] != 3 or size[1] != size[2]:
        raise VlpromptError(f"the model reads images of {tuple(size)}; only square ones of 3 channels are supported.")
    kind = config["interpolation"] if config["interpolation"] in INTERPOLATIONS else "bicubic"
    resize = "squash" if config["crop_mode"] == "squash" else "shortest"
    return Preprocess(size[1], config["mean"], config["std"], kind, resize, crop_pct=float(config["crop_pct"]))
