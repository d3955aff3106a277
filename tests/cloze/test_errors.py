"""Faults in a template, in label words or in a saved model are reported in one line that names a remedy."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from vlprompt import cli
from vlprompt.backbones.lm import LanguageModel
from vlprompt.cloze import HardPrompt, HardPromptConfig, PrefixTuning, PromptTuning, PromptTuningConfig, PTuningV2
from vlprompt.data.batch import Batch
from vlprompt.errors import UsageError, VlpromptError

Make = Callable[..., LanguageModel]


def one_line(call: Callable[[], object], kind: type[VlpromptError] = UsageError) -> str:
    """The message of an error, which must be one line that ends a sentence."""
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) > 40, "it names a remedy"
    return message


def prompt(lm: LanguageModel, template: str, words: tuple[str, str] = ("bad", "good"), **more: int) -> HardPrompt:
    config = HardPromptConfig(template, ((words[0],), (words[1],)), **more)
    return HardPrompt(lm, ("no", "yes"), config)


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2", "t5"])
def test_a_blank_is_never_cut_off(name: str, tiny_lm: Make) -> None:
    lm = tiny_lm(name)
    learner = prompt(lm, "{text} it was {mask}", max_length=12)
    (row,) = (learner.renderer.row({"text": "the film " * 40}),)
    assert len(row.ids) == 12
    assert row.read >= 0
    if name in ("bert", "roberta"):
        assert row.ids[row.read] == lm.vocabulary.blank
    message = one_line(lambda: prompt(lm, "{text} " + "the film was " * 30 + "{mask}"))
    assert "its blank would be cut off. Shorten the template or raise max_length." in message
    message = one_line(lambda: PromptTuning(lm, ("bad", "good"), PromptTuningConfig("{text} {mask}", length=300)))
    assert "its blank would be cut off" in message
    message = one_line(lambda: prompt(lm, "{text:whole} {mask}").predict(Batch.of_texts(["the film " * 200])))
    assert "fields that are never cut make a row" in message


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2"])
def test_faults_in_label_words_blanks_and_slots_name_a_remedy(name: str, tiny_lm: Make) -> None:
    lm = tiny_lm(name)
    message = one_line(lambda: prompt(lm, "{text} {mask}", ("greatly", "good")))
    assert "label word ' greatly' of class 'no' is" in message
    whole = "left_to_right" if lm.kind == "causal" else "masks"
    assert (
        f"or choose how its pieces are scored: pieces={whole!r} (all of them), 'first', 'mean' or 'max' (at one blank)."
        in message
    )
    assert "column 15: a second {mask}; a cloze has one blank" in one_line(lambda: prompt(lm, "{text} {mask} {mask}"))
    message = one_line(lambda: prompt(lm, "{text} it"))
    assert "column 10: no {mask}; a cloze has one blank, as in '{text} It was {mask}.'" in message
    message = one_line(lambda: prompt(lm, "{txt} it was {mask}").predict(Batch.of_texts([{"text": "it"}])))
    assert "column 1: unknown slot 'txt'; did you mean 'text'? Known: text, mask" in message


@pytest.fixture
def saved(make_lm: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Command-line options for a file of opinions and a tiny model of a kind."""
    monkeypatch.setenv("VLPROMPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("warnings.showwarning", None)  # main sets it; restored afterwards
    rows = [{"text": f"the {noun} was {word}", "label": label}
            for noun in ("film", "story", "actor", "music", "probe")
            for word, label in (("good", "yes"), ("bad", "no"))]  # fmt: skip
    (tmp_path / "reviews.jsonl").write_text("\n".join(map(json.dumps, rows)))

    def flags(name: str) -> list[str]:
        lm = make_lm(name)
        lm.model.save_pretrained(tmp_path / name)
        lm.vocabulary.tokenizer.save_pretrained(tmp_path / name)
        where = ["--backbone", f"local-dir:{tmp_path / name}", "--out", str(tmp_path / "runs")]
        return ["cloze", "--task", str(tmp_path / "reviews.jsonl"), *where, "--learners", "hard_prompt"]

    return flags


def test_the_command_line_reports_the_same_in_one_line(
    saved: Callable[[str], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    flags, words = saved("bert"), ["--words", "bad", "good"]
    for arguments, message in (
        (["--template", "{text} it was {mask}", "--words", "bad", "greatly"], "is 3 pieces for local-dir:"),
        (["--template", "{text} {mask} {mask}", *words], "a second {mask}"),
        (["--template", "{text} it was", *words], "no {mask}"),
        (["--template", "{txt} {mask}", *words], "column 1: unknown slot 'txt'"),
        (["--template", "{text} {mask", *words], "column 8: a { that is never closed"),
        (["--template", "{text} {soft:2} {mask}", *words], "hard_prompt learns no tokens"),
        (["--template", "{text} it was {mask}", *words, "--set", "hard_prompt.max_length=4"], "would be cut off"),
    ):
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            cli.main([*flags, *arguments])
        lines = [x for x in capsys.readouterr().err.splitlines() if x.startswith("vlprompt: ")]
        assert stop.value.code == 2, arguments
        assert len(lines) == 1, lines
        assert message in lines[0]


def test_a_saved_model_without_a_mask_token_fails_in_one_line(
    saved: Callable[[str], list[str]], make_lm: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = saved("roberta")
    for file in (tmp_path / "roberta").glob("*token*"):
        file.unlink()
    make_lm("gpt2").vocabulary.tokenizer.save_pretrained(tmp_path / "roberta")
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        cli.main([*flags, "--template", "{text} it was {mask}", "--words", "bad", "good"])
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("vlprompt: ")]
    assert stop.value.code == 1
    assert "its tokenizer has no mask token" in line


@pytest.mark.parametrize(("name", "kind"), [("bert", PrefixTuning), ("gpt2", PTuningV2), ("roberta", PTuningV2)])
def test_a_prefix_that_is_too_long_is_named(name: str, kind: type[PTuningV2], tiny_lm: Make) -> None:
    lm = tiny_lm(name)
    for length in (64, 100):
        config = kind.Config("{text} it was {mask}", (("bad",), ("good",)), length=length)
        message = one_line(lambda config=config: kind(lm, ("no", "yes"), config))  # type: ignore[misc]
        assert f"tiny {name} has 64 positions, a prefix takes {length} and template" in message
        assert " -" not in message
    longest = int(message.rsplit("Set length to ", 1)[1].split(" or less", 1)[0])
    kind(lm, ("no", "yes"), kind.Config("{text} it was {mask}", (("bad",), ("good",)), length=longest))


def test_raising_max_length_is_no_remedy_beyond_the_model(tiny_lm: Make) -> None:
    lm = tiny_lm("bert")
    assert "more than 64 positions" in one_line(lambda: prompt(lm, "{text} " + "the film " * 50 + "{mask}"))
    assert "more than" not in one_line(lambda: prompt(lm, "{text} it was {mask}", max_length=4))


@pytest.mark.parametrize(
    "template", ["{\n1x} {mask}", "{text}\n{\x1b[2J} {mask}", "{text} {mask:\r\n}", "{a\tb\n} {mask}"]
)
def test_control_characters_of_a_template_are_escaped(template: str) -> None:
    message = one_line(lambda: HardPromptConfig(template))
    assert message.isprintable()
