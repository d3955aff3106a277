"""Where learned tokens stand among a class's words: assembling the prompt of CoOp and all that follow it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from vlprompt.backbones.clip import Clip
from vlprompt.backbones.prompts import TextPrompt
from vlprompt.errors import UsageError, unknown
from vlprompt.templates import readable

Position = Literal["end", "middle", "front"]


@dataclass(frozen=True)
class Slot:
    """A place for a learned token."""

    number: int


class PromptLayout(nn.Module):
    """The prompts "[V]_1 .. [V]_M name." of C classes, with the learned tokens left open.

    Zhou et al., IJCV 2022 (arXiv:2109.01134), eqs. 2-4: end, middle and front; unified or class-specific. As in the
    authors' code a full stop closes the prompt, and underscores in names are spaces.
    """

    prefix_index: Tensor  # (P,) rows of the table [learned slots | words]
    suffix_index: Tensor  # (C, S) likewise
    ends: Tensor  # (C,), no buffer: it stays on the CPU, see `TextPrompt`
    ids: Tensor  # (C, L), placeholders in the slots
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
            position: Where the name stands among the learned tokens; "middle" puts M // 2 of them before it, a number
                so many.
            class_specific: Each class has M slots of its own instead of sharing them.
            fixed: Words between the learned tokens and the name that are not learned.
            closing: What follows the name.

        Raises:
            UsageError: No names, an unknown position, or a prompt longer than the text tower takes.
        """
        super().__init__()
        before = _before_the_name(position, n_ctx)
        if not names:
            raise UsageError("no class names given; give at least one.")
        self.slots = n_ctx * len(names) if class_specific else n_ctx
        tokenizer = clip.tokenizer
        rows = []
        for number, name in enumerate(names):
            first = number * n_ctx if class_specific else 0
            context: list[Slot | int] = [Slot(first + i) for i in range(n_ctx)]
            name_ids, closing_ids = _name_pieces(clip, readable(name), closing)
            fixed_ids = tokenizer.check(tokenizer.pieces_inside(fixed)) if fixed else []
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
        padding = self.slots  # any word: what follows end-of-text is never read
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
            context: (G, M, D), G variants of a shared context; for class-specific contexts (G, C * M, D) or, for one
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
        if self.suffix_is_fixed:  # taken from the words alone, it needs no gradient
            suffix = self.words[None].index_select(1, self.suffix_index.flatten() - self.slots)
        else:
            suffix = table.index_select(1, self.suffix_index.flatten())
        suffix = suffix.reshape(-1, *self.suffix_index.shape, width)  # (1 or G, C, S, D)
        return TextPrompt(prefix, suffix[0] if len(suffix) == 1 else suffix, self.ends, self.ids, deep or {})


def _before_the_name(position: Position | int, n_ctx: int) -> int:
    """How many of the learned tokens stand before the name."""
    if isinstance(position, int):
        if not 0 <= position <= n_ctx:
            raise UsageError(f"position {position}: 0 to {n_ctx} of {n_ctx} learned tokens can stand before the name.")
        return position
    if position not in get_args(Position):
        raise unknown("position", str(position), get_args(Position))
    return {"end": n_ctx, "middle": n_ctx // 2, "front": 0}[position]


def _name_pieces(clip: Clip, name: str, closing: str) -> tuple[list[int], list[int]]:
    """A name's tokens and what follows it; tokenised together, so that "St." + "." reads as the tokenizer reads it."""
    together = clip.tokenizer.check(clip.tokenizer.pieces_inside(name + closing))
    length = min(len(clip.tokenizer.pieces_inside(name)), len(together))
    return together[:length], together[length:]


def _common_prefix(rows: Sequence[Sequence[Slot | int]]) -> int:
    """How many leading entries all rows share, leaving each row at least one of its own."""
    limit = min(len(row) for row in rows) - 1
    return next((i for i in range(limit) if any(row[i] != rows[0][i] for row in rows)), limit)
