"""PET and iPET refuse what cannot work before anything is trained."""

from collections.abc import Callable
from typing import Any

import pytest

import vlprompt as vp
from tests.cloze.texts import TEMPLATE, opinions
from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze import IPET, PET
from vlprompt.errors import UsageError


@pytest.mark.parametrize("kind", [PET, IPET])
def test_it_needs_words_and_unlabelled_texts(kind: Any, tiny_lm: Callable[[str], LanguageModel]) -> None:
    lm, rows = tiny_lm("bert"), opinions("film")
    with pytest.raises(UsageError, match="label word ' greatly'"):
        kind(lm, ("a", "b"), kind.Config(patterns=(TEMPLATE,), words=(("greatly",), ("good",))))
    task = vp.Task("opinions", ("no", "yes"), (TEMPLATE,), rows, (), rows, words=(("bad",), ("good",)))
    with pytest.raises(UsageError, match=r"learns from unlabelled texts.*--unlabelled"):
        vp.fit(kind.for_task(lm, task, kind.Config()), task, vp.TrainConfig(epochs=1))
