"""One row of a table: a method in one of its published settings, some of them changed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vlprompt import learners
from vlprompt.learners.base import PromptLearner, Reads, Variant


@dataclass(frozen=True)
class Entry:
    """One row of a table: a method in one of its published settings, some of them changed.

    Attributes:
        method: The learner's name.
        variant: The name of a published setting.
        config: The method's configuration.
        published: The setting it started from.
        changed: Names of what was changed, for the label.
        over: What is trained first, for a method that adapts another to each test image.
    """

    method: str
    variant: str
    config: Any
    published: Variant
    changed: Mapping[str, Any] = field(default_factory=dict)
    over: "Entry | None" = None

    @classmethod
    def parse(cls, text: str, settings: Mapping[str, Mapping[str, Any]] | None = None) -> "Entry":
        """Read "coop", "coop:cocoop-paper" or, for a method over a trained one, "tpt+coop:cocoop-paper".

        Args:
            text: Methods, each with the name of a published setting after a colon, the trained one last.
            settings: Changed settings by method name.

        Raises:
            UsageError: No such method, published setting or setting.
        """
        outer, plus, inner = text.partition("+")
        method, _, which = outer.partition(":")
        name, published = learners.variant(method, which)
        changed = dict((settings or {}).get(method, {}))
        config = learners.make_config(type(published.config), {**vars(published.config), **changed})
        return cls(method, name, config, published, changed, cls.parse(inner, settings) if plus else None)

    @property
    def label(self) -> str:
        """How the row is named: the variant where it is not the first, what was changed, and what it is over."""
        extra = [] if self.variant == next(iter(learners.variants(self.method))) else [self.variant]
        extra += [f"{key}={value}" for key, value in sorted(self.changed.items())]
        return " ".join([self.method, *extra, *(["over", self.over.label] if self.over else [])])

    @property
    def kind(self) -> type[PromptLearner[Any]]:
        """The learner's class."""
        return learners.learner_class(self.method)

    @property
    def parts(self) -> tuple["Entry", ...]:
        """This entry and those it is over; the last is what is trained."""
        return (self, *(self.over.parts if self.over else ()))

    @property
    def learns(self) -> bool:
        """Whether training images make a difference."""
        return self.parts[-1].kind.learns

    @property
    def adapts(self) -> bool:
        """Whether it adapts to views of each test image, which the seed draws."""
        return self.kind.reads is Reads.VIEWS

    def around(self, learner: PromptLearner[Any]) -> PromptLearner[Any]:
        """The whole entry, given the learner of its last part.

        Raises:
            UsageError: A method cannot adapt the one it is over.
        """
        return self.kind.over(self.over.around(learner), self.config) if self.over else learner
