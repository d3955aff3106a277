"""Open a language model by name: the bundled one, a folder, or a model of the Hugging Face hub."""

from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors import SafetensorError

from vlprompt.backbones.device import device_of
from vlprompt.backbones.lm import Kind, LanguageModel
from vlprompt.backbones.loading import LOCAL
from vlprompt.errors import UsageError, VlpromptError, unknown

HUB = "hf-hub:"
TINY = "tiny"
AUTO = {
    "masked": "AutoModelForMaskedLM",
    "causal": "AutoModelForCausalLM",
    "encoder-decoder": "AutoModelForSeq2SeqLM",
}
HEADS = {
    "MaskedLM": "masked",
    "LMHeadModel": "causal",
    "CausalLM": "causal",
    "ConditionalGeneration": "encoder-decoder",
}


def load_lm(name: str, *, kind: str = "", precision: str = "fp32", device: str = "cpu") -> LanguageModel:
    """Load a frozen language model; safetensors weights only.

    Args:
        name: "tiny" for the bundled model, "local-dir:PATH" for a folder as transformers saves it, "hf-hub:ORG/REPO",
            or a model's own name ("roberta-base").
        kind: "masked", "causal" or "encoder-decoder", where the configuration does not say.
        precision: "fp32" or "bf16".
        device: Where to put it.

    Raises:
        UsageError: No such folder or kind.
        VlpromptError: transformers is not installed, or the files are missing, damaged, pickled or incomplete.
    """
    try:
        import transformers
    except ImportError as error:
        raise VlpromptError("language models need transformers: pip install 'vlprompt[text]'") from error
    place = device_of(device)
    if kind and kind not in get_args(Kind):
        raise unknown("kind of language model", kind, get_args(Kind))
    if name == TINY:
        with as_file(files("vlprompt.backbones") / "tiny_lm") as folder:
            return _opened(transformers, name, str(folder), kind, precision).to(place)
    path = name.removeprefix(LOCAL).removeprefix(HUB)
    if name.startswith(LOCAL) and not (Path(path) / "config.json").is_file():
        raise UsageError(f"{path} holds no config.json; give a folder as transformers saves it.")
    return _opened(transformers, name, path, kind, precision).to(place)


def _opened(transformers: Any, name: str, path: str, kind: str, precision: str) -> LanguageModel:
    """The model of a folder or of the hub, called `name`."""
    with _quiet(transformers):
        try:
            config = transformers.AutoConfig.from_pretrained(path)
            found: Any = kind or _kind(config, name)
            load = getattr(transformers, AUTO[found]).from_pretrained
            model, info = load(path, dtype=torch.float32, use_safetensors=True, output_loading_info=True)
            tokenizer = transformers.AutoTokenizer.from_pretrained(path)
        except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
            said = " ".join(str(error).split())[:300]
            raise VlpromptError(
                f"{name} could not be loaded ({type(error).__name__}: {said}). If it must be downloaded, check the "
                f"network or download it elsewhere and give {LOCAL}PATH; weights are read from safetensors only."
            ) from error
    if info["missing_keys"]:
        lacking = ", ".join(sorted(info["missing_keys"])[:3])
        raise VlpromptError(f"{name} holds no weights for {lacking}; it was not trained as a {found} language model.")
    return LanguageModel(model, tokenizer, found, name=name, precision=precision)


def _kind(config: Any, name: str) -> str:
    """What a configuration says the model was trained to do.

    Raises:
        UsageError: It does not say.
    """
    for architecture in getattr(config, "architectures", None) or ():
        for ending, kind in HEADS.items():
            if str(architecture).endswith(ending):
                return kind
    raise UsageError(f"{name} does not say what it was trained to do; give kind as one of {', '.join(AUTO)}.")


class _quiet:  # noqa: N801 - a context manager reads as a verb
    """While open, transformers shows neither warnings nor bars: what matters of them comes back as an error."""

    def __init__(self, transformers: Any) -> None:
        self.logging = transformers.utils.logging

    def __enter__(self) -> None:
        self.before, self.bars = self.logging.get_verbosity(), self.logging.is_progress_bar_enabled()
        self.logging.set_verbosity_error()
        self.logging.disable_progress_bar()

    def __exit__(self, *_: object) -> None:
        self.logging.set_verbosity(self.before)
        if self.bars:
            self.logging.enable_progress_bar()
