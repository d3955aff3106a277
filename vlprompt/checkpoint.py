"""Keep tensors and what they mean: safetensors and JSON, never pickle; a file is either whole or not there.

The JSON rides in the header of the safetensors file, so the two can never disagree; the `prompt.json` beside a prompt
is a copy for people and for other programs. Equal content gives equal bytes.
"""

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from vlprompt.errors import VlpromptError, warn

FORMAT = 1
TENSORS = "prompt.safetensors"
META = "prompt.json"
_HEADER = "vlprompt"  # one key for everything: safetensors writes several in random order


def save(folder: str | Path, tensors: Mapping[str, Tensor], meta: Mapping[str, object]) -> None:
    """Write a prompt as `prompt.safetensors` and `prompt.json`; what was there stays whole if that fails.

    Args:
        folder: Where; made if it is not there.
        tensors: Tensors by name, of any shape, on any device.
        meta: What JSON can hold; tuples come back as lists.

    Raises:
        VlpromptError: The disk is full, the folder cannot be written, or `meta` is not JSON.
    """
    folder = Path(folder)
    content = _pack(tensors, meta)
    write_files({folder / TENSORS: content, folder / META: _copy_for_people(meta)})


def load(folder: str | Path) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Read a prompt that `save` wrote.

    Returns:
        The tensors by name, on the CPU, and the JSON.

    Raises:
        VlpromptError: The file is missing, damaged, from another program or from a newer vlprompt.
    """
    folder = Path(folder)
    tensors, meta = load_state(folder / TENSORS)
    copy = folder / META
    if copy.is_file() and copy.read_bytes() != _copy_for_people(meta):
        warn(f"{copy} is not what {TENSORS} beside it says; the latter counts (to change a prompt, save it again).")
    return tensors, meta


def save_state(path: str | Path, tensors: Mapping[str, Tensor], meta: Mapping[str, object]) -> None:
    """Write tensors and JSON as one safetensors file; what was there stays whole if that fails.

    Raises:
        VlpromptError: The disk is full, the folder cannot be written, or `meta` is not JSON.
    """
    write_files({Path(path): _pack(tensors, meta)})


def load_state(path: str | Path) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Read a file that `save_state` wrote.

    Returns:
        The tensors by name, on the CPU, and the JSON.

    Raises:
        VlpromptError: The file is missing, damaged, from another program or from a newer vlprompt.
    """
    path = Path(path)
    try:
        with safetensors.safe_open(path, "pt") as file:
            header = (file.metadata() or {}).get(_HEADER)
            # Clones: the originals look into the file, which somebody may replace.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise VlpromptError(f"{path} could not be read ({_reason(error)}); check the path.") from error
    except safetensors.SafetensorError as error:
        raise VlpromptError(f"{path} is damaged or no safetensors file ({error}); save it again.") from error
    if header is None:
        raise VlpromptError(f"{path} was not written by vlprompt (its header holds no {_HEADER!r}).")
    return tensors, _open_header(path, header, tensors)


def write_files(files: Mapping[Path, bytes]) -> None:
    """Write whole files or leave the old ones: all go to disk under other names first, then take their places.

    Raises:
        VlpromptError: One of them could not be written; none has changed unless the last step, the renaming, failed.
    """
    staged: dict[Path, Path] = {}
    try:
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            staged[path] = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
            _write_through(staged[path], content)
        for path, part in staged.items():
            part.replace(path)
            _sync_folder(path.parent)
    except OSError as error:
        failed = list(staged or files)[-1]
        raise VlpromptError(
            f"{failed} could not be written ({_reason(error)}); what was there is unchanged. "
            "Check the path, the rights and the free space."
        ) from error
    finally:
        for part in staged.values():
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)


def _pack(tensors: Mapping[str, Tensor], meta: Mapping[str, object]) -> bytes:
    plain = {name: tensors[name].detach().cpu().contiguous().clone() for name in sorted(tensors)}
    text = _stable_json(meta)
    header = {"format": FORMAT, "meta": text, "sha256": _digest(text, plain)}
    content: bytes = safetensors.torch.save(plain, {_HEADER: json.dumps(header, sort_keys=True)})
    return content


def _open_header(path: Path, header: str, tensors: Mapping[str, Tensor]) -> dict[str, object]:
    """The JSON in a header, after checking that nothing has changed since it was written."""
    damaged = VlpromptError(f"{path} is damaged (its content and its checksum disagree); save it again.")
    try:
        record: Any = json.loads(header)
        version, text, digest = record["format"], record["meta"], record["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise damaged from error
    if not isinstance(version, int) or version > FORMAT:
        raise VlpromptError(
            f"{path} has format {version}, this vlprompt reads up to {FORMAT}; upgrade with pip install -U vlprompt."
        )
    if not isinstance(text, str) or _digest(text, tensors) != digest:
        raise damaged
    meta: dict[str, object] = json.loads(text)
    return meta


def _digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over the JSON and every tensor (name, type, shape, bytes)."""
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
        raise VlpromptError(f"what belongs to the tensors cannot be kept as JSON: {error}.") from error


def _copy_for_people(meta: Mapping[str, object]) -> bytes:
    return f"{_stable_json(meta, indent=2)}\n".encode()


def _write_through(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Put a rename on disk, where the system lets a folder be opened at all."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _reason(error: OSError) -> str:
    return error.strerror or str(error).splitlines()[0]
