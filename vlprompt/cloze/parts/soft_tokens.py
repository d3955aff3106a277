"""Soft tokens of a cloze: their place in the template and their initial values."""

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from vlprompt import checkpoint
from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze.parts.template import Template
from vlprompt.errors import VlpromptError
from vlprompt.randomness import normal

Init = Literal["uniform", "normal", "vocabulary", "first", "labels", "text", "file"]
POPULATION = 5000  # ids below it are sampled (google-research/prompt-tuning, SampledVocab.population_size)


def add_soft_tokens(template: str, length: int) -> str:
    """The template if it has soft tokens; else with `length` of them in front, after the tokenizer's start token."""
    return template if Template(template).parts_of("soft") else f"{{soft:{length}}} {template}"


def uniform(length: int, width: int, seed: int) -> Tensor:
    """(P, D) from U(-0.5, 0.5): Lester et al. 2021, section 3.2 (their code samples [0, 0.5), flax's default)."""
    return torch.rand(length, width, generator=torch.Generator().manual_seed(seed)) - 0.5


def from_vocabulary(lm: LanguageModel, length: int, seed: int) -> Tensor:
    """(P, D) embeddings of common words: sampled without replacement from the first 5,000 ids but the special ones.

    (SampledVocab; ids are in order of frequency in most vocabularies. With fewer words than tokens, with replacement.)
    """
    special = lm.vocabulary.special
    ids = torch.tensor([word for word in range(min(POPULATION, len(lm.table))) if word not in special])
    generator = torch.Generator().manual_seed(seed)
    if length > len(ids):
        return lm.embed_tokens(ids[torch.randint(len(ids), (length,), generator=generator)])
    return lm.embed_tokens(ids[torch.randperm(len(ids), generator=generator)[:length]])


def from_labels(lm: LanguageModel, words: tuple[tuple[str, ...], ...], length: int, seed: int) -> Tensor:
    """(P, D): row i is the mean embedding of the pieces of label word i; further rows are from the vocabulary."""
    start = from_vocabulary(lm, length, seed)
    for row, word in enumerate([word for own in words for word in own][:length]):
        start[row] = lm.embed_tokens(torch.tensor(lm.vocabulary.pieces(" " + word))).mean(0)
    return start


def from_text(lm: LanguageModel, text: str, length: int, seed: int) -> Tensor:
    """(P, D): row i is the embedding of the text's i-th piece; further rows are from the vocabulary."""
    start = from_vocabulary(lm, length, seed)
    pieces = lm.vocabulary.pieces(text)[:length]
    start[: len(pieces)] = lm.embed_tokens(torch.tensor(pieces))
    return start


def from_file(folder: str, length: int, width: int) -> Tensor:
    """(P, D) of a saved prompt, such as another task's (Vu et al. 2022, SPoT).

    Raises:
        VlpromptError: It cannot be read, or has another shape.
    """
    tensors, _ = checkpoint.load(Path(folder))
    for each in tensors.values():
        if each.shape == (length, width):
            return each
    shapes = ", ".join(f"{name} {tuple(each.shape)}" for name, each in tensors.items())
    raise VlpromptError(f"{folder} holds no prompt of shape {(length, width)}, only {shapes}.")


def initial_tokens(
    lm: LanguageModel, length: int, init: Init, *, words: tuple[tuple[str, ...], ...], text: str, file: str, seed: int
) -> Tensor:
    """(P, D) initial soft tokens, float32 on the model's device."""
    start = {
        "uniform": lambda: uniform(length, lm.width, seed),
        "normal": lambda: normal(length, lm.width, seed=seed),
        "vocabulary": lambda: from_vocabulary(lm, length, seed),
        "first": lambda: lm.embed_tokens(torch.arange(length) % len(lm.table)).detach(),
        "labels": lambda: from_labels(lm, words, length, seed),
        "text": lambda: from_text(lm, text, length, seed),
        "file": lambda: from_file(file, length, lm.width),
    }[init]()
    return start.to(lm.device)
