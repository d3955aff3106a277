"""PromptLayout: learned tokens among the words of every class's prompt, as CoOp and its successors use them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from vlprompt.backbones.clip import Clip
from vlprompt.backbones.prompt_types import TextPrompt
from vlprompt.data.templates import readable
from vlprompt.errors import UsageError, unknown

Position = Literal["end", "middle", "front"]

TEXTS_AT_ONCE = 2**14  # texts (images x classes) whose features are in memory at once, where each image has its own
CLASS_SPECIFIC = "its context is class-specific; train with class_specific=False"  # why classes cannot change


@dataclass(frozen=True)
class Slot:
    """A place for a learned token."""

    number: int


class PromptLayout(nn.Module):
    """The prompts "[V]_1 .. [V]_M name." of C classes, with slots for the learned tokens.

    Zhou et al., IJCV 2022 (arXiv:2109.01134), eqs. 2-4: end, middle and front; unified or class-specific. As in the
    authors' code a full stop ends the prompt, and underscores in names are spaces.

    Attributes:
        slots: Learned tokens of all prompts together: M, or C * M where each class has its own.
        ids: (C, L) token ids, with placeholders in the slots.
    """

    prefix_index: Tensor  # (P,) rows of the table [learned slots | words]
    suffix_index: Tensor  # (C, S) likewise
    ends: Tensor  # (C,), not a buffer: it stays on the CPU, see `TextPrompt`
    ids: Tensor
    words: Tensor  # (U, D) embeddings of the fixed tokens

    def __init__(
        self,
        clip: Clip,
        names: Sequence[str],
        n_ctx: int,
        *,
        position: Position | int = "end",
        class_specific: bool = False,
        fixed: str = "",
        closing: str = ".",
    ) -> None:
        """Lay out the prompts of some classes.

        Args:
            clip: The model whose tokenizer and embeddings are used.
            names: C class names.
            n_ctx: M, learned tokens per prompt.
            position: The place of the name among the learned tokens: "end" (all of them precede it), "middle" (M // 2
                do), "front" (none does), or the number of those that do.
            class_specific: Each class has M slots of its own instead of sharing them.
            fixed: Words between the learned tokens and the name that are not learned.
            closing: The words after the name.

        Raises:
            UsageError: No names, an unknown position, or a prompt that is too long for the text tower.
        """
        super().__init__()
        before = _tokens_before_name(position, n_ctx)
        if not names:
            raise UsageError("no class names given; give at least one.")
        self.slots = n_ctx * len(names) if class_specific else n_ctx
        tokenizer = clip.tokenizer
        every = [piece for name in names for piece in tokenizer.pieces_inside(readable(name) + closing)]
        tokenizer.warn_untrained(every)  # one warning for all names
        rows = []
        for number, name in enumerate(names):
            first = number * n_ctx if class_specific else 0
            context: list[Slot | int] = [Slot(first + i) for i in range(n_ctx)]
            name_ids, closing_ids = _name_pieces(clip, readable(name), closing)
            fixed_ids = tokenizer.warn_untrained(tokenizer.pieces_inside(fixed)) if fixed else []
            body = [*context[:before], *fixed_ids, *name_ids, *context[before:], *closing_ids]
            rows.append([*tokenizer.lead, *body, *tokenizer.tail])
        self._index(clip, rows, list(names))

    def _index(self, clip: Clip, rows: list[list[Slot | int]], names: list[str]) -> None:
        """Turn rows of slots and token ids into indices of one table of vectors."""
        filler = clip.tokenizer.placeholder
        ids = [[filler if isinstance(x, Slot) else x for x in row] for row in rows]
        vocabulary = sorted({x for row in rows for x in row if not isinstance(x, Slot)})
        place = {token: self.slots + i for i, token in enumerate(vocabulary)}
        shared = _common_prefix(rows)
        longest = max(len(row) for row in rows)
        padding = self.slots  # any word: the tower does not read beyond end-of-text
        table = [[x.number if isinstance(x, Slot) else place[x] for x in row] for row in rows]
        suffix = [row[shared:] + [padding] * (longest - len(row)) for row in table]
        buffers = {
            "prefix_index": torch.tensor(table[0][:shared], dtype=torch.int64),  # may be empty
            "suffix_index": torch.tensor(suffix),
            "ids": clip.tokenizer.pad_rows(ids, names),
            "words": clip.embed_tokens(torch.tensor(vocabulary)),
        }
        for name, value in buffers.items():
            self.register_buffer(name, value.to(clip.device), persistent=False)
        self.ends = torch.tensor([len(row) - 1 - shared for row in rows])
        self.suffix_is_fixed = bool((self.suffix_index >= self.slots).all())

    def fill(self, context: Tensor, deep: dict[int, Tensor] | None = None) -> TextPrompt:
        """Put learned vectors into the slots.

        Args:
            context: (G, M, D), G variants of a shared context; class-specific contexts are (G, C * M, D) or, as one
                variant, (C, M, D).
            deep: Prompts of later layers, see `TextPrompt`.

        Raises:
            UsageError: The number of vectors is not the number of slots.
        """
        width = context.shape[-1]
        if context.shape[-2] != self.slots:
            context = context.reshape(-1, self.slots, width) if context.numel() == self.slots * width else context
        if context.ndim != 3 or context.shape[1] != self.slots:
            raise UsageError(f"a context of shape {tuple(context.shape)} does not fit {self.slots} slots.")
        table = torch.cat([context, self.words.expand(len(context), -1, -1)], dim=1)  # (G, slots + U, D)
        prefix = table.index_select(1, self.prefix_index)
        if self.suffix_is_fixed:  # it consists of words alone and needs no gradient
            suffix = self.words[None].index_select(1, self.suffix_index.flatten() - self.slots)
        else:
            suffix = table.index_select(1, self.suffix_index.flatten())
        suffix = suffix.reshape(-1, *self.suffix_index.shape, width)  # (1 or G, C, S, D)
        return TextPrompt(prefix, suffix[0] if len(suffix) == 1 else suffix, self.ends, self.ids, deep or {})


def _tokens_before_name(position: Position | int, n_ctx: int) -> int:
    """The number of learned tokens before the name."""
    if isinstance(position, int):
        if not 0 <= position <= n_ctx:
            raise UsageError(f"position is {position}; 0 to {n_ctx} of {n_ctx} learned tokens can precede the name.")
        return position
    if position not in get_args(Position):
        raise unknown("position", str(position), get_args(Position))
    return {"end": n_ctx, "middle": n_ctx // 2, "front": 0}[position]


def _name_pieces(clip: Clip, name: str, closing: str) -> tuple[list[int], list[int]]:
    """The tokens of a name and of the closing words, tokenised together: "St.." ends in the one token ".."."""
    together = clip.tokenizer.pieces_inside(name + closing)
    length = min(len(clip.tokenizer.pieces_inside(name)), len(together))
    return together[:length], together[length:]


def _common_prefix(rows: Sequence[Sequence[Slot | int]]) -> int:
    """The number of leading entries that all rows share; at least one entry of each row is not counted."""
    limit = min(len(row) for row in rows) - 1
    return next((i for i in range(limit) if any(row[i] != rows[0][i] for row in rows)), limit)
