"""Load a language model by name: the bundled one, a folder, or a model of the Hugging Face hub."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from typing import Any, get_args

import torch

from vlprompt.backbones.folder_checks import check_folder, check_settings
from vlprompt.backbones.lm import Kind, LanguageModel
from vlprompt.backbones.memory_limit import MemoryLimit
from vlprompt.backbones.sources import HUB, LOCAL, OFFLINE_HINT, device_of, folder_of, one_error, one_line
from vlprompt.errors import UsageError, VlpromptError, unknown

AUTO = {"masked": "AutoModelForMaskedLM", "causal": "AutoModelForCausalLM", "encoder-decoder": "AutoModelForSeq2SeqLM"}
ENDS = {"MaskedLM": "masked", "LMHeadModel": "causal", "CausalLM": "causal", "ConditionalGeneration": "encoder-decoder"}
SAFE = {"trust_remote_code": False}  # code in a model's folder is never run


def load_lm(name: str, *, kind: str = "", precision: str = "fp32", device: str = "cpu") -> LanguageModel:
    """Load a frozen language model; safetensors weights only.

    Args:
        name: "tiny" for the bundled model, "local-dir:PATH" for a folder in transformers' format, "hf-hub:ORG/REPO",
            or the name of a model on the hub ("roberta-base").
        kind: "masked", "causal" or "encoder-decoder"; needed only if the model's configuration does not state it.
        precision: "fp32" or "bf16".
        device: Where to put it.

    Raises:
        UsageError: The folder or the kind does not exist.
        VlpromptError: transformers is not installed, or the files are missing, damaged, pickled or incomplete.
    """
    try:
        import transformers
    except ImportError as error:
        raise VlpromptError("language models need transformers: pip install 'vlprompt[text]'") from error
    place = device_of(device)
    if kind and kind not in get_args(Kind):
        raise unknown("kind of language model", kind, get_args(Kind))
    if name == "tiny":
        with as_file(files("vlprompt.backbones") / "tiny_lm") as folder:
            return _load(transformers, name, str(folder), kind, precision).to(place)
    if not name.startswith(LOCAL):
        return _load(transformers, name, name.removeprefix(HUB), kind, precision).to(place)
    folder = folder_of(name)
    if not (folder / "config.json").is_file():
        raise UsageError(f"{folder} contains no config.json; give a folder in the format of transformers.")
    check_folder(folder)
    with MemoryLimit(folder):
        return _load(transformers, name, str(folder), kind, precision).to(place)


def _load(transformers: Any, name: str, path: str, kind: str, precision: str) -> LanguageModel:
    """Load the model of a folder or of the hub; `name` is its name in results."""
    with _quiet(transformers.utils.logging), one_error(lambda error: _load_error(name, error)):
        settings, _ = transformers.PreTrainedConfig.get_config_dict(path)
        _check_type(transformers, settings, name)
        config = transformers.AutoConfig.from_pretrained(path, **SAFE)
        kind_: Any = kind or _kind(config, name)
        load = getattr(transformers, AUTO[kind_]).from_pretrained
        model, info = load(path, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **SAFE)
        tokenizer = transformers.AutoTokenizer.from_pretrained(path, **SAFE)
        if info["missing_keys"]:
            lacking = ", ".join(sorted(info["missing_keys"])[:3])
            raise VlpromptError(
                f"{name} contains no weights for {lacking}: it is not trained as a {kind_} language model."
            )
        return LanguageModel(model, tokenizer, kind_, name=name, precision=precision)


def _load_error(name: str, error: BaseException) -> VlpromptError:
    """The error for a language model that could not be loaded."""
    advice = f"{OFFLINE_HINT}; weights are read from safetensors only"
    return VlpromptError(f"{name} could not be loaded ({one_line(error)}). {advice}.")


def _check_type(transformers: Any, settings: dict[str, Any], name: str) -> None:
    """Raise VlpromptError for a configuration that names code, or a type of model that transformers does not have."""
    check_settings(settings, name)
    kind = settings.get("model_type")
    if kind is not None and kind not in transformers.CONFIG_MAPPING:
        raise VlpromptError(f"{name}: its model_type is {kind!r}, which transformers does not have; code is never run.")
    if settings.get("quantization_config"):
        raise VlpromptError(f"{name} is quantized; give the model in float32, float16 or bfloat16.")


def _kind(config: Any, name: str) -> str:
    """The kind of model that a configuration states; UsageError if it does not state one."""
    for architecture in getattr(config, "architectures", None) or ():
        for ending, kind in ENDS.items():
            if str(architecture).endswith(ending):
                return kind
    raise UsageError(f"{name} does not state what it was trained to do; give kind as one of {', '.join(AUTO)}.")


@contextmanager
def _quiet(logging: Any) -> Iterator[None]:
    """While open, transformers shows neither warnings nor progress bars: problems are raised as errors instead."""
    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()
