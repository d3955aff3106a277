"""The head of a language model, computed only at some positions and for some words.

The model's own forward runs with two temporary changes: its base returns the states of the chosen positions, and its
output embedding computes the chosen words instead of the whole vocabulary. Nothing is copied, so gradients reach the
output embedding of a model that is trained.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Head = Callable[[Tensor], Tensor]
Words = Tensor | slice  # (W,) ids, or slice(None) for the whole vocabulary


@contextmanager
def replaced_head(model: Any, places: Tensor | None, head: Head) -> Iterator[None]:
    """While open, the base returns its states at (B, n) places (at all for None), and `head` replaces the head."""
    output = model.get_output_embeddings()
    base = model.base_model

    def select(module: nn.Module, inputs: Any, outputs: Any) -> Any:  # noqa: ARG001
        outputs.last_hidden_state = at(outputs.last_hidden_state, places)  # type: ignore[arg-type]
        return outputs

    hook = None if places is None or base is model else base.register_forward_hook(select)
    output.forward = head
    try:
        yield
    finally:
        del output.forward  # restores the method of its class
        if hook is not None:
            hook.remove()


def at(states: Tensor, places: Tensor) -> Tensor:
    """(B, T, ...) at (B,) places -> (B, ...), at (B, n) -> (B, n, ...)."""
    rows = torch.arange(len(states), device=states.device)
    return states[rows if places.ndim == 1 else rows[:, None], places]


def rows_of(model: Any, words: Words) -> tuple[Tensor, Tensor | None]:
    """The output embedding's (W, D) rows and (W,) biases for some words."""
    output = model.get_output_embeddings()
    weight, bias = output.weight, getattr(output, "bias", None)
    if isinstance(words, slice):  # a view of all rows would change the order in which a tied weight's gradients add up
        return weight, bias
    return weight[words], None if bias is None else bias[words]


def rows_only(model: Any, words: Words) -> Head:
    """A head that scores (W,) words only: (..., D) -> (..., W)."""
    weight, bias = rows_of(model, words)
    return lambda states: F.linear(states, weight, bias)
