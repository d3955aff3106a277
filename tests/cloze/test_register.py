"""The folder of clozes is a register, as that of image learners is."""

import ast
import subprocess
import sys
from pathlib import Path

from vlprompt import cloze, learners


def test_every_file_of_the_folder_is_a_method_or_said_to_be_none() -> None:
    files = {path.stem for path in Path(cloze.__file__).parent.glob("*.py")} - {"__init__"}
    assert files >= cloze.SHARED
    for name in files - cloze.SHARED:
        assert name in learners.names()
        assert learners.learner_class(name).reads.of_texts
        assert learners.learner_class(name).method() == name
        assert learners.variants(name)


def test_importing_does_not_load_transformers() -> None:
    code = "import sys, vlprompt; vlprompt.learners.names(); sys.exit('vlprompt.cloze.hard_prompt' not in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


NEUTRAL = ("train", "steps", "evaluate", "results", "checkpoint", "report", "runner", "metrics", "track", "protocols")
BACKBONES = ("vlprompt.backbones.lm", "vlprompt.backbones.sequences", "transformers")
OF_TEXTS = ("vlprompt.cloze", "vlprompt.data.texts", *BACKBONES)


def sources() -> dict[str, Path]:
    """The modules that serve images and texts alike, by name."""
    root = Path(learners.__file__).parents[1]
    return {
        ".".join(path.relative_to(root.parent).with_suffix("").parts): path
        for name in NEUTRAL
        for path in ([root / f"{name}.py"] if (root / f"{name}.py").is_file() else sorted((root / name).glob("*.py")))
    }


def imported(path: Path) -> set[str]:
    """What a file imports, wherever in it: modules, and names out of modules."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_trainer_evaluator_results_checkpoints_and_report_know_no_text() -> None:
    assert {"vlprompt.train", "vlprompt.results", "vlprompt.report.tables"} <= sources().keys()
    for name, path in sources().items():
        texts = {each for each in imported(path) if any(each == of or each.startswith(f"{of}.") for of in OF_TEXTS)}
        assert not texts, f"{name} imports {texts}"
        said = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        assert not said & {"TEXT", "TEXT_FEATURES", "of_texts", "texts"}, f"{name} asks whether it has texts"


def test_nothing_that_serves_both_leads_to_a_cloze() -> None:
    """Not even by way of what it imports, the package's own list of names apart; `learners` finds the folder late."""
    root = Path(learners.__file__).parents[1]
    files = {".".join(p.relative_to(root.parent).with_suffix("").parts).removesuffix(".__init__"): p
             for p in root.rglob("*.py")}  # fmt: skip
    seen, todo = {"vlprompt"}, [name for name in sources() if not name.startswith("vlprompt.protocols")]
    while todo:
        name = todo.pop()
        if name in files and name not in seen:
            seen.add(name)
            todo += imported(files[name])
    assert {"vlprompt.feed", "vlprompt.learners.base", "vlprompt.data.texts"} <= seen, "the graph is followed"
    assert not [name for name in seen if name.startswith("vlprompt.cloze")]
