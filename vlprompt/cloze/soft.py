"""Soft tokens of a cloze: where they stand and what they start from."""

from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from vlprompt import checkpoint
from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze.template import Template
from vlprompt.errors import UsageError, VlpromptError, unknown
from vlprompt.init import normal

Init = Literal["uniform", "normal", "vocabulary", "labels", "text", "file"]
POPULATION = 5000  # the first so many ids are sampled (google-research/prompt-tuning, SampledVocab.population_size)


def check_init(init: str, text: str, file: str) -> None:
    """Raise UsageError for an unknown start, or one that lacks what it starts from."""
    if init not in get_args(Init):
        raise unknown("init", init, get_args(Init))
    for name, value in (("text", text), ("file", file)):
        if init == name and not value:
            raise UsageError(f"init {name!r} needs the setting init_{name}; it is empty.")


def in_front(template: str, length: int) -> str:
    """A template with soft tokens: its own, or else so many in front of everything but the tokenizer's start."""
    if any(part.kind == "soft" for part in Template(template).parts):
        return template
    return f"{{soft:{length}}} {template}"


def uniform(length: int, width: int, seed: int) -> Tensor:
    """(P, D) from U(-0.5, 0.5): Lester et al. 2021, section 3.2 (their code draws from [0, 0.5), flax's default)."""
    return torch.rand(length, width, generator=torch.Generator().manual_seed(seed)) - 0.5


def sampled(lm: LanguageModel, length: int, seed: int) -> Tensor:
    """(P, D) embeddings of common words: drawn without replacement from the first 5,000 ids, special ones left out.

    (SampledVocab; ids are in order of frequency in most vocabularies. With fewer words than tokens, with replacement.)
    """
    special = lm.vocabulary.special
    known = torch.tensor([word for word in range(min(POPULATION, len(lm.table))) if word not in special])
    generator = torch.Generator().manual_seed(seed)
    if length > len(known):
        return lm.embed_tokens(known[torch.randint(len(known), (length,), generator=generator)])
    return lm.embed_tokens(known[torch.randperm(len(known), generator=generator)[:length]])


def from_labels(lm: LanguageModel, words: tuple[tuple[str, ...], ...], length: int, seed: int) -> Tensor:
    """(P, D): row i is the mean embedding of the pieces of label word i; rows that are left, from the vocabulary."""
    start = sampled(lm, length, seed)
    flat = [word for own in words for word in own][:length]
    for row, word in enumerate(flat):
        start[row] = lm.embed_tokens(torch.tensor(lm.vocabulary.pieces(" " + word))).mean(0)
    return start


def from_text(lm: LanguageModel, text: str, length: int, seed: int) -> Tensor:
    """(P, D): row i is the embedding of the text's i-th piece; rows that are left, from the vocabulary."""
    start = sampled(lm, length, seed)
    pieces = lm.vocabulary.pieces(text)[:length]
    start[: len(pieces)] = lm.embed_tokens(torch.tensor(pieces))
    return start


def from_file(folder: str, length: int, width: int) -> Tensor:
    """(P, D) of a saved prompt: another task's (Vu et al. 2022, SPoT).

    Raises:
        VlpromptError: It cannot be read, or has another shape.
    """
    tensors, _ = checkpoint.load(Path(folder))
    found = next((each for each in tensors.values() if each.shape == (length, width)), None)
    if found is None:
        shapes = ", ".join(f"{name} {tuple(each.shape)}" for name, each in tensors.items())
        raise VlpromptError(f"{folder} holds no prompt of shape {(length, width)}, only {shapes}.")
    return found


def started(
    lm: LanguageModel, length: int, init: Init, words: tuple[tuple[str, ...], ...], text: str, file: str, seed: int
) -> Tensor:
    """(P, D) soft tokens at their start, float32 on the model's device."""
    start = {
        "uniform": lambda: uniform(length, lm.width, seed),
        "normal": lambda: normal(length, lm.width, seed=seed),
        "vocabulary": lambda: sampled(lm, length, seed),
        "labels": lambda: from_labels(lm, words, length, seed),
        "text": lambda: from_text(lm, text, length, seed),
        "file": lambda: from_file(file, length, lm.width),
    }[init]()
    return start.to(lm.device)
