"""Load a vision transformer of timm, by name or from a folder in timm's format for the hub."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from vlprompt.backbones.sources import LOCAL, OFFLINE_HINT, TIMM, device_of, one_line
from vlprompt.backbones.vit import Vit
from vlprompt.data.transforms import INTERPOLATIONS, Preprocess
from vlprompt.errors import UsageError, VlpromptError, unknown

CONFIG, WEIGHTS = "config.json", "model.safetensors"


def load_vit(name: str, pretrained: str = "", *, precision: str = "fp32", device: str = "cpu") -> Vit:
    """Load a frozen ViT.

    Args:
        name: "timm:NAME", a model of timm, with or without the tag of its weights
            ("timm:vit_base_patch16_224.augreg_in21k"); or "local-dir:PATH", a folder with timm's `config.json` and
            `model.safetensors`.
        pretrained: For a model of timm, the tag of its weights, a safetensors file, or "random" (seed 0, for timing);
            empty for timm's default.
        precision: "fp32" or "bf16".
        device: Where to put it.

    Raises:
        UsageError: An unknown model or tag, or options that contradict each other.
        VlpromptError: The weights are missing, damaged or cannot be fetched.
    """
    if name.startswith(LOCAL):
        model = _from_folder(Path(name.removeprefix(LOCAL)), pretrained)
    else:
        model_name, _, weights = name.removeprefix(TIMM).partition("/")  # results use names such as "timm:NAME/random"
        pretrained = pretrained or weights
        name = f"{TIMM}{model_name}"
        model = _from_timm(model_name, pretrained)
    label = f"{name}/{pretrained}" if pretrained else name
    return Vit(model, _preprocess(model), name=label, precision=precision).to(device_of(device))


def is_timm_folder(name: str) -> bool:
    """Whether a name is "local-dir:PATH" and the folder contains a model of timm."""
    if not name.startswith(LOCAL):
        return False
    try:
        return "architecture" in json.loads((Path(name.removeprefix(LOCAL)) / CONFIG).read_bytes())
    except (OSError, ValueError):
        return False


def _from_timm(name: str, pretrained: str) -> nn.Module:
    """A model of timm by name, with the given weights."""
    import timm

    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise unknown("model of timm", architecture, timm.list_models(), f"Or {LOCAL}PATH.")
    if pretrained == "random":
        return _create(architecture)
    if Path(pretrained).suffix == ".safetensors":
        return _with_weights(_create(architecture), Path(pretrained))
    tags = [each.partition(".")[2] for each in timm.list_pretrained(f"{architecture}.*")]
    if (pretrained or tag) not in ("", *tags):
        raise unknown(f"weights of {architecture}", pretrained or tag, [*tags, "random"], "Or a safetensors file.")
    if not tags:
        raise UsageError(f"timm has no weights of {architecture}; give pretrained 'random' or a safetensors file.")
    return _create(".".join(filter(None, [architecture, pretrained or tag])), pretrained=True)


def _from_folder(folder: Path, pretrained: str) -> nn.Module:
    """The model in a folder, with the settings of its `config.json`."""
    if pretrained not in ("", "random"):
        raise UsageError(f"{folder} contains its own weights; leave out pretrained {pretrained!r}, or give 'random'.")
    try:
        config = json.loads((folder / CONFIG).read_bytes())
        preprocessing = config.get("pretrained_cfg", {}).items()
        overlay = {key: tuple(value) if isinstance(value, list) else value for key, value in preprocessing}
        options = {"num_classes": config["num_classes"], **config.get("model_args", {})}
        model = _create(config["architecture"], pretrained_cfg_overlay=overlay, **options)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VlpromptError(f"{folder / CONFIG} does not describe a model of timm ({one_line(error)}).") from error
    return model if pretrained else _with_weights(model, folder / WEIGHTS)


def _create(name: str, **options: Any) -> nn.Module:
    """A model in float32 on the CPU; random weights are seeded and leave the global generator unchanged."""
    import timm

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            return timm.create_model(name, **options).float()  # type: ignore[no-any-return]
        except Exception as error:  # a config, a file or a download can raise anything
            raise VlpromptError(f"{name} could not be created ({one_line(error)}). {OFFLINE_HINT}.") from error


def _with_weights(model: nn.Module, path: Path) -> nn.Module:
    """Load the weights of a safetensors file into a model, in float32."""
    try:
        model.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
    except (OSError, SafetensorError, RuntimeError) as error:
        raise VlpromptError(f"{path} does not contain the weights of this model ({one_line(error)}).") from error
    return model


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
