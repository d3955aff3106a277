"""Label words of several pieces: log-probabilities from several blanks of a masked model, exact ones of other models.

A masked model has no probability of a word of n pieces. PET (Schick and Schuetze, NAACL 2021, arXiv:2009.07118) writes
n blanks, fills them one after another, each time with the piece that is most probable ("masks"), and multiplies. For
speed, its training writes as many blanks as the longest word has pieces, reads all at once and requires a margin
between the words' log-probabilities, the sums over pieces (pet/task_helpers.py, MultiMaskTaskHelper). The authors' code
fills one text at a time; here a batch is filled at once, each text in its own order.

Causal models and decoders have the probability: sum_t log p(v_t | text, v_<t).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.lm_inputs import Sequences, SoftPrompt
from vlprompt.backbones.lm_scoring import log_probs
from vlprompt.cloze.parts.rendering import Renderer
from vlprompt.cloze.parts.verbalizer import LEFT_TO_RIGHT, Pieces

Examples = Sequence[Mapping[str, str]]
Word = Sequence[int]


class BlankFilling:
    """Words in as many blanks as they have pieces.

    Args:
        render: Makes a renderer with a number of blanks.
        words: W words, as pieces.
        pieces: "masks", "masks_ltr" or "masks_parallel", the order in which blanks are filled.
    """

    def __init__(self, render: Callable[[int], Renderer], words: Sequence[Word], pieces: Pieces) -> None:
        self.words, self.pieces = words, pieces
        self._renderers = {count: render(count) for count in sorted({len(word) for word in words})}

    def __call__(self, lm: LanguageModel, examples: Examples, prompt: SoftPrompt) -> Tensor:
        """Log-probabilities (B, W), each word in a row with one blank for each of its pieces."""
        texts = {count: renderer(examples) for count, renderer in self._renderers.items()}
        return torch.stack([self._word(lm, texts[len(word)], word, prompt) for word in self.words], dim=1)

    def at_once(self, lm: LanguageModel, examples: Examples, prompt: SoftPrompt) -> Tensor:
        """Log-probabilities (B, W) in as many blanks as the longest word has, all read at once, as in training."""
        texts = self._renderers[max(self._renderers)](examples)
        return torch.stack([_all_blanks(lm, texts, self._same(word, texts), prompt).sum(1) for word in self.words], 1)

    def _word(self, lm: LanguageModel, texts: Sequences, word: Word, prompt: SoftPrompt) -> Tensor:
        """(B,) the log-probability of a word of n pieces; the texts have n blanks."""
        return fill_blanks(lm, texts, self._same(word, texts), prompt, self.pieces)

    def _same(self, word: Word, texts: Sequences) -> Tensor:
        """The pieces of a word for each text, (B, n)."""
        return torch.tensor(word, device=texts.ids.device).expand(len(texts), -1)


def fill_blanks(lm: LanguageModel, texts: Sequences, words: Tensor, prompt: SoftPrompt, order: Pieces) -> Tensor:
    """(B,) log-probabilities of a word for each text, in its n blanks.

    Args:
        lm: A masked model.
        texts: B texts, each read at the first of its n blanks.
        words: (B, n) pieces.
        prompt: Learned tokens or prefix.
        order: "masks" fills the blank with the most probable piece first, "masks_ltr" the first blank, and
            "masks_parallel" reads all at once.
    """
    if order == "masks_parallel":
        return _all_blanks(lm, texts, words, prompt).sum(1)
    rows, count = torch.arange(len(texts), device=texts.ids.device), words.shape[1]
    left = torch.ones_like(words, dtype=torch.bool)
    total = torch.zeros(len(texts), device=texts.ids.device)
    for _ in range(count):
        scores = _all_blanks(lm, texts, words, prompt)  # (B, n)
        ranks = scores if order == "masks" else -torch.arange(count).to(scores).expand_as(scores)
        chosen = ranks.masked_fill(~left, -torch.inf).argmax(1)  # (B,)
        total = total + scores[rows, chosen]
        left[rows, chosen] = False
        filled = texts.ids.clone()
        filled[rows, texts.read + chosen] = words[rows, chosen]
        texts = replace(texts, ids=filled)
    return total


class LeftToRight:
    """Words as a causal model or a decoder generates them.

    Args:
        render: Makes the renderer.
        words: W words, as pieces.
        pieces: "left_to_right", or "left_to_right_mean" to divide by the number of pieces.
    """

    def __init__(self, render: Callable[[int], Renderer], words: Sequence[Word], pieces: Pieces) -> None:
        self.words, self._renderer = words, render(1)
        self._mean = pieces == "left_to_right_mean"
        starts = {tuple(word[:-1]) for word in words}
        self._chains = [one for one in sorted(starts) if not any(_extends(other, one) for other in starts)]

    def __call__(self, lm: LanguageModel, examples: Examples, prompt: SoftPrompt) -> Tensor:
        """Log-probabilities (B, W); words that start with the same pieces share a run of the model."""
        texts, scores = self._renderer(examples), {}
        for chain in self._chains:
            every = log_probs(lm, texts, len(chain) + 1, prompt, chain)  # (B, n, V)
            for number, word in enumerate(self.words):
                if tuple(word[:-1]) == chain[: len(word) - 1]:
                    own = every[:, range(len(word)), list(word)]  # (B, n)
                    scores[number] = own.mean(1) if self._mean else own.sum(1)
        return torch.stack([scores[number] for number in range(len(self.words))], dim=1)


def word_scorer(render: Callable[[int], Renderer], words: Sequence[Word], pieces: Pieces) -> BlankFilling | LeftToRight:
    """What computes log-probabilities of words of several pieces by a rule."""
    return (LeftToRight if pieces in LEFT_TO_RIGHT else BlankFilling)(render, words, pieces)


def hinge_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """sum_wrong max(0, 1 - (score of the right class - score of the wrong one)), mean over texts; scores (B, C)."""
    right = scores.gather(1, labels[:, None])  # (B, 1)
    margins = (1 - right + scores).clamp_min(0)
    return margins.scatter(1, labels[:, None], 0.0).sum(1).mean()


def _all_blanks(lm: LanguageModel, texts: Sequences, words: Tensor, prompt: SoftPrompt) -> Tensor:
    """(B, n) log-probabilities of (B, n) pieces, each at its blank."""
    return log_probs(lm, texts, words.shape[1], prompt).gather(2, words[..., None])[..., 0]


def _extends(longer: Sequence[int], one: Sequence[int]) -> bool:
    return len(longer) > len(one) and tuple(longer[: len(one)]) == tuple(one)
