"""Label words of several pieces, scored whole: several blanks of a masked model, or the exact score of others.

A masked model has no probability of a word of n pieces. PET (Schick and Schuetze, NAACL 2021, arXiv:2009.07118) puts n
blanks and fills them one by one, each time the piece it finds likeliest ("masks"), and multiplies. In training, for
speed, it puts as many blanks as the longest word has, reads all at once and asks for a margin between the means over
pieces (a hinge loss). The authors' code (pet/task_helpers.py) fills one text at a time; here a batch is filled at once,
each text in its own order. Theirs takes those means over a whole batch, which mixes its texts; ours over each text,
which is the same for one.

Causal models and decoders have the probability: sum_t log p(v_t | text, v_<t).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from vlprompt.backbones.continuations import log_probs
from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.sequences import Sequences, Steering
from vlprompt.cloze.rendering import Renderer
from vlprompt.cloze.verbalizer import LEFT_TO_RIGHT, Pieces

Examples = Sequence[Mapping[str, str]]
Word = Sequence[int]


class Blanks:
    """Words in as many blanks as they have pieces.

    Args:
        render: Makes a renderer of so many blanks.
        words: W words, as pieces.
        pieces: "masks", "masks_ltr" or "masks_parallel", the order in which blanks are filled.
    """

    def __init__(self, render: Callable[[int], Renderer], words: Sequence[Word], pieces: Pieces) -> None:
        self.words, self.pieces = words, pieces
        self._renderers = {count: render(count) for count in sorted({len(word) for word in words})}

    def __call__(self, lm: LanguageModel, examples: Examples, prompt: Steering) -> Tensor:
        """Log-probabilities (B, W), each word in a row of its own number of blanks."""
        texts = {count: renderer(examples) for count, renderer in self._renderers.items()}
        return torch.stack([self.filled(lm, texts[len(word)], word, prompt) for word in self.words], dim=1)

    def filled(self, lm: LanguageModel, texts: Sequences, word: Word, prompt: Steering) -> Tensor:
        """(B,) the log-probability of a word's n pieces, blank after blank; the texts have n blanks."""
        if self.pieces == "masks_parallel":
            return _at_once(lm, texts, word, prompt).sum(1)
        rows, known = torch.arange(len(texts), device=texts.ids.device), torch.tensor(word, device=texts.ids.device)
        left = torch.ones(len(texts), len(word), dtype=torch.bool, device=texts.ids.device)
        total = torch.zeros(len(texts), device=texts.ids.device)
        for _ in word:
            found = _at_once(lm, texts, word, prompt)  # (B, n)
            order = found if self.pieces == "masks" else -torch.arange(len(word)).to(found).expand_as(found)
            chosen = order.masked_fill(~left, -torch.inf).argmax(1)  # (B,)
            total = total + found[rows, chosen]
            left[rows, chosen] = False
            ids = texts.ids.clone()
            ids[rows, texts.read + chosen] = known[chosen]
            texts = replace(texts, ids=ids)
        return total

    def at_once(self, lm: LanguageModel, examples: Examples, prompt: Steering) -> Tensor:
        """Mean log-probabilities (B, W) of pieces in as many blanks as the longest word has, all read at once."""
        texts = self._renderers[max(self._renderers)](examples)
        return torch.stack([_at_once(lm, texts, word, prompt).mean(1) for word in self.words], dim=1)


class LeftToRight:
    """Words as a causal model or a decoder says them.

    Args:
        render: Makes the renderer.
        words: W words, as pieces.
        pieces: "left_to_right", or "left_to_right_mean" to divide by the number of pieces.
    """

    def __init__(self, render: Callable[[int], Renderer], words: Sequence[Word], pieces: Pieces) -> None:
        self.words, self._renderer = words, render(1)
        self._mean = pieces == "left_to_right_mean"
        beginnings = {tuple(word[:-1]) for word in words}
        self._chains = [one for one in sorted(beginnings) if not any(_begins(other, one) for other in beginnings)]

    def __call__(self, lm: LanguageModel, examples: Examples, prompt: Steering) -> Tensor:
        """Log-probabilities (B, W); words with a beginning in common share a run of the model."""
        texts, scores = self._renderer(examples), {}
        for chain in self._chains:
            found = log_probs(lm, texts, len(chain) + 1, prompt, chain)  # (B, n, V)
            for number, word in enumerate(self.words):
                if tuple(word[:-1]) == chain[: len(word) - 1]:
                    each = found[:, range(len(word)), list(word)]  # (B, n)
                    scores[number] = each.mean(1) if self._mean else each.sum(1)
        return torch.stack([scores[number] for number in range(len(self.words))], dim=1)


def reader(render: Callable[[int], Renderer], words: Sequence[Word], pieces: Pieces) -> Blanks | LeftToRight:
    """What scores words of several pieces by a rule of that name."""
    return (LeftToRight if pieces in LEFT_TO_RIGHT else Blanks)(render, words, pieces)


def hinge(scores: Tensor, labels: Tensor) -> Tensor:
    """sum_wrong max(0, 1 - (score of the right class - score of the wrong one)), mean over texts; scores (B, C)."""
    right = scores.gather(1, labels[:, None])  # (B, 1)
    margins = (1 - right + scores).clamp_min(0)
    return margins.scatter(1, labels[:, None], 0.0).sum(1).mean()


def _at_once(lm: LanguageModel, texts: Sequences, word: Word, prompt: Steering) -> Tensor:
    """(B, n) log-probabilities of a word's pieces, each at its blank."""
    return log_probs(lm, texts, len(word), prompt)[:, range(len(word)), list(word)]


def _begins(longer: Sequence[int], one: Sequence[int]) -> bool:
    return len(longer) > len(one) and tuple(longer[: len(one)]) == tuple(one)
