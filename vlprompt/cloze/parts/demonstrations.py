"""Demonstrations: answered examples beside a question, each in the question's own template.

    behind   [CLS] question it was [MASK] . [SEP] example it was terrible . [SEP] example it was great . [SEP]   LM-BFF
    front    Review: example Sentiment: bad (blank line) Review: question Sentiment:                             GPT-3

They may take a share of a row, divided equally, and are cut like any text; the question has the rest of the row.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch

from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.lm_inputs import Row
from vlprompt.cloze.parts.rendering import Renderer
from vlprompt.cloze.parts.template import Template
from vlprompt.data.batches import text_of
from vlprompt.data.images import Example
from vlprompt.errors import UsageError

Place = Literal["", "behind", "front"]


def draw_demonstrations(labels: Sequence[int], count: int, samples: int, generator: torch.Generator) -> list[list[int]]:
    """Positions of the examples in each of some prompts: one of every class, in the classes' order; or `count`, mixed.

    Args:
        labels: Of the examples.
        count: Examples that are drawn at random, at most all there are; 0: one of each class.
        samples: Prompts.
        generator: Of every draw.
    """
    if count:
        return [torch.randperm(len(labels), generator=generator)[:count].tolist() for _ in range(samples)]
    classes = [[place for place, label in enumerate(labels) if label == one] for one in sorted(set(labels))]
    return [[own[int(torch.randint(len(own), (1,), generator=generator))] for own in classes] for _ in range(samples)]


class Demonstrations:
    """Joins demonstrations and questions.

    Attributes:
        place: "behind" the question, or in "front" of it.
    """

    def __init__(
        self,
        lm: LanguageModel,
        template: str,
        *,
        place: Place,
        separator: str,
        max_length: int,
        share: float,
        start_last: bool = False,
        cut_head: bool = False,
    ) -> None:
        """Tokenise the fixed parts.

        Args:
            lm: The model.
            template: Of questions and demonstrations.
            place: Where demonstrations are; "": behind, but in front of a causal model's question.
            separator: Text between the examples of a causal model; other models have a token for it.
            max_length: The longest row.
            share: The share of it that demonstrations may take.
            start_last: Demonstrations in front come before the tokenizer's start token.
            cut_head: Demonstrations in front are cut at their beginning, to the room that the question leaves.

        Raises:
            UsageError: A causal model would never see them, or the template has soft tokens.
        """
        causal = lm.kind == "causal"
        self.place = place or ("front" if causal else "behind")
        if causal and self.place == "behind":
            raise UsageError(f"{lm.name} is causal and reads nothing behind the question; set place='front'.")
        self.renderer = Renderer(Template(template), lm, max_length=max_length)
        for part in self.renderer.template.parts_of("soft"):
            self.renderer.template.fail(part.column, "nothing is learned in context, so there are no soft tokens")
        separate = separator.replace("{", "{{").replace("}", "}}") if causal else ""
        self._follower = Renderer(Template(separate + template), lm, max_length=max_length)
        self._closing = () if causal else lm.vocabulary.tail
        self._cut_head = cut_head and self.place == "front"
        self._lead, self._share = lm.vocabulary.lead if not start_last else (), share

    def joined(self, examples: Sequence[Example], words: Sequence[Sequence[int]]) -> tuple[int, ...]:
        """The ids of answered examples one after another.

        Args:
            examples: With labels.
            words: The pieces of each class's word.

        Raises:
            UsageError: They do not fit.
        """
        room = int(self.renderer.room * self._share) // max(len(examples), 1) - len(self._closing)
        if self._cut_head:
            room = self.renderer.room
        fixed = sum(len(part.ids) for part in self._follower.parts) + max(map(len, words))
        if examples and room < fixed:
            raise UsageError(
                f"{len(examples)} demonstrations leave {room} tokens to each, and the template with its word takes "
                f"{fixed}; show fewer, or raise share or max_length ({self.renderer.room} tokens in a row)."
            )
        ids: tuple[int, ...] = ()
        for example in examples:
            renderer = self._follower if ids else self.renderer
            ids += renderer.with_answer(text_of(example), words[example.label], room) + self._closing
        return ids

    def row(self, question: Mapping[str, str], shown: Sequence[int]) -> Row:
        """A question with the ids of demonstrations beside it."""
        if self.place == "behind" or not shown:
            row = self.renderer.row(question, reserved=len(shown))
            segments = (*row.segments, *row.segments[-1:] * len(shown))
            return Row((*row.ids, *shown), row.read, segments=segments)
        row = self._follower.row(question, reserved=0 if self._cut_head else len(shown))
        lead, surplus = len(self._lead), len(row.ids) + len(shown) - self.renderer.room
        shown = shown[max(surplus, 0) :]
        segments = (*row.segments[:lead], *[0] * len(shown), *row.segments[lead:]) if row.segments else ()
        return Row((*row.ids[:lead], *shown, *row.ids[lead:]), row.read + len(shown), segments=segments)

    def shared_start(self, shown: Sequence[int]) -> tuple[int, ...]:
        """The ids that every question's row starts with, which a causal model has to run only once; may be empty."""
        return (*self._lead, *shown) if self.place == "front" and shown else ()
