"""Names in tables: control characters, HTML and LaTeX commands are text in every form."""

from dataclasses import replace

import pytest

from vlprompt.experiments.results import Result
from vlprompt.report.tables import BY_PROTOCOL, few_shot_table

HOSTILE = [
    "dig\x1b[2J\x1b]0;owned\x07its",
    "a\nlabel: OK",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    r"\input{/etc/passwd} $x_{ & % #",
    "a | b | c",
    "[link](http://example.invalid) `code`",
    "\u202egnirts \u2028 line",
]


def run(**more: object) -> Result:
    fields = {"protocol": "few_shot", "learner": "coop", "backbone": "tiny", "fingerprint": "f", "task": "digits"}
    metrics = {"top1": 0.5, "base_top1": 0.5, "new_top1": 0.5, "digits_top1": 0.5, "other_top1": 0.5}
    return Result(split_hash="s", classes=2, shots=1, seed=1, metrics=metrics, **(fields | more))  # type: ignore[arg-type]


@pytest.mark.parametrize("form", ["terminal", "markdown", "latex"])
@pytest.mark.parametrize("name", HOSTILE)
def test_names_stay_in_their_cell(name: str, form: str) -> None:
    plain = few_shot_table([run()], form)
    shown = few_shot_table([run(task=name, backbone=name, variant=name)], form)
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert len(shown.splitlines()) == len(plain.splitlines()), "no name adds a line"
    if form == "markdown":
        assert "<script" not in shown
        assert "<img" not in shown
        row = shown.splitlines()[-1].replace(r"\|", "")
        assert row.count("|") == plain.splitlines()[-1].count("|")
        assert "](" not in shown.replace(r"\]", "")
    if form == "latex":
        assert r"\input" not in shown


@pytest.mark.parametrize("protocol", ["few_shot", "base_to_new", "cross_dataset", "domain_adaptation"])
def test_examples_without_labels_have_a_dash(protocol: str) -> None:
    text = BY_PROTOCOL[protocol]([replace(run(protocol=protocol, task="d/a:b"), metrics={})])
    assert "no test example has a label" in text
    assert "–" in text
