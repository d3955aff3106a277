"""The folder of clozes is a register, as that of image learners is."""

import subprocess
import sys
from pathlib import Path

from vlprompt import cloze, learners
from vlprompt.learners.base import Reads


def test_every_file_of_the_folder_is_a_method_or_said_to_be_none() -> None:
    files = {path.stem for path in Path(cloze.__file__).parent.glob("*.py")} - {"__init__"}
    assert files >= cloze.SHARED
    for name in files - cloze.SHARED:
        assert name in learners.names()
        assert learners.learner_class(name).reads is Reads.TEXT
        assert learners.learner_class(name).method() == name
        assert learners.variants(name)


def test_importing_does_not_load_transformers() -> None:
    code = "import sys, vlprompt; vlprompt.learners.names(); sys.exit('vlprompt.cloze.hard_prompt' not in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_trainer_evaluator_and_protocols_know_no_text() -> None:
    root = Path(learners.__file__).parents[1]
    shared = ("train", "steps", "evaluate", "runner", "results", "checkpoint")
    for name in (*shared, "protocols/few_shot", "protocols/zero_shot"):
        text = (root / f"{name}.py").read_text()
        assert not any(word in text for word in ("cloze", "Reads", "TEXT", ".texts", "LanguageModel")), name
