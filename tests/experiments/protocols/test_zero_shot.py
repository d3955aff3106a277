"""The zero-shot protocol refuses learners that train, and learners that do not fit the backbone."""

from pathlib import Path

import pytest

import vlprompt as vp
from tests.learners.vits import small_vit
from vlprompt.data.features import FeatureStore
from vlprompt.errors import UsageError
from vlprompt.experiments.protocols import zero_shot
from vlprompt.experiments.runner import Runner
from vlprompt.experiments.spec import LearnerSpec


@pytest.mark.parametrize(
    ("vit", "names", "message"),
    [
        (False, ("zero_shot", "coop:cocoop-paper"), "coop cocoop-paper learns from images; use few-shot"),
        (True, ("linear",), "linear learns from images; use few-shot"),
        (True, ("zero_shot",), "needs a CLIP.* a method that works with a ViT"),
    ],
)
def test_learners_that_cannot_be_evaluated_without_training_are_refused(
    vit: bool, names: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    backbone = small_vit() if vit else vp.load_clip("tiny")
    runner = Runner(backbone, tmp_path, FeatureStore(tmp_path / "store"), quiet=True)
    with pytest.raises(UsageError, match=message):
        zero_shot.run(runner, vp.load_task("digits").whole(), [LearnerSpec.parse(name) for name in names])
    assert not runner.results_file.exists()
