"""ClozeConfig: the settings of every text method, and the checks of a method's own settings."""

import operator
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args, get_origin

from vlprompt.cloze.parts.template import Template
from vlprompt.cloze.parts.verbalizer import Pieces, Rule
from vlprompt.config import Settings
from vlprompt.data.label_words import Words, label_words
from vlprompt.errors import UsageError, unknown

NULL_TEMPLATE = "{text} {mask}"  # no words at all: Logan et al., Findings of ACL 2022 (arXiv:2106.13353)
LIMITS: dict[str, tuple[Callable[[float, float], bool], str]] = {
    "at_least": (operator.ge, "{:g} or more"),
    "above": (operator.gt, "above {:g}"),
    "at_most": (operator.le, "at most {:g}"),
    "below": (operator.lt, "below {:g}"),
}


def number(default: float, **limits: float) -> Any:
    """A field with a number in a range; `limits` are named in `LIMITS`."""
    return field(default=default, metadata=limits)


@dataclass(frozen=True)
class ClozeConfig(Settings):
    """How a text becomes a blank, and a word a class."""

    template: str = ""  # "{text} It was {mask}."; empty: the task's first
    # Label words of each class; empty: the task's, or else the class names. "{a}" means the text of the field a.
    words: Words = ()
    rule: Rule = "mean_logit"  # how scores of several words become that of a class (PET's)
    pieces: Pieces = "single"  # how a word of several pieces is scored; "single" refuses such words
    max_length: int = 256  # tokens in a row (PET, cli.py); longer texts are cut at the end of their longest field
    space: bool = True  # label words follow a space, as in every published verbalizer; " good" is not "good" in RoBERTa

    def __post_init__(self) -> None:
        """Bring values to their types; raise UsageError for one that does not fit, or a faulty template."""
        object.__setattr__(self, "words", label_words(self.words))
        for each in fields(self):
            value = getattr(self, each.name)
            if each.type == tuple[str, ...] and isinstance(value, str):
                object.__setattr__(self, each.name, (value,))
            if get_origin(each.type) is Literal and value not in get_args(each.type):
                raise unknown(each.name, str(value), get_args(each.type))
        super().__post_init__()
        for each in fields(self):
            value = getattr(self, each.name)
            if not all(LIMITS[name][0](value, limit) for name, limit in each.metadata.items()):
                allowed = " and ".join(LIMITS[name][1].format(limit) for name, limit in each.metadata.items())
                raise UsageError(f"{each.name} is {value}; it must be {allowed}.")
        if self.template:
            Template(self.template)
