"""Open a backbone by name: the bundled one, a folder, or any pair of open_clip."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from vlprompt.backbones.bundled import load_tiny
from vlprompt.backbones.clip import Clip
from vlprompt.backbones.tokens import Tokenizer
from vlprompt.data.transforms import Preprocess
from vlprompt.errors import UsageError, VlpromptError, unknown

LOCAL = "local-dir:"
HUB = "hf-hub:"
# In open_clip's order of preference.
WEIGHTS = ["open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "model.safetensors"]


def load_clip(name: str = "tiny", pretrained: str = "", *, precision: str = "fp32", device: str = "cpu") -> Clip:
    """Load a frozen CLIP.

    Args:
        name: "tiny" for the one that ships with the package; "local-dir:PATH" for a folder with
            `open_clip_config.json` and safetensors weights; "hf-hub:ORG/REPO"; or a model of open_clip ("ViT-B-16").
        pretrained: For a model of open_clip, the tag of its weights ("openai"), a safetensors file, or "random" for
            random weights (seed 0), good for timing.
        precision: "fp32" or "bf16".
        device: Where to put it.

    Raises:
        UsageError: An unknown model or tag, or a combination that makes no sense.
        VlpromptError: The weights are missing, damaged or cannot be fetched.
    """
    place = device_of(device)
    if name == "tiny":
        if pretrained:
            raise UsageError(f"'tiny' brings its own weights; leave out pretrained {pretrained!r}.")
        model, known = load_tiny()
        tokenizer = _tokenizer("ViT-B-32", model, known)
        return Clip(model, tokenizer, _preprocess(model), name=name, precision=precision).to(place)
    if not name.startswith((LOCAL, HUB)):
        name = name.replace("/", "-")  # OpenAI's spelling, ViT-B/16
    _check(name, pretrained)
    model = _create(name, pretrained)
    label = f"{name}/{pretrained}" if pretrained else name
    return Clip(model, _tokenizer(name, model), _preprocess(model), name=label, precision=precision).to(place)


def device_of(device: str) -> torch.device:
    """A device by name; raises UsageError where there is none."""
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device {device!r} cannot be used here ({str(error).splitlines()[0]}); try 'cpu'.") from error


def _check(name: str, pretrained: str) -> None:
    """Refuse what open_clip would fail on later, with the names that would have been right."""
    import open_clip

    if name.startswith((LOCAL, HUB)):
        if pretrained not in ("", "random"):
            raise UsageError(f"{name} brings its own weights; leave out pretrained {pretrained!r}, or give 'random'.")
        if name.startswith(LOCAL):
            _check_folder(Path(name.removeprefix(LOCAL)))
        return
    known = open_clip.list_models()
    if name not in known:
        raise unknown("backbone", name, ["tiny", *known], f"Or {LOCAL}PATH, or {HUB}ORG/REPO.")
    tags = open_clip.list_pretrained_tags_by_model(name)
    if not pretrained:
        raise UsageError(f"{name} needs weights: give pretrained as one of {', '.join([*tags, 'random'])}.")
    if Path(pretrained).is_file() and not pretrained.endswith(".safetensors"):
        raise UsageError(f"{pretrained} is not a safetensors file; weights are read from these only (never pickle).")
    if pretrained not in (*tags, "random") and not Path(pretrained).is_file():
        raise unknown(f"weights of {name}", pretrained, [*tags, "random"], "Or a safetensors file.")


def _check_folder(folder: Path) -> None:
    """Refuse a folder that open_clip would not read safetensors weights from."""
    if not (folder / "open_clip_config.json").is_file():
        raise UsageError(f"{folder} holds no open_clip_config.json; give a folder as open_clip saves it.")
    found = [file for file in WEIGHTS if (folder / file).is_file()]
    if not found:
        raise VlpromptError(
            f"{folder} holds none of {', '.join(WEIGHTS)}; weights are read from these only (never pickle)."
        )
    pickles = [path.name for suffix in ("bin", "pth") for path in folder.glob(f"*.{suffix}")]
    if found == WEIGHTS[-1:] and pickles:  # open_clip prefers them to it
        raise VlpromptError(f"{folder} holds pickled weights ({pickles[0]}) beside {found[0]}; move them away.")


def _create(name: str, pretrained: str) -> Any:
    """The open_clip model, on the CPU, in float32; the random numbers it starts from are its own."""
    import open_clip

    # Weights trained with quick GELU need it; without being told, open_clip only warns that the results are wrong.
    quick = bool(open_clip.get_pretrained_cfg(name, pretrained).get("quick_gelu"))
    with torch.random.fork_rng(devices=[]), _silent():
        torch.manual_seed(0)
        try:
            if pretrained == "random":
                return open_clip.create_model(name, load_weights=False, pretrained_text=False)
            tag = pretrained or None
            return open_clip.create_model(name, pretrained=tag, force_quick_gelu=quick, require_pretrained=True)
        except Exception as error:  # whatever a config or a file can make open_clip, timm or transformers raise
            raise _explained(name, pretrained, error) from error


@contextmanager
def _silent() -> Iterator[None]:
    """While open, open_clip does not log: what matters of it comes back as an error."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)


def _explained(name: str, pretrained: str, error: Exception) -> VlpromptError:
    """One line for what went wrong, and what to try."""
    what = f"{name} {pretrained}".strip()
    if isinstance(error, ImportError) or "install transformers" in str(error):
        return VlpromptError(f"{what} needs transformers; install it with: pip install 'vlprompt[text]'")
    said = " ".join(str(error).split())[:300]
    return VlpromptError(
        f"{what} could not be loaded ({type(error).__name__}: {said}). If it must be downloaded, check the network or "
        f"download it elsewhere and give {LOCAL}PATH; if it is a file, check that it is whole and fits its config."
    )


def _tokenizer(name: str, model: Any, known: frozenset[int] | None = None) -> Tokenizer:
    """The model's tokenizer, at the length that open_clip uses it with and the text tower takes."""
    import open_clip

    try:
        with _silent():
            tokenizer = open_clip.get_tokenizer(name)
    except Exception as error:
        raise _explained(f"the tokenizer of {name}", "", error) from error
    tower = int(getattr(getattr(model, "text", model), "context_length", 0))
    return Tokenizer(tokenizer, min(tower or tokenizer.context_length, tokenizer.context_length), known)


def _preprocess(model: Any) -> Preprocess:
    """Image size and normalisation from what open_clip noted on the model.

    Raises:
        VlpromptError: The images are not square, or are padded instead of cropped.
    """
    import open_clip

    config = open_clip.get_model_preprocess_cfg(model)
    size = config["size"] if isinstance(config["size"], int) else config["size"][-1]
    if config["size"] not in (size, [size, size], (size, size)):
        raise VlpromptError(f"the model reads images of {config['size']} pixels; only square ones are supported.")
    resize = config.get("resize_mode", "shortest")
    return Preprocess(size, tuple(config["mean"]), tuple(config["std"]), config["interpolation"], resize)
