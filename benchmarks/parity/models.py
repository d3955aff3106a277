"""The tiny models that the cases were made with."""

import json
import shutil
import tempfile
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
CUT_DOWN = "cut_down.safetensors"  # the weights with only some rows of the token embedding, as in tests/goldens
TABLE, ROWS = "token_embedding.weight", "token_embedding.rows"
VOCABULARY = 49408


class ModelError(VlpromptError):
    """A model that the cases were made with is missing or damaged."""


class Models:
    """Models by attribute, each loaded when first asked for.

    Args:
        folder: It holds `tiny_clip`, `tiny_vit`, `tiny_bert` and so on.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lms: dict[str, LanguageModel] = {}

    def lm(self, name: str) -> LanguageModel:
        """A tiny language model by the name of its folder.

        Raises:
            ModelError: It is missing or damaged.
        """
        place = self.folder / name
        if name not in self._lms:
            if not name or not place.is_dir():
                raise ModelError(f"no model at {place}; name the folder that holds {name or 'it'} with --models.")
            try:
                self._lms[name] = load_lm(f"local-dir:{place}")
            except VlpromptError as error:
                raise ModelError(f"the model at {place} cannot be read: {str(error).splitlines()[0]}") from error
        return self._lms[name]

    @cached_property
    def clip(self) -> Clip:
        """The tiny CLIP.

        Raises:
            ModelError: It is missing or damaged.
        """
        place = self.folder / "tiny_clip"
        if not place.is_dir():
            raise ModelError(f"no model at {place}; name the folder that holds tiny_clip with --models.")
        try:
            if (place / CUT_DOWN).is_file():
                with tempfile.TemporaryDirectory() as whole:
                    complete(place, Path(whole))
                    return load_clip(f"local-dir:{whole}")
            return load_clip(f"local-dir:{place}")
        except (VlpromptError, OSError, SafetensorError, KeyError) as error:
            raise ModelError(f"the model at {place} cannot be read: {str(error).splitlines()[0]}") from error

    @cached_property
    def vit(self) -> Vit:
        """The tiny ViT, without its classifier.

        Raises:
            ModelError: It is missing or damaged.
        """
        place = self.folder / "tiny_vit"
        try:
            from timm.models.vision_transformer import VisionTransformer

            given = json.loads((place / "config.json").read_bytes())["kwargs"]
            model = VisionTransformer(**given)
            model.load_state_dict({name: tensor.float() for name, tensor in load_file(place / VIT_WEIGHTS).items()})
        except (OSError, ValueError, KeyError, TypeError, SafetensorError, RuntimeError) as error:
            raise ModelError(f"the model at {place} cannot be read: {str(error).splitlines()[0]}") from error
        return Vit(model, Preprocess(given["img_size"], (0.5,) * 3, (0.5,) * 3), name="tiny_vit")

    @cached_property
    def vit_head(self) -> tuple[Tensor, Tensor]:
        """The weight (C, D) and bias (C,) of the tiny ViT's classifier."""
        tensors = load_file(self.folder / "tiny_vit" / VIT_WEIGHTS)
        return tensors["head.weight"].float(), tensors["head.bias"].float()


def complete(place: Path, into: Path) -> None:
    """Write a cut-down model out as open_clip wants it; the rows that were left out are NaN, so none is used unseen."""
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
