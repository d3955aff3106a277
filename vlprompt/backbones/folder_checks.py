"""Checks of a model's folder before a library reads it: it runs no code and opens no file outside of the folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vlprompt.errors import UsageError, VlpromptError
from vlprompt.files import parse_json, refuse_special

# Keys of any configuration, however deep, that make a library run code.
RUNS_CODE = ("auto_map", "trust_remote_code", "custom_pipelines", "custom_generate")
# Keys whose values are file names, besides all that end in "file" or "files".
FILE_NAMES = ("checkpoint_path", "bpe_path", "base_model_name_or_path", "weight_map")
UNUSED = ("special_tokens_map_file",)  # often the path of the author's machine, and never opened
TOKENIZER_OPTIONS = ("clean", "strip_sep_token", "language", "additional_special_tokens", "reduction_mask")
# The largest numbers by a part of the key, the first that fits; memory_limit.py bounds their products.
LARGEST = {"total_": 2**63, "theta": 2**63, "max_length": 2**200}
LARGEST |= {"layers": 1000, "depth": 1000, "image_size": 4096, "img_size": 4096}
LARGEST_OTHER = 1_000_000_000


def check_folder(folder: Path) -> None:
    """Check all files of a folder that libraries may read.

    Raises:
        VlpromptError: A file is no regular file, or a file or a folder is a link to a place outside; or a configuration
            names code or files elsewhere, asks for absurd sizes, or is damaged.
    """
    templates = folder / "additional_chat_templates"
    for path in (*_entries(folder), *_entries(templates)):
        refuse_special(path)
        if path.is_symlink() and not _is_inside(path, folder):
            raise VlpromptError(
                f"{path} is a link to a place outside of its folder; copy what it leads to, or remove it."
            )
    if (folder / "adapter_config.json").exists():
        raise VlpromptError(f"{folder} is an adapter for another model; merge it into the model and save that.")
    for path in folder.glob("*.json"):
        if path.is_file() and ("config" in path.name or path.name.endswith(".index.json")):
            check_settings(parse_json(path.read_bytes(), str(path)), str(path))


def check_settings(settings: Any, where: str) -> None:
    """Check a configuration of any library: no code, no files elsewhere, no absurd sizes.

    Raises:
        VlpromptError: The configuration is refused; the message names the key.
    """
    if not isinstance(settings, dict):
        raise VlpromptError(f"{where} is not a table of settings, but {type(settings).__name__}.")
    for keys, value in _values(settings):
        key = keys[-1]
        if key in RUNS_CODE and value:
            raise VlpromptError(f"{where} names code ({key}), which is never run; remove {key} from it.")
        if isinstance(value, str) and not _is_plain(value):
            if key := next((each for each in keys if "_implementation" in each), ""):
                raise VlpromptError(f"{where}: {key} names code of a hub ({value}), which is never run; remove {key}.")
            if key := next((each for each in keys if _names_files(each)), ""):
                raise VlpromptError(f"{where}: {key} names a file outside of the folder ({value}); remove {key}.")
        if isinstance(value, int | float):
            largest = next((most for part, most in LARGEST.items() if part in key), LARGEST_OTHER)
            if abs(value) > largest:
                raise VlpromptError(f"{where}: {key} is {str(value)[:60]}; at most {largest} is allowed.")


def check_open_clip(config: Any, where: str, folder: Path | None = None) -> None:
    """Check a configuration in open_clip's format; `folder` is its place, None for the hub.

    Raises:
        VlpromptError: It names a model or a tokenizer elsewhere, or is refused for another reason.
    """
    check_settings(config, where)
    model = config.get("model_cfg", config)
    towers = [model.get(name) if isinstance(model, dict) else None for name in ("text_cfg", "vision_cfg")]
    text, vision = (tower if isinstance(tower, dict) else {} for tower in towers)
    options = text.get("tokenizer_kwargs") or {}
    if not isinstance(options, dict) or not set(options) <= set(TOKENIZER_OPTIONS):
        raise VlpromptError(f"{where}: tokenizer_kwargs is {options}; allowed are {', '.join(TOKENIZER_OPTIONS)}.")
    if name := vision.get("timm_model_name"):
        check_timm_name(name, where)
    if tower := text.get("hf_model_name"):
        _check_hugging_face(tower, where, folder)
    if folder is None and (tokenizer := text.get("hf_tokenizer_name")) and tokenizer not in known_to_open_clip():
        _check_repository(tokenizer, where)


def check_timm(config: Any, where: str) -> None:
    """Check a configuration in timm's format: a known architecture, and no arguments that fetch or open weights.

    Raises:
        VlpromptError: It is refused; the message names the key.
    """
    check_settings(config, where)
    check_timm_name(config.get("architecture"), where)
    for key in config.get("model_args") or {}:
        if key.startswith(("pretrained", "checkpoint", "cache")):
            raise VlpromptError(f"{where}: model_args.{key} would open other weights; remove it.")


def check_timm_name(name: Any, where: str) -> None:
    """Raise VlpromptError unless a name is that of an architecture in timm itself, not of a hub or a folder."""
    import timm

    if not (isinstance(name, str) and _is_plain(name) and timm.is_model(name.partition(".")[0])):
        raise VlpromptError(f"{where}: {str(name)[:100]!r} is no architecture of timm.")


def known_to_open_clip() -> frozenset[str]:
    """The repositories of the hub that open_clip's own models name for their text towers and tokenizers."""
    import open_clip

    texts = [(open_clip.get_model_config(name) or {}).get("text_cfg", {}) for name in open_clip.list_models()]
    return frozenset(text[key] for text in texts for key in ("hf_model_name", "hf_tokenizer_name") if text.get(key))


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _is_inside(path: Path, folder: Path) -> bool:
    """Whether a link leads to a file of the folder, or, in the cache of the hub, to a blob of the same repository."""
    target, home = path.resolve(), folder.resolve()
    blobs = home.parent.parent / "blobs"
    return target.is_relative_to(home) or (home.parent.name == "snapshots" and target.is_relative_to(blobs))


def _check_hugging_face(tower: Any, where: str, folder: Path | None) -> None:
    """Raise VlpromptError unless a text tower is in the folder, or open_clip itself uses it and `folder` is None."""
    if folder is None:
        if tower not in known_to_open_clip():
            raise VlpromptError(f"{where}: hf_model_name is {str(tower)[:100]!r}, which is no text tower of open_clip.")
        return
    place = Path(str(tower)).expanduser()
    if not (place.is_dir() and place.resolve().is_relative_to(folder.resolve())):
        raise VlpromptError(
            f"{where}: hf_model_name is {str(tower)[:100]!r}, which is not in the folder; put that model's config.json "
            f"into {folder} and set hf_model_name to {folder}, or load the model by its name in open_clip."
        )
    check_folder(place)


def _check_repository(name: Any, where: str) -> None:
    """Raise VlpromptError unless a hub model's tokenizer is its own."""
    if f"hf-hub:{name}" != where:
        raise UsageError(f"{where} uses the tokenizer of another repository ({str(name)[:100]}); download both.")


def _values(value: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value below a value, however deep, with the keys that lead to it; `parse_json` has limited the depth."""
    if isinstance(value, dict):
        inside = [((*keys, key), inner) for key, inner in value.items()]
    else:
        inside = [(keys, inner) for inner in value] if isinstance(value, list) else []
    for path, inner in inside:
        yield path, inner
        yield from _values(inner, path)


def _names_files(key: str) -> bool:
    return (key.endswith(("file", "files")) or key in FILE_NAMES) and key not in UNUSED


def _is_plain(name: str) -> bool:
    """Whether a name has no folder and no address in it."""
    return not any(part in name for part in ("/", "\\", ":", ".."))
