"""Checks of a language model at load time: that prompts can enter it, and which shortcuts are exact for it."""

import inspect
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from vlprompt.backbones.lm_inputs import NO_SOFT_PROMPT, Row, Sequences, SoftPrompt
from vlprompt.backbones.outputs import DTYPES, agree
from vlprompt.backbones.prefixes import PrefixShape
from vlprompt.backbones.vocabulary import SENTINEL
from vlprompt.errors import VlpromptError

if TYPE_CHECKING:
    from vlprompt.backbones.lm import LanguageModel

PROBE = "a probe of the model"


def check_blank(lm: "LanguageModel") -> None:
    """Raise VlpromptError for a model without a language-model head or a token for blanks."""
    if lm.model.get_output_embeddings() is None:
        raise VlpromptError(f"{lm.name} has no language-model head; give a model trained to fill blanks.")
    if lm.kind == "masked" and lm.vocabulary.blank is None:
        raise VlpromptError(f"{lm.name}: its tokenizer has no mask token, and a masked model needs one.")
    if lm.kind == "encoder-decoder" and lm.vocabulary.blank is None:
        raise VlpromptError(f"{lm.name}: its tokenizer has no {SENTINEL}; of encoder-decoders, use a T5.")


@torch.no_grad()
def find_first_position(lm: "LanguageModel") -> int | None:
    """The number of the first position, found by trying; None if the model counts positions itself.

    RoBERTa and similar models start after the id of padding, all others at 0.

    Raises:
        VlpromptError: No numbering reproduces the model's own scores.
    """
    accepts = "position_ids" in inspect.signature(lm.model.forward).parameters
    padding = getattr(lm.model.config, "pad_token_id", None)
    for first in (0, *([] if padding is None else [int(padding) + 1])) if accepts else (None,):
        lm.first_position = first
        if _agree(lm, lm.all_scores(_probe(lm)), _scores_by_ids(lm)):
            return first
    raise VlpromptError(
        f"{lm.name} ({type(lm.model).__name__}): its scores change when the same texts are given as embeddings, so "
        "prompts cannot enter it. Use another model, such as a BERT, RoBERTa, GPT-2 or T5."
    )


def scores_rows_only(lm: "LanguageModel") -> bool:
    """Whether a head of some rows gives the model's own scores of these words."""
    probe, words = _probe(lm), _some_words(lm)
    return _agree(lm, lm.scores(probe, words), lm.all_scores(probe)[:, words])


def is_linear(lm: "LanguageModel") -> bool:
    """Whether the probe's states times the rows of some words are the model's scores.

    A soft cap hardly changes small scores, and is invisible in bfloat16: so states of 256 times the size are tried.
    """
    probe, words = _probe(lm), _some_words(lm)
    states = lm.apply_head(probe, NO_SOFT_PROMPT, lambda states: states)
    large = lm.apply_head(probe, NO_SOFT_PROMPT, lambda states: 256 * states)
    if not torch.allclose(large, 256 * states, rtol=1e-3):
        return False
    weight, bias = lm.word_rows(words)
    return _agree(lm, F.linear(states, weight, bias), lm.all_scores(probe)[:, words])


def check_prefix(lm: "LanguageModel", shapes: tuple[PrefixShape, ...]) -> None:
    """Raise VlpromptError if a prefix of these shapes does not reach all layers of the model."""
    layers, _, heads, size = (sum(shape[0] for shape in shapes), *shapes[0][1:])
    noise = torch.randn(layers, 2, heads, 3, size, generator=torch.Generator().manual_seed(0)).to(lm.device)
    probe, words = _probe(lm), _some_words(lm)
    with torch.enable_grad():  # the first use may be without gradients
        try:
            moved = lm.scores(probe, words, SoftPrompt.of_prefix(noise.requires_grad_(), shapes[0][0]))
        except Exception as error:  # an architecture may raise anything for an argument it does not support
            raise _no_prefix(lm, f"{type(error).__name__}: {str(error).splitlines()[0]}") from error
        if torch.equal(moved, lm.scores(probe, words)) or not moved.requires_grad:
            raise _no_prefix(lm, "it accepts a prefix and ignores it")
        (gradient,) = torch.autograd.grad(moved.square().sum(), noise, allow_unused=True)
    if gradient is None or bool((gradient.flatten(1) == 0).all(1).any()):
        raise _no_prefix(lm, "a prefix does not reach all of its layers")


def _no_prefix(lm: "LanguageModel", reason: str) -> VlpromptError:
    return VlpromptError(
        f"{lm.name} ({type(lm.model).__name__}) takes no keys and values before its own: {reason}. Use soft tokens "
        "instead of a prefix, or a BERT, RoBERTa, GPT-2 or T5."
    )


def _some_words(lm: "LanguageModel") -> Tensor:
    """(64,) words to try, in descending order, so that no word's index among them is its id."""
    return torch.arange(lm.vocabulary_size, device=lm.device).flip(0)[:64]


def _probe(lm: "LanguageModel") -> Sequences:
    """Two short texts of different length, with a blank."""
    own = lm.vocabulary
    words, blank = own.pieces(PROBE), [] if own.blank is None else [own.blank]
    texts = (words, words[:2])
    rows = [Row((*own.lead, *pieces, *blank), len(own.lead) + len(pieces) - (not blank)) for pieces in texts]
    return Sequences.of(rows, own.pad, lm.device)


def _scores_by_ids(lm: "LanguageModel") -> Tensor:
    """(2, V) scores of the probe by the model's own forward from ids, one text at a time and without padding."""
    probe, scores = _probe(lm), []
    for row in range(len(probe)):
        one = probe.take(torch.tensor([row], device=lm.device))
        extra = {"decoder_input_ids": lm.decoder_ids} if lm.kind == "encoder-decoder" else {}
        scores.append(lm.at_readout(lm.model(input_ids=one.ids, **extra).logits, one))
    return torch.cat(scores)


def _agree(lm: "LanguageModel", found: Tensor, expected: Tensor) -> bool:
    return agree(found, expected, DTYPES[lm.precision])
