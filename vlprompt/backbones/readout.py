"""The head of a language model where it is needed only: at the read-out position, for a few words.

A model's own forward is run, with two things changed while it lasts: its base hands on the state of one position, and
its output embedding computes what it is told instead of the whole vocabulary. Nothing is copied, so gradients reach the
output embedding of a model that is trained.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Head = Callable[[Tensor], Tensor]


@contextmanager
def reading(model: Any, places: Tensor | None, head: Head) -> Iterator[None]:
    """While open, the base passes on its state at (B, n) places (all for None) and `head` stands for the head."""
    output = model.get_output_embeddings()
    base = model.base_model

    def cut(module: nn.Module, given: Any, found: Any) -> Any:  # noqa: ARG001
        found.last_hidden_state = at(found.last_hidden_state, places)  # type: ignore[arg-type]
        return found

    hook = None if places is None or base is model else base.register_forward_hook(cut)
    output.forward = head
    try:
        yield
    finally:
        del output.forward  # the class's own is seen again
        if hook is not None:
            hook.remove()


def at(states: Tensor, places: Tensor) -> Tensor:
    """(B, T, ...) at (B,) places -> (B, ...), at (B, n) -> (B, n, ...)."""
    rows = torch.arange(len(states), device=states.device)
    return states[rows if places.ndim == 1 else rows[:, None], places]


def rows_of(model: Any, words: Tensor) -> tuple[Tensor, Tensor | None]:
    """The output embedding's (W, D) rows and (W,) biases for some words."""
    output = model.get_output_embeddings()
    bias = getattr(output, "bias", None)
    return output.weight[words], None if bias is None else bias[words]


def rows_only(model: Any, words: Tensor) -> Head:
    """A head that scores (W,) words only: (..., D) -> (..., W)."""
    weight, bias = rows_of(model, words)
    return lambda states: F.linear(states, weight, bias)


def every_row(model: Any) -> Head:
    """A head that scores the whole vocabulary: (..., D) -> (..., V)."""
    output = model.get_output_embeddings()
    return lambda states: F.linear(states, output.weight, getattr(output, "bias", None))
