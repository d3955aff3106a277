"""A batch: some examples of one split, as images, as features of a frozen encoder, or as texts."""

from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from vlprompt.data.items import as_list, text_item
from vlprompt.data.texts import Text
from vlprompt.errors import UsageError

T = TypeVar("T")


@dataclass(frozen=True)
class Batch:
    """B examples of one split.

    Attributes:
        labels: (B,) int64 class numbers, -1 where unknown.
        index: (B,) int64 positions in the split.
        images: (B, 3, H, W) float32, already normalised.
        features: (B, E) float32 features of images or texts by a frozen model, not normalised.
        views: (B, V, E) float32 features of V views of each image, not normalised, the plain view first.
        domains: (B,) int64 domain numbers, where a task has several domains.
        texts: B texts with named fields.
        unlabelled: A separate batch of examples without labels, for methods that also learn from such examples.
    """

    labels: Tensor
    index: Tensor
    images: Tensor | None = None
    features: Tensor | None = None
    views: Tensor | None = None
    domains: Tensor | None = None
    texts: tuple[Text, ...] | None = None
    unlabelled: "Batch | None" = None

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def of_texts(cls, items: Any, field: str = "text") -> "Batch":
        """An unlabelled batch of texts.

        Args:
            items: One text or several, each a mapping of fields or a string that is the only field.
            field: The field's name for a string.

        Raises:
            UsageError: An item is not a text.
        """
        texts = tuple(text_item(place, item, field) for place, item in enumerate(as_list(items, of_texts=True)))
        index = torch.arange(len(texts))
        return cls(torch.full_like(index, -1), index, texts=texts)

    def part(self, rows: Tensor) -> "Batch":
        """The examples in the given rows (n,); the unlabelled batch is not changed."""
        tensors = {name: each[rows.to(each.device)] for name, each in vars(self).items() if isinstance(each, Tensor)}
        texts = None if self.texts is None else tuple(self.texts[row] for row in rows.tolist())
        return replace(self, **tensors, texts=texts)  # type: ignore[arg-type]

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        moved = {
            name: value.to(device) if isinstance(value, Batch) else value.to(device, non_blocking=True)
            for name, value in vars(self).items()
            if isinstance(value, Tensor | Batch)
        }
        return replace(self, **moved)  # type: ignore[arg-type]


def features_of(batch: Batch) -> Tensor:
    """The (B, E) features of a batch; UsageError if it has none."""
    return _required("features", batch.features)


def texts_of(batch: Batch) -> tuple[Text, ...]:
    """The B texts of a batch; UsageError if it has none."""
    return _required("texts", batch.texts)


def images_of(batch: Batch) -> Tensor:
    """The (B, 3, H, W) images of a batch; UsageError if it has none."""
    return _required("images", batch.images)


def views_of(batch: Batch) -> Tensor:
    """The (B, V, E) features of the views of a batch's images; UsageError if it has none."""
    return _required("views", batch.views)


def _required(name: str, value: T | None) -> T:
    if value is None:
        raise UsageError(f"this learner reads {name}, but the batch has none; make batches with vlprompt.data.feed.")
    return value
