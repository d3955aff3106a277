"""The small CLIP that ships with vlprompt, and the compact folder it is kept in.

A compact folder holds `open_clip_config.json` (`model_cfg` and `preprocess_cfg`, as open_clip writes them) and
`open_clip_model.safetensors` in float16. Of CLIP's 49,408 token embeddings it keeps the rows that were trained, and
their ids in `token_ids`; every other row comes back as the mean of these. `scripts/pretrain_tiny_clip.py` writes one.
"""

import json
from contextlib import ExitStack
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vlprompt.errors import VlpromptError

CONFIG = "open_clip_config.json"
WEIGHTS = "open_clip_model.safetensors"
EMBEDDING = "token_embedding.weight"
IDS = "token_ids"


def load_tiny() -> tuple[Any, frozenset[int]]:
    """The bundled open_clip.CLIP in eval mode and float32, and the token ids it was trained on.

    Raises:
        VlpromptError: The package's own files are missing or damaged.
    """
    with ExitStack() as stack:  # a package in a zip is unpacked for as long as the files are read
        try:
            folder = stack.enter_context(as_file(files("vlprompt.backbones") / "tiny_clip"))
        except OSError as error:
            raise _broken("tiny_clip of the vlprompt package", "it is missing") from error
        return load_compact(folder)


def load_compact(folder: Path | str) -> tuple[Any, frozenset[int]]:
    """Rebuild an open_clip.CLIP from a compact folder.

    Args:
        folder: What `scripts/pretrain_tiny_clip.py --out` wrote.

    Returns:
        The model, in eval mode and float32, its preprocessing noted on it as open_clip does; and the token ids whose
        embeddings (V', D) were trained. The other rows are the mean of these: words that the model does not know.

    Raises:
        VlpromptError: A file is missing or damaged, or weights and config do not fit.
    """
    import open_clip
    from open_clip.model import set_model_preprocess_cfg

    folder = Path(folder)
    config, tensors = _read_config(folder / CONFIG), _read_weights(folder / WEIGHTS)
    try:
        with torch.random.fork_rng(devices=[]):  # the weights drawn here are all replaced
            model = open_clip.CLIP(**config["model_cfg"])
        ids = tensors.pop(IDS).long()
        tensors[EMBEDDING] = all_rows(tensors[EMBEDDING], ids, model.vocab_size)
        model.load_state_dict(tensors)
        set_model_preprocess_cfg(model.visual, config["preprocess_cfg"])
    except (KeyError, TypeError, ValueError, RuntimeError, IndexError) as error:
        raise _broken(
            str(folder), f"{WEIGHTS} and {CONFIG} do not fit: {' '.join(str(error).split())[:200]}"
        ) from error
    return model.eval(), frozenset(ids.tolist())


def all_rows(rows: Tensor, ids: Tensor, vocabulary: int) -> Tensor:
    """Trained embeddings (V', D) of the tokens `ids` (V',) -> (V, D), their mean wherever a token was never trained.

    Raises:
        ValueError: The ids are not one distinct token for each row.
    """
    distinct = set(ids.tolist())
    if ids.shape != rows.shape[:1] or len(distinct) != len(rows) or not distinct <= set(range(vocabulary)):
        raise ValueError(f"{IDS} must name one distinct token below {vocabulary} for each of the {len(rows)} rows")
    full = rows.mean(0).repeat(vocabulary, 1)
    full[ids] = rows
    return full


def _read_config(path: Path) -> dict[str, Any]:
    """The JSON object in a file."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _broken(str(path), "it cannot be read") from error
    except ValueError as error:
        raise _broken(str(path), "it is not JSON") from error
    if not isinstance(config, dict):
        raise _broken(str(path), "it does not hold a JSON object")
    return config


def _read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors in a file, floating-point ones in float32."""
    try:
        tensors = load_file(path)
    except OSError as error:
        raise _broken(str(path), "it cannot be read") from error
    except SafetensorError as error:
        raise _broken(str(path), "it is damaged") from error
    tensors = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise _broken(str(path), "it holds numbers that are not finite")
    return tensors


def _broken(what: str, why: str) -> VlpromptError:
    """The error for a folder that cannot be loaded."""
    return VlpromptError(
        f"{what}: {why}. Reinstall vlprompt, or write the folder anew with scripts/pretrain_tiny_clip.py."
    )
