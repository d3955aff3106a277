"""vlprompt few-shot."""

from collections.abc import Callable
from pathlib import Path

import pytest

from vlprompt import cli
from vlprompt.experiments.results_file import read

OWN_METHOD = """
import vlprompt as vp
from vlprompt.data.batch import features_of

class Names(vp.PromptLearner):
    "Class names without a template."
    Config = vp.learners.ZeroShotConfig
    needs = vp.Needs(trains=False)

    def forward(self, batch):
        return self.backbone.scores(features_of(batch), self.backbone.encode_texts(list(self.classes)))
"""


def test_it_prints_a_table_and_repeats_no_run(
    tmp_path: Path, quick: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["few-shot", "--out", str(tmp_path), "--shots", "1", "--seeds", "1", "2", "--learners", "coop", *quick]
    cli.main(command)
    first = capsys.readouterr().out
    assert "coop" in first
    assert "±" in first
    results = read(tmp_path / "results.jsonl")
    assert [(r.shots, r.seed) for r in results] == [(1, 1), (1, 2)]
    cli.main(command)
    assert capsys.readouterr().out == first
    assert len(read(tmp_path / "results.jsonl")) == 2, "a run that has a result is not repeated"
    cli.main([*command, "--fresh"])
    again = read(tmp_path / "results.jsonl")
    assert len(again) == 4, "results are appended, never overwritten"
    assert [r.metrics for r in again[:2]] == [r.metrics for r in again[2:]]


def test_a_method_of_the_users_own_file_runs_and_its_prompt_opens(
    tmp_path: Path, twelve_digits: Path, fails: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(OWN_METHOD)
    own = f"{tmp_path / 'mine.py'}:Names"
    cli.main(["few-shot", "--task", str(twelve_digits), "--out", str(tmp_path), "--learners", own])
    assert "Names" in capsys.readouterr().out
    (prompt,) = (tmp_path / "prompts" / "few_shot" / "photos").iterdir()
    image = str(next(twelve_digits.rglob("*.png")))
    assert "--learner" in fails(["predict", str(prompt), image], 1)
    cli.main(["predict", str(prompt), image, "--learner", own])
    assert capsys.readouterr().out.startswith(image)
    assert "no learned tokens" in fails(["show", str(prompt), "--learner", own])


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--task", "digit"], 2, "did you mean 'digits'"),
        (["--learners", "coopp"], 2, "did you mean 'coop'"),
        (["--learners", "coop:cocop-paper"], 2, "did you mean 'cocoop-paper'"),
        (["--learners", "nowhere.py:Mine"], 2, "no file 'nowhere.py'"),
        (["--backbone", "ViT-B-61"], 2, "did you mean 'ViT-B-16"),
        (["--backbone", "ViT-B-16", "--pretrained", "openia"], 2, "did you mean 'openai'"),
        (["--backbone", "ViT-B-16"], 2, "needs weights"),
        (["--backbone", "local-dir:/nowhere"], 2, "there is no folder"),
        (["--precision", "fp8"], 2, "unknown precision"),
        (["--augment", "much"], 2, "'cached:K'"),
        (["--shots", "0"], 2, "shots must be 1 or more"),
        (["--set", "coop.n_ctxx=4"], 2, "did you mean 'n_ctx'"),
        (["--set", "kgcoop.n_ctx=4"], 2, "unknown owner of settings 'kgcoop'"),
        (["--template", "a photo"], 2, "{}"),
        (["--task", "caltech101", "--root", "/nowhere"], 1, "/nowhere/caltech-101"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], code: int, message: str, tmp_path: Path, fails: Callable[..., str]
) -> None:
    assert message in fails(["few-shot", *arguments, "--out", str(tmp_path)], code)
    assert not (tmp_path / "results.jsonl").exists()
