"""What the learners of a cloze share: a template, label words, and scores read at the blank."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self, get_args

from torch import Tensor

from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.sequences import NOTHING, Sequences, Steering
from vlprompt.cloze import several
from vlprompt.cloze.choices import Choices, own_words
from vlprompt.cloze.rendering import Renderer
from vlprompt.cloze.template import Template
from vlprompt.cloze.verbalizer import LEFT_TO_RIGHT, MASKS, Pieces, Rule, Verbalizer
from vlprompt.data.batch import Batch
from vlprompt.data.task import Task
from vlprompt.errors import UsageError, unknown
from vlprompt.learners.base import PromptLearner, Reads, texts_of

ANY_WORDS = "hard_prompt, prompt_tuning, p_tuning, prefix_tuning or prompt_oriented_fine_tuning"  # can rank candidates
NULL_TEMPLATE = "{text} {mask}"  # no words at all: Logan et al., Findings of ACL 2022 (arXiv:2106.13353)


@dataclass(frozen=True)
class ClozeConfig:
    """How a text becomes a blank, and a word a class."""

    template: str = ""  # "{text} It was {mask}."; empty: the task's first
    # Label words of each class; empty: the task's, or else the class names. "{a}" is what a text's field a says.
    words: tuple[tuple[str, ...], ...] = ()
    rule: Rule = "mean_logit"  # how several words make a class (PET's)
    pieces: Pieces = "single"  # what counts of a word of several pieces; "single" refuses such words
    max_length: int = 256  # tokens in a row (PET, cli.py); what is longer is cut from the end of its longest field
    space: bool = True  # label words follow a space, as in every published verbalizer; " good" is not "good" in RoBERTa

    def __post_init__(self) -> None:
        """Parse the template; raise UsageError for what cannot be read."""
        object.__setattr__(self, "words", tuple(tuple(own) for own in self.words))
        for name, allowed in (("rule", Rule), ("pieces", Pieces)):
            if getattr(self, name) not in get_args(allowed):
                raise unknown(name, getattr(self, name), get_args(allowed))
        if self.template:
            Template(self.template)


class ClozeLearner(PromptLearner[LanguageModel]):
    """A learner whose class scores are the scores of label words in a blank. Subclasses are final."""

    reads = Reads.TEXT
    takes = (LanguageModel,)
    config: ClozeConfig
    one_blank: ClassVar[bool] = False  # whether it reads a single blank only, and so no words of several pieces whole
    whole_words: several.Blanks | several.LeftToRight | None = None  # where words of several pieces are scored whole
    choices: Choices | None = None  # where label words are what each text brings along

    def __init__(self, lm: LanguageModel, classes: Sequence[str], config: ClozeConfig, *, seed: int = 0) -> None:
        words = config.words or tuple((name,) for name in classes)
        own = replace(config, template=config.template or NULL_TEMPLATE, words=words)
        super().__init__(lm, classes, own, seed=seed)
        self.lay_out()
        self.rebuild()

    @classmethod
    def for_task(cls, backbone: LanguageModel, task: Task, config: Any, *, seed: int = 0) -> Self:
        """Use the task's template and label words where the configuration names none."""
        template = config.template or (task.templates[0] if task.words else "")
        own = replace(config, template=template, words=config.words or task.words)
        return cls(backbone, task.classes, own, seed=seed)

    @property
    def keeps_classes(self) -> str:
        """Any words will do that the vocabulary has."""
        return ""

    def begin_task(self, task: Task) -> None:
        """Take a task's class names and label words, unless the classes are the same."""
        if task.classes != self.classes:
            self._take(task.classes, task.words)

    def set_classes(self, names: Sequence[str]) -> None:
        """Tell other classes apart; their names are their label words.

        Raises:
            UsageError: The method cannot, or a name is no word of the vocabulary.
        """
        if tuple(names) != self.classes:
            self._take(names, ())

    def _take(self, names: Sequence[str], words: tuple[tuple[str, ...], ...]) -> None:
        """Other classes and their words; what was stays where a word cannot be used."""
        before = self.classes, self.config
        self.config = replace(self.config, words=words or tuple((name,) for name in names))
        try:
            super().set_classes(names)
        except UsageError:
            self.classes, self.config = before
            raise

    @property
    def has_blank(self) -> bool:
        """Whether a class is a word in a blank."""
        return True

    @property
    def taken(self) -> int:
        """Positions that a prefix takes from a row."""
        return 0

    def lay_out(self) -> None:
        """Put the template into the model's tokens."""
        if self.has_blank:
            Template(self.config.template).check_blank()
        self.renderer = self.render(1)

    def render(self, blanks: int) -> Renderer:
        """The template in the model's tokens, with so many blanks for one."""
        template, length = Template(self.config.template), self.config.max_length
        return Renderer(template, self.backbone, max_length=length, taken=self.taken, blanks=blanks)

    def rebuild(self) -> None:
        """Look the label words up, where there is a blank for them."""
        own, self.choices = self.config, None
        if not self.has_blank:
            return
        if fields := own_words(own.words):
            if self.one_blank:
                raise UsageError(f"{self.method()} needs the same label words for all texts; use {ANY_WORDS}.")
            template, length = self.renderer.template, own.max_length
            self.choices = Choices(
                self.backbone, template, fields, max_length=length, taken=self.taken, space=own.space
            )
            return
        self.verbalizer = Verbalizer(
            self.backbone, self.classes, own.words, rule=own.rule, pieces=own.pieces, space=own.space
        )
        words = [word for of_class in self.verbalizer.spelt for word in of_class]
        whole = own.pieces in (*MASKS, *LEFT_TO_RIGHT)
        if whole and self.one_blank:
            raise UsageError(f"{self.method()} reads one blank, pieces={own.pieces!r} several; use 'first' or 'mean'.")
        self.whole_words = several.reader(self.render, words, own.pieces) if whole else None

    def steering(self) -> Steering:
        """What is learned for the model; by default nothing."""
        return NOTHING

    def sequences(self, batch: Batch) -> Sequences:
        """The batch's texts in the template."""
        return self.renderer(texts_of(batch))

    @property
    def lm(self) -> LanguageModel:
        """The model that fills the blank; learners that train it have a copy of their own."""
        return self.backbone

    def word_scores(self, batch: Batch) -> Tensor:
        """Scores (B, U) at the blank of the vocabulary rows that the label words need."""
        return self.lm.scores(self.sequences(batch), self.verbalizer.ids, self.steering())

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        if self.choices is not None:
            return self.choices(self.lm, texts_of(batch), self.steering())
        if self.whole_words is None:
            return self.verbalizer(self.word_scores(batch))
        return self.verbalizer.classes(self.whole_words(self.lm, texts_of(batch), self.steering()))

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy of the scores; where a word has several blanks, PET's hinge loss. A scalar."""
        if not isinstance(self.whole_words, several.Blanks):
            return super().loss(batch)
        words = self.whole_words.at_once(self.lm, texts_of(batch), self.steering())
        return several.hinge(self.verbalizer.classes(words), batch.labels)

    def opened(self, items: Sequence[Any]) -> Batch:
        """An unlabelled batch of texts: mappings of fields, or strings where the template has one field."""
        field = next(iter(self.renderer.template.fields), "text")
        return Batch.of_texts(items, field).to(self.backbone.device)

    def soft_tokens(self) -> Mapping[str, Tensor]:
        """The learned tokens among the words, if there are any."""
        tokens = self.steering().tokens
        return {} if tokens is None else {"tokens": tokens}
