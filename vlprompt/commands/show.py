"""The command `vlprompt show`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from tyro.conf import Positional

from vlprompt.commands.output import as_json
from vlprompt.commands.prompts import PromptRun
from vlprompt.errors import UsageError
from vlprompt.report.neighbours import lines, neighbours

if TYPE_CHECKING:
    from torch import Tensor

    from vlprompt.learner import PromptLearner


@runtime_checkable
class LearnsTokens(Protocol):
    """A method with learned tokens among words."""

    def soft_tokens(self) -> "Mapping[str, Tensor]":
        """(..., D) learned tokens by name; empty where a setting leaves none."""


@runtime_checkable
class FindsWords(Protocol):
    """A method that searches for words of the vocabulary."""

    def found_words(self) -> Mapping[str, Sequence[str]]:
        """The words by what they are for: a class, "trigger"."""


def run(prompt: Positional[Path], options: PromptRun, count: int = 5) -> None:
    """Print the words nearest to a saved prompt's learned tokens, or the words that it found.

    A token that is far from all words has nearest words too. Look at the cosines, at the norm (relative to the mean of
    the vocabulary) and at the cosine with the token's initial value.

    Args:
        prompt: The folder that holds prompt.safetensors.
        options: Frozen model and output format.
        count: Number of words for each token.
    """
    import torch

    if count < 1:
        raise UsageError(f"count is {count}; ask for 1 word or more.")
    learner = options.load_prompt(prompt)
    with torch.no_grad():
        words = learner.found_words() if isinstance(learner, FindsWords) else {}
        tokens = _tokens(learner)
        if not words and not tokens:
            raise UsageError(f"{learner.method()} has no learned tokens among words, and no words that it found.")
        for name, found in words.items():
            print(as_json({"name": name, "words": found}) if options.json else f"{name}: {', '.join(found)}")
        if not tokens:
            return
        untrained = type(learner)(learner.backbone, learner.classes, learner.config, seed=learner.seed).eval()
        table, words_of_table = learner.backbone.word_table()
        near = list(neighbours(tokens, _tokens(untrained), table, words_of_table, count))
    print("\n".join(as_json(asdict(token)) for token in near) if options.json else lines(near))


def _tokens(learner: "PromptLearner[Any, Any]") -> "Mapping[str, Tensor]":
    """The learned tokens of a learner; none where its method has none."""
    return learner.soft_tokens() if isinstance(learner, LearnsTokens) else {}
