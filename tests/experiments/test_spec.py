"""Specs: names, published settings, changes, wrapped learners, and methods of the user's own files."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import vlprompt as vp
from vlprompt.errors import UsageError
from vlprompt.experiments.spec import LearnerSpec, parse_specs

OWN = """
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from vlprompt import Needs, PromptLearner, TrainConfig, Variant
from vlprompt.data.batch import features_of


@dataclass(frozen=True)
class NearestMeanConfig:
    shrink: float = 0.0


class NearestMean(PromptLearner):
    Config = NearestMeanConfig
    needs = Needs(ordered=True)
    why_classes_fixed = "a mean belongs to its class"

    def __init__(self, backbone, classes, config=None, *, seed=0):
        super().__init__(backbone, classes, config, seed=seed)
        self.register_buffer("means", torch.zeros(len(self.classes), backbone.embed_dim))

    def prepare(self, train, val):
        for batch in train.epoch(0):
            self.means.index_add_(0, batch.labels, F.normalize(features_of(batch), dim=-1))

    def forward(self, batch):
        return self.backbone.scores(features_of(batch), self.means)


VARIANTS = {
    "plain": Variant(NearestMeanConfig(), TrainConfig(epochs=0, augment="none")),
    "half": Variant(NearestMeanConfig(0.5), TrainConfig(epochs=0, augment="none")),
}
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A file with a method, named relative to the working folder."""
    (tmp_path / "my_methods.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return "my_methods.py:NearestMean"


def test_a_name_a_variant_and_changes() -> None:
    plain, published = LearnerSpec.parse("coop"), LearnerSpec.parse("coop:cocoop-paper")
    assert (plain.label, plain.settings) == ("coop", "")
    assert (published.label, published.settings) == ("coop cocoop-paper", "cocoop-paper")
    assert published.kind is vp.learners.CoOp
    changed = LearnerSpec.parse("coop", {"coop": {"position": "middle", "n_ctx": 4}, "train": {"epochs": 3}})
    assert changed.label == "coop n_ctx=4 position=middle"
    assert changed.config.n_ctx == 4
    assert plain.trains
    assert not LearnerSpec.parse("zero_shot").trains


def test_a_wrapped_learner_is_trained_and_the_label_names_both() -> None:
    spec = LearnerSpec.parse("tpt+coop:cocoop-paper", {"tpt": {"views": 8}, "coop": {"n_ctx": 2, "words": ""}})
    assert spec.label == "tpt views=8 over coop cocoop-paper n_ctx=2 words="
    assert spec.trains
    assert spec.adapts
    assert not spec.online
    assert spec.trained.method == "coop"
    clip = vp.load_clip("tiny")
    learner = vp.learners.CoOp(clip, ("zero", "one"), spec.trained.config)
    whole = spec.wrap(learner)
    assert isinstance(whole, vp.learners.TPT)
    assert spec.configs(learner)["over"] == spec.trained.configs(learner)
    assert LearnerSpec.parse("tda").online


def test_what_cannot_wrap_is_refused_by_name() -> None:
    spec, clip = LearnerSpec.parse("kgcoop+coop"), vp.load_clip("tiny")
    with pytest.raises(UsageError, match="kgcoop cannot wrap coop"):
        spec.wrap(vp.learners.CoOp(clip, ("zero", "one")))


def test_a_method_of_a_file_has_settings_under_its_class_or_its_path(own: str) -> None:
    spec = LearnerSpec.parse(own)
    assert (spec.label, spec.variant) == ("my_methods:NearestMean", "plain")
    assert LearnerSpec.parse(f"{own}:half").label == "my_methods:NearestMean half"
    for owner in (own, "NearestMean"):
        assert LearnerSpec.parse(own, {owner: {"shrink": 0.25}}).config.shrink == 0.25
    assert LearnerSpec.parse(str(Path(own).absolute())).kind is spec.kind
    assert parse_specs([own, "coop"], {"NearestMean": {"shrink": 0.1}})[0].changed == {"shrink": 0.1}


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("coopp", {}, "unknown learner 'coopp'; did you mean 'coop'"),
        ("coop:cocoop", {}, "unknown variant of coop 'cocoop'"),
        ("coop", {"coop": {"n_ctxx": 1}}, "did you mean 'n_ctx'"),
        ("coop", {"cop": {"n_ctx": 1}}, "unknown owner of settings 'cop'; did you mean 'coop'"),
        ("nowhere.py:NearestMean", {}, "there is no file 'nowhere.py'"),
        ("my_methods.py:Nearest", {}, "did you mean 'NearestMean'"),
        ("mta+", {}, "unknown learner ''"),
    ],
)
@pytest.mark.usefixtures("own")
def test_mistakes_are_one_line(name: str, settings: dict[str, dict[str, int]], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse_specs([name], settings)
    assert "\n" not in str(caught.value)


def test_draws_are_one_per_seed_or_the_whole_task() -> None:
    task = vp.load_task("digits")
    drawn = list(LearnerSpec.parse("coop").draws(task, 2, (1, 2)))
    assert [(shots, seed) for _, shots, seed in drawn] == [(2, 1), (2, 2)]
    assert [task.train for task, _, _ in drawn] == [task.few_shot(2, seed).train for seed in (1, 2)]
    assert list(LearnerSpec.parse("zero_shot").draws(task, 2, (1, 2))) == [(task, 0, 0)]
