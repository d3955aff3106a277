"""The package of text methods: every file is a method, and files are imported when they are first used."""

import subprocess
import sys

import pytest

import vlprompt as vp
from vlprompt import cloze, methods
from vlprompt.cloze.parts.template import Template
from vlprompt.cloze.parts.verbalizer import Verbalizer


@pytest.mark.parametrize("name", cloze.FILES)
def test_every_file_defines_a_text_method_of_its_name(name: str) -> None:
    kind = methods.learner_class(name)
    assert kind.needs.input.of_texts
    assert kind.method() == name
    assert issubclass(kind, vp.cloze.ClozeLearner)
    assert getattr(vp.cloze, kind.__name__) is kind
    assert getattr(vp.cloze, kind.Config.__name__) is kind.Config
    assert methods.variants(name) == getattr(vp.cloze, name).VARIANTS


def test_components_are_available_by_name() -> None:
    assert vp.cloze.Template is Template
    assert vp.cloze.Verbalizer is Verbalizer
    assert {"Template", "pet"} <= set(dir(vp.cloze))
    with pytest.raises(AttributeError, match="has no attribute 'PromptTunning'"):
        _ = vp.cloze.PromptTunning


def test_transformers_is_not_imported_before_a_model_is_loaded() -> None:
    code = "import sys, vlprompt.methods as m; m.learner_class('pet'); sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
