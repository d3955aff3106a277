"""ClozeLearner: a template, label words, and scores read at the blank."""

import abc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self, TypeVar

import torch
from torch import Tensor

from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.lm_inputs import NO_SOFT_PROMPT, Sequences, SoftPrompt
from vlprompt.cloze.parts.choices import Choices, choice_fields
from vlprompt.cloze.parts.config import NULL_TEMPLATE, ClozeConfig
from vlprompt.cloze.parts.multi_token import BlankFilling, LeftToRight, hinge_loss, word_scorer
from vlprompt.cloze.parts.rendering import Renderer
from vlprompt.cloze.parts.template import Template, without_words
from vlprompt.cloze.parts.verbalizer import LEFT_TO_RIGHT, MASKS, Verbalizer
from vlprompt.data.batch import Batch, texts_of
from vlprompt.data.needs import Input, Needs
from vlprompt.data.task import Task
from vlprompt.errors import UsageError
from vlprompt.learner import PromptLearner

WITH_CHOICES = "hard_prompt, prompt_tuning, p_tuning, prefix_tuning or prompt_oriented_fine_tuning"


@dataclass(frozen=True)
class Layout:
    """How a method reads a text.

    Attributes:
        template: The template that it uses in place of the given one.
        has_blank: Whether it reads a blank of the template.
        has_words: Whether classes are label words.
        prefix_length: Positions that a prefix takes from a row.
    """

    template: str
    has_blank: bool = True
    has_words: bool = True
    prefix_length: int = 0


def fields_only(template: str) -> Layout:
    """The layout of a method that reads a template's fields, without words and without a blank."""
    return Layout(without_words(Template(template)), has_blank=False, has_words=False)


C = TypeVar("C", bound=ClozeConfig)


class ClozeLearner(PromptLearner[LanguageModel, C], abc.ABC):
    """A learner whose class scores are the scores of label words in a blank. Subclasses are abstract or final.

    Attributes:
        one_blank: The method reads a single blank, so it cannot score the pieces of a word at several blanks.
        layout: How the method reads a text.
        renderer: The template in the model's tokens.
        verbalizer: The label words, where classes are label words.
        word_scorer: Scores words of several pieces, where `config.pieces` selects a rule for that.
        choices: Scores the candidates of each text, where label words are fields.
    """

    backbones = (LanguageModel,)
    needs = Needs(input=Input.TEXTS)
    one_blank: ClassVar[bool] = False
    verbalizer: Verbalizer
    word_scorer: BlankFilling | LeftToRight | None = None
    choices: Choices | None = None

    def __init__(self, lm: LanguageModel, classes: Sequence[str], config: C | None = None, *, seed: int = 0) -> None:
        """Tokenise the template and look the label words up."""
        super().__init__(lm, classes, config, seed=seed)
        self.layout = self.make_layout(self.config.template or NULL_TEMPLATE)
        words = self.config.words or tuple((name,) for name in self.classes)
        self.config = replace(self.config, template=self.layout.template, words=words)
        if self.layout.has_blank:
            Template(self.config.template).check_blank()
        self.renderer = self.render(1)
        self.needs = replace(self.needs, text_field=next(iter(self.renderer.template.fields), "text"))
        self.rebuild()

    @classmethod
    def for_task(cls, backbone: LanguageModel, task: Task, config: C, *, seed: int = 0) -> Self:
        """Build the learner with the task's template and label words where the config has none."""
        template = config.template or (task.template if task.words else "")
        own = replace(config, template=template, words=config.words or task.words)
        return cls(backbone, task.classes, own, seed=seed)

    def begin_task(self, task: Task) -> None:
        """Use a task's class names and label words, unless the classes are the same."""
        if task.classes != self.classes:
            self._replace_classes(task.classes, task.words)

    def set_classes(self, names: Sequence[str]) -> None:
        """Use other class names, which are also their label words.

        Raises:
            UsageError: The method cannot change its classes, or the vocabulary does not have a name.
        """
        if tuple(names) != self.classes:
            self._replace_classes(names, ())

    def _replace_classes(self, names: Sequence[str], words: tuple[tuple[str, ...], ...]) -> None:
        """Use other classes and words; after an error the learner is unchanged."""
        before = self.classes, self.config
        self.config = replace(self.config, words=words or tuple((name,) for name in names))
        try:
            super().set_classes(names)
        except UsageError:
            self.classes, self.config = before
            raise

    def make_layout(self, template: str) -> Layout:
        """How the method reads a text with a given template; called before anything is tokenised."""
        return Layout(template)

    def render(self, blanks: int) -> Renderer:
        """The template in the model's tokens, with a number of mask tokens in place of its blank."""
        limits = {"max_length": self.config.max_length, "prefix_length": self.layout.prefix_length}
        return Renderer(Template(self.config.template), self.backbone, blanks=blanks, **limits)

    def rebuild(self) -> None:
        """Look the label words up, where classes are label words."""
        own, lm = self.config, self.backbone
        if not self.layout.has_words:
            return
        if names := choice_fields(own.words):
            if self.one_blank:
                raise UsageError(f"{self.method()} needs the same label words for all texts; use {WITH_CHOICES}.")
            limits = {"max_length": own.max_length, "prefix_length": self.layout.prefix_length}
            self.choices = Choices(lm, self.renderer.template, names, space=own.space, pieces=own.pieces, **limits)
            self.word_scorer = None
            return
        verbalizer = Verbalizer(lm, self.classes, own.words, rule=own.rule, pieces=own.pieces, space=own.space)
        scorer = None
        if own.pieces in (*MASKS, *LEFT_TO_RIGHT):
            if self.one_blank:
                raise UsageError(
                    f"{self.method()} reads one blank, pieces={own.pieces!r} several; use 'first' or 'mean'."
                )
            scorer = word_scorer(self.render, [word for words in verbalizer.word_pieces for word in words], own.pieces)
        self.verbalizer, self.word_scorer, self.choices = verbalizer, scorer, None

    def soft_prompt(self) -> SoftPrompt:
        """The learned soft tokens or prefix; by default nothing."""
        return NO_SOFT_PROMPT

    def sequences(self, batch: Batch) -> Sequences:
        """The batch's texts in the template."""
        return self.renderer(texts_of(batch))

    @property
    def lm(self) -> LanguageModel:
        """The model that fills the blank; learners that train the model return their copy."""
        return self.backbone

    def scores_at_blank(self, batch: Batch, words: Tensor) -> Tensor:
        """Scores (B, W), at the blank, of (W,) vocabulary rows."""
        return self.lm.scores(self.sequences(batch), words, self.soft_prompt())

    def word_scores(self, batch: Batch) -> Tensor:
        """Scores (B, U), at the blank, of the vocabulary rows that the label words need."""
        return self.scores_at_blank(batch, self.verbalizer.ids)

    def vocabulary_scores(self, batch: Batch) -> Tensor | None:
        """Scores (B, V) of the whole vocabulary at the blank; None where the method reads no words at one blank."""
        if not self.layout.has_words or self.choices is not None or self.word_scorer is not None:
            return None
        return self.scores_at_blank(batch, torch.arange(self.lm.vocabulary_size, device=self.lm.device))

    def vocabulary_loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """-log of the right class's probability over the whole vocabulary, a scalar; scores (B, V), labels (B,)."""
        classes = self.verbalizer(scores[:, self.verbalizer.ids])  # (B, C)
        return (scores.logsumexp(1) - classes.gather(1, labels[:, None])[:, 0]).mean()

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        if self.choices is not None:
            return self.choices(self.lm, texts_of(batch), self.soft_prompt())
        if self.word_scorer is None:
            return self.verbalizer(self.word_scores(batch))
        return self.verbalizer.classes(self.word_scorer(self.lm, texts_of(batch), self.soft_prompt()))

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy of the scores; PET's hinge loss where a word has several blanks. A scalar."""
        if not isinstance(self.word_scorer, BlankFilling):
            return super().loss(batch)
        words = self.word_scorer.at_once(self.lm, texts_of(batch), self.soft_prompt())
        return hinge_loss(self.verbalizer.classes(words), batch.labels)

    def saved_tensors(self) -> dict[str, Tensor]:
        """What is learned, by name: trainable parameters, each once, and buffers; not the rest of a model's copy."""
        own, trainable = super().saved_tensors(), self.trainable()
        return {name: tensor for name, tensor in own.items() if name in trainable or "." not in name}
