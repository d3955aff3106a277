"""Demonstrations: answered examples that stand beside a question, each in the question's own template.

    behind   [CLS] question it was [MASK] . [SEP] example it was terrible . [SEP] example it was great . [SEP]   LM-BFF
    front    Review: example Sentiment: bad (blank line) Review: question Sentiment:                             GPT-3

They may take a share of a row, each the same, and are cut like any text; the question has what they leave.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch

from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.sequences import Row
from vlprompt.cloze.rendering import Renderer
from vlprompt.cloze.template import Template
from vlprompt.data.images import Example
from vlprompt.data.texts import Text
from vlprompt.errors import UsageError

Place = Literal["", "behind", "front"]


def drawn(labels: Sequence[int], count: int, samples: int, generator: torch.Generator) -> list[list[int]]:
    """Which examples each of some prompts shows: one of every class, in the classes' order; or `count`, in any.

    Args:
        labels: Of the examples.
        count: So many at random, all there are where there are fewer; 0: one of each class.
        samples: Prompts.
        generator: Of every draw.
    """
    if count:
        return [torch.randperm(len(labels), generator=generator)[:count].tolist() for _ in range(samples)]
    classes = [[place for place, label in enumerate(labels) if label == one] for one in sorted(set(labels))]
    return [[own[int(torch.randint(len(own), (1,), generator=generator))] for own in classes] for _ in range(samples)]


class Demonstrations:
    """Puts demonstrations and questions together.

    Attributes:
        place: "behind" the question, or in "front" of it.
    """

    def __init__(
        self, lm: LanguageModel, template: str, *, place: Place, separator: str, max_length: int, share: float
    ) -> None:
        """Tokenise what is fixed.

        Args:
            lm: The model.
            template: Of questions and demonstrations.
            place: Where demonstrations stand; "": behind, but in front of a causal model's question.
            separator: What stands between examples for a causal model; others have a token for it.
            max_length: The longest row.
            share: What demonstrations may take of it.

        Raises:
            UsageError: A causal model would never see them, or the template has soft tokens.
        """
        causal = lm.kind == "causal"
        self.place = place or ("front" if causal else "behind")
        if causal and self.place == "behind":
            raise UsageError(f"{lm.name} is causal and reads nothing behind the question; set place='front'.")
        self.renderer = Renderer(Template(template), lm, max_length=max_length)
        if self.renderer.soft_words:
            soft = self.renderer.template.parts_of("soft")[0]
            self.renderer.template.fail(soft.column, "nothing is learned in context, so there are no soft tokens")
        apart = causal and bool(separator)
        follower = Template(separator.replace("{", "{{").replace("}", "}}") + template) if apart else Template(template)
        self._follower = Renderer(follower, lm, max_length=max_length)
        self._closing = () if causal else lm.vocabulary.tail
        self._lead, self._share = lm.vocabulary.lead, share

    def shown(self, examples: Sequence[Example], words: Sequence[Sequence[int]]) -> tuple[int, ...]:
        """The ids of some answered examples in a row, with what stands between them.

        Args:
            examples: With labels.
            words: The pieces of each class's word.

        Raises:
            UsageError: So many do not fit.
        """
        room = int(self.renderer.room * self._share) // max(len(examples), 1) - len(self._closing)
        fixed = sum(len(part.ids) for part in self._follower.parts) + max(map(len, words))
        if examples and room < fixed:
            raise UsageError(
                f"{len(examples)} demonstrations leave {room} tokens to each, and the template with its word takes "
                f"{fixed}; show fewer, or raise share or max_length ({self.renderer.room} tokens in a row)."
            )
        ids: tuple[int, ...] = ()
        for example in examples:
            renderer = self._follower if ids else self.renderer
            ids += renderer.answered(_text(example), words[example.label], room) + self._closing
        return ids

    def row(self, question: Mapping[str, str], shown: Sequence[int]) -> Row:
        """A question with what is shown beside it."""
        if self.place == "behind" or not shown:
            row = self.renderer.row(question, spent=len(shown))
            segments = (*row.segments, *row.segments[-1:] * len(shown))
            return Row((*row.ids, *shown), row.read, segments=segments)
        row, lead = self._follower.row(question, spent=len(shown)), len(self._lead)
        segments = (*row.segments[:lead], *[0] * len(shown), *row.segments[lead:]) if row.segments else ()
        return Row((*row.ids[:lead], *shown, *row.ids[lead:]), row.read + len(shown), segments=segments)

    def before(self, shown: Sequence[int]) -> tuple[int, ...]:
        """What every question's row begins with: a causal model need run it only once. Empty where there is nothing."""
        return (*self._lead, *shown) if self.place == "front" and shown else ()


def _text(example: Example) -> Text:
    if isinstance(example.item, Text):
        return example.item
    raise UsageError(f"demonstrations are texts; {example.item} is none.")
