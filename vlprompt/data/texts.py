"""A text with named fields: an item of a task, as a path is for images."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Text(Mapping[str, str]):
    """One example's fields, such as a premise and a hypothesis.

    Attributes:
        fields: (name, words) in order.
    """

    fields: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, **fields: str) -> "Text":
        """A text from keyword arguments: Text.of(premise="...", hypothesis="...")."""
        return cls(tuple(fields.items()))

    @classmethod
    def from_item(cls, item: Mapping[str, str] | str, field: str = "text") -> "Text":
        """A text from a mapping of fields, or from a string that is the only field."""
        return cls(((field, item),) if isinstance(item, str) else tuple(item.items()))

    def __getitem__(self, name: str) -> str:
        return dict(self.fields)[name]

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    @property
    def digest(self) -> str:
        """Sha256 of names and words of all fields."""
        return hashlib.sha256(str(self).encode("utf-8", "surrogateescape")).hexdigest()

    def __str__(self) -> str:
        """All fields as JSON; a task's split hash covers it."""
        return json.dumps(self.fields, ensure_ascii=False)
