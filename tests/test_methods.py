"""Methods by name: ours, plug-ins, classes by import path; and saved prompts that never import code."""

import importlib
import sys
from pathlib import Path

import pytest
import torch

import vlprompt as vp
from vlprompt import methods
from vlprompt.errors import UsageError, VlpromptError

SOURCE = """
from dataclasses import dataclass
import torch
import vlprompt as vp
from vlprompt.data.batch import features_of
print("imported")

@dataclass(frozen=True)
class MineConfig:
    width: int = 3

class Mine(vp.PromptLearner):
    Config = MineConfig
    def __init__(self, clip, classes, config=None, *, seed=0):
        super().__init__(clip, classes, config, seed=seed)
        self.shift = torch.nn.Parameter(torch.full((len(self.classes),), float(seed)))
    def forward(self, batch):
        return features_of(batch)[:, :1] + self.shift

class NotALearner:
    pass

VARIANTS = {"wide": vp.Variant(MineConfig(width=9), vp.TrainConfig(epochs=2), "nowhere")}
"""


@pytest.fixture(scope="module")
def clip() -> vp.Clip:
    return vp.load_clip("tiny")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my_methods.py"
    path.write_text(SOURCE)
    return path


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package on the path that is forgotten afterwards."""
    (tmp_path / "someones").mkdir()
    (tmp_path / "someones" / "__init__.py").touch()
    (tmp_path / "someones" / "method.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("someones", "someones.method"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return "someones.method:Mine"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("coop", ("coop", "")),
        ("coop:cocoop-paper", ("coop", "cocoop-paper")),
        ("a.b:Mine", ("a.b:Mine", "")),
        ("a.b:Mine:wide", ("a.b:Mine", "wide")),
        ("path/to/file.py:Mine", ("path/to/file.py:Mine", "")),
        ("C:\\path\\file.py:Mine:wide", ("C:\\path\\file.py:Mine", "wide")),
        ("json:Mine", ("json:Mine", "")),
        ("cop:paper", ("cop", "paper")),
    ],
)
def test_names_are_split_into_method_and_variant(text: str, parts: tuple[str, str]) -> None:
    assert methods.split_name(text) == parts


def test_ours_are_named_like_their_files() -> None:
    assert methods.learner_class("coop") is vp.learners.CoOp
    assert methods.learner_class("prompt_tuning") is vp.cloze.PromptTuning
    for name in (*vp.learners.FILES, *vp.cloze.FILES):
        assert methods.learner_class(name).method() == name


def test_a_class_by_file_and_by_module(file: Path, package: str) -> None:
    by_file, by_module = methods.learner_class(f"{file}:Mine"), methods.learner_class(package)
    assert (by_file.method(), by_module.method()) == ("my_methods:Mine", "someones.method:Mine")
    assert methods.learner_class(f"{file}:Mine") is by_file, "a file is loaded once"
    name, variant = methods.variant(f"{file}:Mine")
    assert (name, variant.config.width, variant.training(1).epochs) == ("wide", 9, 2)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("{file}:Mien", "unknown learner in .*did you mean 'Mine'"),
        ("{file}:NotALearner", "is not a learner; give a subclass of vlprompt.PromptLearner"),
        ("{folder}/missing.py:Mine", "there is no file"),
        ("no.such.module:Mine", "there is no module 'no.such.module'"),
        ("cooop", "did you mean 'coop'.*MODULE:CLASS"),
        ("vlprompt.learner:PromptLearner", "does not define forward"),
    ],
)
def test_a_wrong_name_is_one_line(name: str, message: str, file: Path) -> None:
    with pytest.raises(UsageError, match=message):
        methods.learner_class(name.format(file=file, folder=file.parent))


def test_a_prompt_never_imports_code(
    package: str, clip: vp.Clip, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = methods.learner_class(package)
    learner = kind(clip, ["zero", "one"], seed=4)
    learner.save(tmp_path / "prompt")
    for name in ("someones", "someones.method"):
        monkeypatch.delitem(sys.modules, name)
    capsys.readouterr()
    with pytest.raises(VlpromptError, match=r"saved by 'someones.method:Mine'.*pass its class"):
        vp.load(tmp_path / "prompt", clip)
    assert "someones.method" not in sys.modules
    assert capsys.readouterr().out == ""
    again = vp.load(tmp_path / "prompt", clip, learner=kind)
    assert torch.equal(again.shift, learner.shift)
    with pytest.raises(VlpromptError, match="pass its class"):
        vp.load(tmp_path / "prompt", clip, learner=vp.learners.CoOp)


def test_an_installed_plug_in_has_a_short_name(
    package: str, clip: vp.Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "someones-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: someones\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[vlprompt.learners]\nmine = {package}\ncoop = {package}\n")
    importlib.invalidate_caches()
    assert "mine" in methods.names()
    assert methods.learner_class("coop") is vp.learners.CoOp, "a plug-in cannot replace one of ours"
    kind = methods.learner_class("mine")
    assert methods.split_name("mine:wide") == ("mine", "wide")
    kind(clip, ["zero", "one"]).save(tmp_path / "prompt")
    assert type(vp.load(tmp_path / "prompt", clip)) is kind
