"""The tiny models of the cases."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save, save_file
from torch import Tensor

from vlprompt.backbones import Clip, LanguageModel, Vit, load_clip, load_lm
from vlprompt.data.transforms import Preprocess
from vlprompt.errors import VlpromptError

VIT_WEIGHTS = "model.safetensors"
CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
CUT_DOWN = "cut_down.safetensors"  # weights with only some rows of the token embedding, as in tests/goldens
TABLE, ROWS = "token_embedding.weight", "token_embedding.rows"
VOCABULARY = 49408


class ModelError(VlpromptError):
    """A model of the cases is missing or damaged."""


class Models:
    """The models in a folder (`tiny_clip`, `tiny_vit`, `tiny_bert` and others), each loaded at its first use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lms: dict[str, LanguageModel] = {}

    def lm(self, name: str) -> LanguageModel:
        """A tiny language model by the name of its folder; ModelError where it is missing or damaged."""
        if name not in self._lms:
            place = self._place(name)
            with _readable(place):
                self._lms[name] = load_lm(f"local-dir:{place}")
        return self._lms[name]

    @cached_property
    def clip(self) -> Clip:
        """The tiny CLIP; ModelError where it is missing or damaged."""
        place = self._place("tiny_clip")
        with _readable(place), tempfile.TemporaryDirectory() as whole:
            if (place / CUT_DOWN).is_file():
                complete(place, Path(whole))
                place = Path(whole)
            return load_clip(f"local-dir:{place}")

    @cached_property
    def vit(self) -> Vit:
        """The tiny ViT without its classifier; ModelError where it is missing or damaged."""
        from timm.models.vision_transformer import VisionTransformer

        place = self._place("tiny_vit")
        with _readable(place):
            sizes = json.loads((place / "config.json").read_bytes())["kwargs"]
            model = VisionTransformer(**sizes)
            model.load_state_dict({name: tensor.float() for name, tensor in load_file(place / VIT_WEIGHTS).items()})
            return Vit(model, Preprocess(sizes["img_size"], (0.5,) * 3, (0.5,) * 3), name="tiny_vit")

    @cached_property
    def vit_head(self) -> tuple[Tensor, Tensor]:
        """The weight (C, D) and bias (C,) of the tiny ViT's classifier."""
        tensors = load_file(self.folder / "tiny_vit" / VIT_WEIGHTS)
        return tensors["head.weight"].float(), tensors["head.bias"].float()

    def _place(self, name: str) -> Path:
        """The folder of a model."""
        place = self.folder / name
        if not name or not place.is_dir():
            raise ModelError(f"no model at {place}; give the folder that holds {name or 'it'} with --models.")
        return place


@contextmanager
def _readable(place: Path) -> Iterator[None]:
    """While open, errors of reading the model in a folder become ModelErrors."""
    try:
        yield
    except (VlpromptError, OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"the model at {place} cannot be read: {str(error).splitlines()[0]}") from error


def complete(place: Path, into: Path) -> None:
    """Write a cut-down model in open_clip's format; missing rows are NaN, so that their use is noticed."""
    tensors = load_file(place / CUT_DOWN)
    rows, kept = tensors.pop(ROWS), tensors[TABLE]
    table = torch.full((VOCABULARY, kept.shape[1]), torch.nan, dtype=kept.dtype)
    table[rows.long()] = kept
    save_file(tensors | {TABLE: table}, into / WEIGHTS)
    shutil.copy(place / CONFIG, into / CONFIG)


def cut_down(place: Path, into: Path, rows: set[int]) -> None:
    """Write a model with only some rows of its token embedding."""
    tensors = load_file(place / WEIGHTS)
    kept = torch.tensor(sorted(rows), dtype=torch.int32)
    tensors |= {TABLE: tensors[TABLE][kept.long()].contiguous(), ROWS: kept}
    into.mkdir(parents=True, exist_ok=True)
    (into / CUT_DOWN).write_bytes(save(tensors))
    (into / CONFIG).write_bytes((place / CONFIG).read_bytes())
