"""What tests of clozes share: language models of every kind, and what the library itself says of a filled sentence."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import vlprompt as vp
from vlprompt.backbones.lm import LanguageModel

TEMPLATE = "{text} it was {mask}"
KINDS = ("bert", "roberta", "gpt2", "t5")


@pytest.fixture(scope="session")
def goldens() -> dict[str, LanguageModel]:
    """The shared models that are loaded already."""
    return {}


@pytest.fixture(params=[*KINDS, *(f"shared {name}" for name in KINDS)])
def any_lm(
    request: pytest.FixtureRequest, tiny_lm: Callable[[str], LanguageModel], goldens: dict[str, LanguageModel]
) -> LanguageModel:
    """A random model made here, or one of the goldens where they are at hand."""
    name = str(request.param)
    if not name.startswith("shared "):
        return tiny_lm(name)
    folder: Path = request.getfixturevalue("shared") / "goldens" / f"tiny_{name.removeprefix('shared ')}"
    return goldens.get(name) or goldens.setdefault(name, vp.load_lm(f"local-dir:{folder}"))


@pytest.fixture(scope="session")
def own_scores() -> Callable[..., Tensor]:
    """(V,) scores of the whole vocabulary in the blank of "TEXT it was BLANK", by the library's own forward alone."""

    @torch.no_grad()
    def scores(lm: LanguageModel, text: str, extra: tuple[int, ...] = ()) -> Tensor:
        return own_logits(lm, [*lm.vocabulary.pieces(text), *lm.vocabulary.pieces(" it was"), *extra])

    return scores


def own_logits(lm: LanguageModel, pieces: list[int]) -> Tensor:
    """(V,) of a row of pieces whose blank comes last, one text at a time."""
    blank = [] if lm.kind == "causal" else [lm.vocabulary.blank]
    tail = [] if lm.kind == "causal" else lm.vocabulary.tail
    ids = torch.tensor([[*lm.vocabulary.lead, *pieces, *blank, *tail]])
    if lm.kind == "encoder-decoder":
        start = lm.model.config.decoder_start_token_id
        return lm.model(input_ids=ids, decoder_input_ids=torch.tensor([[start, lm.vocabulary.blank]])).logits[0, 1]
    return lm.model(input_ids=ids).logits[0, ids.shape[1] - len(tail) - 1]
