"""Save and load tensors with their description: safetensors and JSON, never pickle; a file is whole or absent.

The JSON is in the header of the safetensors file, so the two cannot disagree; the `prompt.json` beside a prompt is a
copy for people and other programs. Equal content gives equal bytes.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from vlprompt.errors import VlpromptError, out_of_memory, warn
from vlprompt.files import parse_json, reason, refuse_special, write_files
from vlprompt.randomness import SEEDS

FORMAT = 1
TENSORS = "prompt.safetensors"
META = "prompt.json"
LARGEST = 8 * 2**30  # bytes of a file, which may be sparse: it is read whole before its checksum is known
MOST_CLASSES, LONGEST_NAME, LONGEST_TEXT = 100_000, 1000, 5000
LARGEST_SETTING = 100_000  # the largest number in a prompt's config, such as that of learned tokens
DEEPEST = 4  # methods that wrap one another
_HEADER = "vlprompt"  # one key, because safetensors writes several in random order


def save(folder: str | Path, tensors: Mapping[str, Tensor], meta: Mapping[str, object]) -> None:
    """Write a prompt as `prompt.safetensors` and `prompt.json`; an earlier prompt stays whole if that fails.

    Args:
        folder: The folder, which is created if it does not exist.
        tensors: Tensors by name, of any shape, on any device.
        meta: The description, values that JSON can hold; tuples become lists.

    Raises:
        VlpromptError: The disk is full, the folder cannot be written, or `meta` is not JSON.
    """
    folder = Path(folder)
    write_files({folder / TENSORS: _pack(tensors, meta), folder / META: _readable(meta)})


def load(folder: str | Path) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Read a prompt that `save` wrote.

    Returns:
        The tensors by name, on the CPU, and the description.

    Raises:
        VlpromptError: The file is missing, damaged, from another program or from a newer vlprompt.
    """
    folder = Path(folder)
    tensors, meta = load_state(folder / TENSORS)
    copy = folder / META
    if copy.is_file() and not _holds(copy, _readable(meta)):
        warn(f"{copy} differs from the description in {TENSORS}, which counts (to change a prompt, save it again).")
    return tensors, meta


def description(folder: str | Path) -> dict[str, Any]:
    """Read the description of a saved prompt.

    Raises:
        VlpromptError: The prompt is missing or damaged, lacks a field, or a field is not what vlprompt writes.
    """
    return checked(load(folder)[1], str(folder))


def checked(meta: Mapping[str, Any], source: str, depth: int = 1) -> dict[str, Any]:
    """Return a description after a check of all its fields; errors as for `description`."""
    missing = [key for key in _FIELDS if key not in meta]
    if missing:
        raise VlpromptError(f"{source} lacks {', '.join(missing)}; it is not a prompt that vlprompt saved.")
    for key, (fits, allowed) in _FIELDS.items():
        if not fits(meta[key]):
            raise _misfit(source, key, meta[key], allowed)
    if not _is_text(meta.get("backbone", "")):
        raise _misfit(source, "backbone", meta["backbone"], "the name of a model")
    if "over" in meta:
        if not isinstance(meta["over"], dict) or depth == DEEPEST:
            raise _misfit(source, "over", meta["over"], f"the description of a learner, at most {DEEPEST} deep")
        checked(meta["over"], source, depth + 1)
    return dict(meta)


def save_state(path: str | Path, tensors: Mapping[str, Tensor], meta: Mapping[str, object]) -> None:
    """Write tensors and their description as one safetensors file; errors as for `save`."""
    write_files({Path(path): _pack(tensors, meta)})


def load_state(path: str | Path) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Read a file that `save_state` wrote; returns and errors as for `load`."""
    path = Path(path)
    refuse_special(path)
    try:
        if path.stat().st_size > LARGEST:
            raise VlpromptError(f"{path} has {path.stat().st_size} bytes; at most {LARGEST} are read.")
        with out_of_memory(f"while reading {path}"), safetensors.safe_open(path, "pt") as file:
            header = (file.metadata() or {}).get(_HEADER)
            # Clones, because the originals are views of the file, which another process may replace.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise VlpromptError(f"{path} could not be read ({reason(error)}); check the path.") from error
    except safetensors.SafetensorError as error:
        raise VlpromptError(f"{path} is damaged or no safetensors file ({error}); save it again.") from error
    if header is None:
        raise VlpromptError(f"{path} was not written by vlprompt (its header has no {_HEADER!r}).")
    return tensors, _checked_meta(path, header, tensors)


def _holds(path: Path, content: bytes) -> bool:
    return path.stat().st_size == len(content) and path.read_bytes() == content


def _pack(tensors: Mapping[str, Tensor], meta: Mapping[str, object]) -> bytes:
    plain = {name: tensors[name].detach().cpu().contiguous().clone() for name in sorted(tensors)}
    text = _stable_json(meta)
    header = {"format": FORMAT, "meta": text, "sha256": _digest(text, plain)}
    content: bytes = safetensors.torch.save(plain, {_HEADER: json.dumps(header, sort_keys=True)})
    return content


def _checked_meta(path: Path, header: str, tensors: Mapping[str, Tensor]) -> dict[str, object]:
    """The description in a header, after a check that nothing has changed since it was written."""
    damaged = VlpromptError(f"{path} is damaged (content and checksum disagree); save it again.")
    record: Any = parse_json(header, f"the header of {path}")
    try:
        version, text, digest = record["format"], record["meta"], record["sha256"]
    except (KeyError, TypeError, IndexError) as error:
        raise damaged from error
    if not isinstance(version, int) or version > FORMAT:
        raise VlpromptError(
            f"{path} has format {version}, this vlprompt reads up to {FORMAT}; upgrade with pip install -U vlprompt."
        )
    if not isinstance(text, str) or _digest(text, tensors) != digest:
        raise damaged
    meta = parse_json(text, f"the description in {path}")
    if not isinstance(meta, dict):
        raise VlpromptError(f"{path}: its description is not a table, but {type(meta).__name__}.")
    return meta


def _digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of the description and of every tensor (name, type, shape, bytes)."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _stable_json(meta: Mapping[str, object], indent: int | None = None) -> str:
    try:
        return json.dumps(dict(meta), sort_keys=True, allow_nan=False, indent=indent)
    except (TypeError, ValueError) as error:
        raise VlpromptError(f"the description of the tensors is not JSON: {error}.") from error


def _readable(meta: Mapping[str, object]) -> bytes:
    """The content of `prompt.json`."""
    return f"{_stable_json(meta, indent=2)}\n".encode()


def _misfit(source: str, key: str, value: Any, allowed: str) -> VlpromptError:
    given = str(value)[:80]
    return VlpromptError(f"{source}: its field {key!r} is {given!r} ({type(value).__name__}); it must be {allowed}.")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_TEXT


def _are_classes(value: Any) -> bool:
    if not (isinstance(value, list) and 1 <= len(value) <= MOST_CLASSES):
        return False
    return all(isinstance(name, str) and 1 <= len(name) <= LONGEST_NAME for name in value)


def _is_seed(value: Any) -> bool:
    return type(value) is int and value in SEEDS


def _is_config(value: Any) -> bool:
    return isinstance(value, dict) and _is_small(value)


def _is_small(value: Any) -> bool:
    """Whether no number in a value, however deep, is above `LARGEST_SETTING`; `parse_json` has limited the depth."""
    if isinstance(value, dict | list):
        return all(_is_small(each) for each in (value.values() if isinstance(value, dict) else value))
    return not isinstance(value, int | float) or abs(value) <= LARGEST_SETTING


_FIELDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "method": (_is_text, "the name of a method"),
    "config": (_is_config, f"a table of settings, numbers up to {LARGEST_SETTING}"),
    "classes": (_are_classes, f"a list of 1 to {MOST_CLASSES} names of 1 to {LONGEST_NAME} characters"),
    "fingerprint": (_is_text, "the fingerprint of a model"),
    "seed": (_is_seed, f"a whole number from 0 to {SEEDS.stop - 1}"),
}
