"""The zero-shot protocol takes nothing that learns."""

from pathlib import Path

import pytest

import vlprompt as vp
from tests.learners.vits import small_vit
from vlprompt.data.features import FeatureStore
from vlprompt.errors import UsageError
from vlprompt.protocols import zero_shot
from vlprompt.runner import Bench, Entry


@pytest.mark.parametrize(
    ("vit", "names", "said"),
    [
        (False, ("zero_shot", "coop:cocoop-paper"), "coop cocoop-paper learns from images; use few-shot"),
        (True, ("linear",), "linear learns from images; use few-shot"),
        (True, ("zero_shot",), "needs a CLIP .* such as linear or vpt"),
    ],
)
def test_what_learns_or_reads_no_names_is_refused(vit: bool, names: tuple[str, ...], said: str, tmp_path: Path) -> None:
    backbone = small_vit() if vit else vp.load_clip("tiny")
    bench = Bench(backbone, tmp_path, FeatureStore(tmp_path / "store"), quiet=True)
    with pytest.raises(UsageError, match=said):
        zero_shot.run(bench, vp.load_task("digits").whole(), [Entry.parse(name) for name in names])
    assert not bench.results_file.exists()
