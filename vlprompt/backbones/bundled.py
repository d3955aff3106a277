"""The small CLIP that is bundled with vlprompt, and the compact folder format it is stored in.

A compact folder contains `open_clip_config.json` (`model_cfg` and `preprocess_cfg` in open_clip's format) and
`open_clip_model.safetensors` in float16. Of CLIP's 49,408 token embeddings it stores those that were trained, and their
ids in `token_ids`; the others are replaced by the mean of these. `scripts/pretrain_tiny_clip.py` writes such a folder.
"""

import json
from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vlprompt.backbones.sources import one_line
from vlprompt.errors import VlpromptError

CONFIG = "open_clip_config.json"
WEIGHTS = "open_clip_model.safetensors"
EMBEDDING = "token_embedding.weight"
IDS = "token_ids"


def load_tiny() -> tuple[Any, frozenset[int]]:
    """The bundled open_clip.CLIP in eval mode and float32, and the token ids it was trained on."""
    with as_file(files("vlprompt.backbones") / "tiny_clip") as folder:  # a package may be in a zip file
        return load_compact(folder)


def load_compact(folder: Path | str) -> tuple[Any, frozenset[int]]:
    """Rebuild an open_clip.CLIP from a compact folder.

    Args:
        folder: The output of `scripts/pretrain_tiny_clip.py --out`.

    Returns:
        The model, in eval mode and float32, with its preprocessing where open_clip stores it; and the ids of the tokens
        that were trained. The embeddings of all other tokens are the mean of the trained ones.

    Raises:
        VlpromptError: A file is missing or damaged, or weights and config do not fit.
    """
    import open_clip
    from open_clip.model import set_model_preprocess_cfg

    folder = Path(folder)
    config = _read(folder / CONFIG, lambda path: json.loads(path.read_text(encoding="utf-8")))
    stored = _read(folder / WEIGHTS, load_file)
    tensors = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in stored.items()}
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise _broken(str(folder / WEIGHTS), "it contains numbers that are not finite")
    try:
        with torch.random.fork_rng(devices=[]):  # these random weights are all replaced
            model = open_clip.CLIP(**config["model_cfg"])
        ids = tensors.pop(IDS).long()
        tensors[EMBEDDING] = all_rows(tensors[EMBEDDING], ids, model.vocab_size)
        model.load_state_dict(tensors)
        set_model_preprocess_cfg(model.visual, config["preprocess_cfg"])
    except (KeyError, TypeError, ValueError, RuntimeError, IndexError) as error:
        raise _broken(str(folder), f"{WEIGHTS} and {CONFIG} do not fit ({one_line(error)})") from error
    return model.eval(), frozenset(ids.tolist())


def all_rows(rows: Tensor, ids: Tensor, vocabulary: int) -> Tensor:
    """Trained embeddings (V', D) of the tokens `ids` (V',) -> (V, D), with their mean for all other tokens."""
    distinct = set(ids.tolist())
    if ids.shape != rows.shape[:1] or len(distinct) != len(rows) or not distinct <= set(range(vocabulary)):
        raise ValueError(f"{IDS} must contain one distinct token below {vocabulary} for each of the {len(rows)} rows")
    full = rows.mean(0).repeat(vocabulary, 1)
    full[ids] = rows
    return full


def _read(path: Path, parse: Callable[[Path], Any]) -> Any:
    """The content of a file; VlpromptError if it is missing or damaged."""
    try:
        return parse(path)
    except OSError as error:
        raise _broken(str(path), "it cannot be read") from error
    except (ValueError, SafetensorError) as error:
        raise _broken(str(path), "it is damaged") from error


def _broken(what: str, why: str) -> VlpromptError:
    """The error for a folder that cannot be loaded."""
    advice = "Reinstall vlprompt, or write the folder again with scripts/pretrain_tiny_clip.py."
    return VlpromptError(f"{what}: {why}. {advice}")
