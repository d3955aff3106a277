"""What a learner is given: some examples of one split, as images, as features of a frozen encoder, or as texts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vlprompt.data.texts import Text


@dataclass(frozen=True)
class Batch:
    """B examples of one split.

    Attributes:
        labels: (B,) int64 class numbers, -1 where unknown.
        index: (B,) int64 positions in the split.
        images: (B, 3, H, W) float32, already normalised.
        features: (B, E) float32 features of a frozen model, not normalised: of images, or of texts.
        views: (B, V, E) float32 features of V views of each image, not normalised, the plain view first.
        domains: (B,) int64 domain numbers, where a task has several domains.
        texts: B texts with named fields.
        unlabelled: Examples without labels to learn from beside these (domain adaptation), B of their own.
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
    def of_texts(cls, items: Sequence[Mapping[str, str] | str], field: str = "text") -> "Batch":
        """An unlabelled batch of texts: mappings of fields, or strings that are the one field."""
        texts = tuple(Text.of(**{field: x}) if isinstance(x, str) else Text(tuple(x.items())) for x in items)
        count = torch.arange(len(texts))
        return cls(torch.full_like(count, -1), count, texts=texts)

    def part(self, rows: Tensor) -> "Batch":
        """Some of the examples, by their rows (n,) here; the unlabelled ones beside them stay as they are."""
        held = {name: value[rows.to(value.device)] for name, value in vars(self).items() if isinstance(value, Tensor)}
        texts = None if self.texts is None else tuple(self.texts[row] for row in rows.tolist())
        return replace(self, **held, texts=texts)  # type: ignore[arg-type]

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        held = {name: value for name, value in vars(self).items() if isinstance(value, Tensor | Batch)}
        return replace(self, **{name: _moved(value, device) for name, value in held.items()})  # type: ignore[arg-type]


def _moved(value: "Tensor | Batch", device: torch.device | str) -> "Tensor | Batch":
    return value.to(device) if isinstance(value, Batch) else value.to(device, non_blocking=True)
