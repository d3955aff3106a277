"""The command line as a user meets it: output, exit codes, one-line errors."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vlprompt import cli, text_demo
from vlprompt.results import read

QUICK = ["--set", "train.epochs=2", "coop.n_ctx=2", "--augment", "none"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLPROMPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("warnings.showwarning", None)  # main sets it; put it back afterwards


def fails(arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that must fail with an exit code; its one line."""
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == code
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("vlprompt: ")]
    lines = [line for line in lines if not line.startswith("vlprompt: warning")]
    assert len(lines) == 1, lines
    return lines[0]


def test_list_names_every_learner_and_data_set(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["list", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert {"zero_shot", "coop", "linear_probe"} <= found["learners"].keys()
    assert "cocoop-paper" in found["learners"]["coop"]
    assert {"digits", "caltech101", "imagenet_r"} <= found["data sets"].keys()
    cli.main(["list"])
    assert "digits" in capsys.readouterr().out


def test_zero_shot_judges_all_digits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["zero-shot", "--out", str(tmp_path), "--json"])
    result = json.loads(capsys.readouterr().out)
    assert result["examples"] == 1797
    assert result["metrics"]["top1"] >= 0.80


def test_few_shot_prints_a_table_and_goes_on_where_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["few-shot", "--out", str(tmp_path), "--shots", "1", "--seeds", "1", "2", "--learners", "coop", *QUICK]
    cli.main(command)
    first = capsys.readouterr().out
    assert "coop" in first
    assert "±" in first
    results = read(tmp_path / "results.jsonl")
    assert [(r.shots, r.seed) for r in results] == [(1, 1), (1, 2)]
    cli.main(command)
    assert capsys.readouterr().out == first
    assert len(read(tmp_path / "results.jsonl")) == 2, "what has a result is not run again"
    cli.main([*command, "--fresh"])
    again = read(tmp_path / "results.jsonl")
    assert len(again) == 4, "results are appended, never overwritten"
    assert [r.metrics for r in again[:2]] == [r.metrics for r in again[2:]]


def test_base_to_new_prints_base_new_and_h(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--out", str(tmp_path), "--shots", "1", "--seeds", "1"]
    cli.main(["base-to-new", *where, *QUICK, "--learners", "zero_shot", "coop"])
    out = capsys.readouterr().out
    assert all(word in out for word in ("base", "new", "H"))
    for result in read(tmp_path / "results.jsonl"):
        b, n = result.metrics["base_top1"], result.metrics["new_top1"]
        assert result.metrics["harmonic_mean"] == pytest.approx(2 * b * n / (b + n))


def test_a_prompt_is_used_on_images_with_other_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from sklearn.datasets import load_digits

    from vlprompt import load_task

    cli.main(["few-shot", "--out", str(tmp_path), "--shots", "1", "--seeds", "1", "--learners", "coop", *QUICK])
    task = load_task("digits")
    task.images.open(task.test[0].item).save(tmp_path / "digit.png")
    (prompt,) = (tmp_path / "prompts").glob("few_shot/digits/coop*")
    capsys.readouterr()
    cli.main(["predict", str(prompt), str(tmp_path / "digit.png"), "--classes", "zero", "one", "star", "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert answer["probabilities"].keys() == {"zero", "one", "star"}
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert len(load_digits().target) == 1797


def test_test_time_prints_before_and_after_and_report_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = twelve_digits(tmp_path / "photos")
    command = ["test-time", "--task", str(folder), "--out", str(tmp_path), "--seeds", "1"]
    cli.main([*command, "--learners", "zero_shot", "mta", "tda", "--set", "mta.views=4"])
    out = capsys.readouterr().out
    assert all(word in out for word in ("mta (views=4), episodic", "tda, online", "gain", "ECE before", "s/image"))
    cli.main(["report", str(tmp_path / "results.jsonl")])
    assert out.splitlines()[:9] == capsys.readouterr().out.splitlines()[:9]


def test_predict_adapts_to_ones_own_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = twelve_digits(tmp_path / "photos")
    images = sorted(map(str, folder.rglob("*.png")))[:3]
    where = ["--task", str(folder), "--out", str(tmp_path), "--seeds", "1", *QUICK]
    cli.main(["few-shot", *where, "--shots", "1", "--learners", "zero_shot", "coop"])
    prompts = {path.name.split("-")[0]: str(path) for path in (tmp_path / "prompts" / "few_shot" / "photos").iterdir()}
    capsys.readouterr()

    def told(*more: str) -> list[dict[str, float]]:
        cli.main(["predict", prompts["zero_shot"], *images, "--json", *more])
        return [json.loads(line)["probabilities"] for line in capsys.readouterr().out.splitlines()]

    adapted = told("--adapt", "zero", "--set", "zero.views=4", "zero.confident=1.0")
    assert len(adapted) == 3
    votes = [4 * share for answer in adapted for share in answer.values()]
    assert adapted == told("--adapt", "zero", "--set", "zero.views=4", "zero.confident=1.0") != told()
    assert all(min(abs(vote - k) for k in (0, 0.8, 1.6, 2.4, 1, 2, 3, 4)) < 1e-3 for vote in votes), "shares of votes"
    silent = told("--adapt", "tda", "--set", "tda.positive_alpha=0", "tda.negative_alpha=0")
    assert silent == [pytest.approx(answer, abs=1e-5) for answer in told()]
    for adapt, said in (
        ("mta", "not on what coop has learned"),
        ("coop", "coop cannot adapt coop"),
        ("mta+coop", "give mta alone"),
        ("mtb", "did you mean 'mta'"),
    ):
        assert said in fails(["predict", prompts["coop"], images[0], "--adapt", adapt], 2, capsys)


def twelve_digits(folder: Path) -> Path:
    """Six handwritten zeros and six ones, as files."""
    from vlprompt import load_task

    task = load_task("digits")
    for label, name in enumerate(("zero", "one")):
        (folder / name).mkdir(parents=True)
        for example in [e for e in task.test if e.label == label][:6]:
            task.images.open(example.item).save(folder / name / f"{example.item}.png")
    return folder


@pytest.fixture
def reviews(tmp_path: Path, make_lm: Callable[..., Any]) -> list[str]:
    """Flags for a made-up file of opinions and a tiny random BERT."""
    lm = make_lm("bert")
    lm.model.save_pretrained(tmp_path / "bert")
    lm.vocabulary.tokenizer.save_pretrained(tmp_path / "bert")
    rows = [{"text": f"the {noun} was {word} .", "label": label}
            for noun in ("film", "story", "actor", "music")
            for word, label in (("good", "yes"), ("bad", "no"), ("great", "yes"), ("dull", "no"))]  # fmt: skip
    (tmp_path / "reviews.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return ["--task", str(tmp_path / "reviews.jsonl"), "--backbone", f"local-dir:{tmp_path / 'bert'}",
            "--template", "{text} it was {mask} .", "--out", str(tmp_path / "runs")]  # fmt: skip


def test_cloze_trains_keeps_and_names_texts(
    tmp_path: Path, reviews: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["--learners", "hard_prompt", "prompt_tuning", "--set", "prompt_tuning.length=3", "train.epochs=1"]
    quick = [*reviews, "--words", "bad,dull", "good", *rows, "--shots", "1", "--seeds", "13"]
    cli.main(["cloze", *quick, "--json"])
    first = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["learner"], line["shots"]) for line in first] == [("hard_prompt", 0), ("prompt_tuning", 1)]
    assert first[0]["config"]["words"] == [["bad", "dull"], ["good"]]
    cli.main(["cloze", *quick])
    assert "prompt_tuning" in capsys.readouterr().out
    assert len(read(tmp_path / "runs" / "results.jsonl")) == 2, "the second time is the first time's results"
    (folder,) = (tmp_path / "runs" / "prompts" / "few_shot" / "reviews").glob("prompt_tuning*")
    cli.main(["predict", str(folder), "the film was good .", '{"text": "a dull story"}'])
    assert len(re.findall(r": (yes|no) \(", capsys.readouterr().out)) == 2


def test_cloze_sets_unlabelled_texts_aside(
    tmp_path: Path, reviews: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    own = [*reviews, "--words", "bad", "good", "--shots", "1", "--seeds", "13", "--json"]
    assert "pet learns from unlabelled texts too" in fails(["cloze", *own, "--learners", "pet"], 2, capsys)
    small = ["--set", "pet.steps=1", "pet.repetitions=1", "train.steps=2", "--unlabelled", "4"]
    cli.main(["cloze", *own, "--learners", "pet", "in_context", *small])
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["learner"] for line in found] == ["pet", "in_context"]
    assert found[0]["config"]["patterns"] == ["{text} it was {mask} ."]
    (folder,) = (tmp_path / "runs" / "prompts" / "few_shot" / "reviews").glob("in_context*")
    cli.main(["predict", str(folder), "the film was good ."])
    assert re.search(r": (yes|no) \(", capsys.readouterr().out)


def test_words_and_triggers_are_found_and_shown(
    tmp_path: Path, reviews: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["--learners", "label_words", "autoprompt", "soft_verbalizer", "prompt_tuning", "text_linear"]
    small = ["--set", "autoprompt.candidates=4", "label_words.candidates=6", "prompt_tuning.length=3", "train.epochs=2",
             "train.lr=0.001"]  # fmt: skip
    cli.main(["cloze", *reviews, "--words", "bad", "good", *rows, *small, "--shots", "2", "--seeds", "13", "--json"])
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["learner"] for line in found] == rows[1:]
    prompts = tmp_path / "runs" / "prompts" / "few_shot" / "reviews"

    def shown(method: str, *more: str) -> list[str]:
        (folder,) = prompts.glob(f"{method}-*")
        cli.main(["show", str(folder), *more])
        return capsys.readouterr().out.splitlines()

    assert [line.split(":")[0] for line in shown("label_words")] == ["no", "yes"]
    (trigger,) = shown("autoprompt")
    assert re.fullmatch(r"trigger: (\S+, ){2}\S+", trigger)
    lines = shown("prompt_tuning", "--count", "2")
    assert [line.split()[0] for line in lines] == ["tokens[0]", "tokens[1]", "tokens[2]"]
    assert all(re.search(r"norm +[\d.]+  start +[\d.-]+  \S+ [\d.-]+, \S+ [\d.-]+$", line) for line in lines)
    (first, *_) = (json.loads(line) for line in shown("prompt_tuning", "--json"))
    assert first["words"][0] == "bad", "two steps from the first label word"
    (folder,) = prompts.glob("text_linear-*")
    assert "text_linear has no learned tokens among words" in fails(["show", str(folder)], 2, capsys)


def test_show_names_the_words_near_a_context(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import vlprompt as vp

    clip = vp.load_clip("tiny")
    config = vp.learners.CoOpConfig(words="a photo of a")
    vp.learners.CoOp(clip, ["one", "two"], config).save(tmp_path / "coop")
    cli.main(["show", str(tmp_path / "coop"), "--count", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-2:] for line in lines] == [[word, "1.00"] for word in ("a", "photo", "of", "a")]
    assert all("start  1.00" in line for line in lines)
    assert "ask for 1 word or more" in fails(["show", str(tmp_path / "coop"), "--count", "0"], 2, capsys)


@pytest.mark.filterwarnings("default::vlprompt.errors.VlpromptWarning")
def test_a_clip_tells_texts_apart_as_a_baseline(reviews: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    flags = [*reviews[:2], "--template", "{text} {mask}", "--backbone", "tiny", *reviews[-2:], "--json"]
    cli.main(["cloze", *flags, "--learners", "clip_text"])
    said = capsys.readouterr()
    assert re.search(r"warning: tiny was never trained on \d+ of the \d+ words of these texts", said.err)
    (line,) = (json.loads(line) for line in said.out.splitlines())
    assert (line["learner"], line["shots"], line["backbone"]) == ("clip_text", 0, "tiny")


def test_mistakes_about_texts_are_answered_in_one_line(reviews: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "the classes no, yes; one each" in fails(["cloze", *reviews, "--words", "good"], 2, capsys)
    assert "data set of texts" in fails(["cloze", "--task", "digits"], 2, capsys)
    assert "column 1" in fails(["cloze", *reviews, "--template", "{txt} {mask}"], 2, capsys)
    assert "needs a template" in fails(["cloze", *reviews[:4]], 2, capsys)


def test_report_reads_results_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--out", str(tmp_path), "--seeds", "1", *QUICK]
    cli.main(["few-shot", *where, "--shots", "1", "2", "--learners", "zero_shot", "coop"])
    cli.main(["base-to-new", "--out", str(tmp_path), "--seeds", "1", "--shots", "1", "--learners", "zero_shot"])
    capsys.readouterr()
    for form, sign in (("terminal", "coop"), ("markdown", "|"), ("latex", r"\toprule")):
        cli.main(["report", str(tmp_path / "results.jsonl"), "--form", form])
        assert sign in capsys.readouterr().out
    cli.main(["report", str(tmp_path / "results.jsonl"), "--plot", str(tmp_path / "plot.png")])
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_cache_looks_and_clears(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["zero-shot", "--out", str(tmp_path), "--json"])
    capsys.readouterr()
    cli.main(["cache"])
    assert "1797" in capsys.readouterr().out
    cli.main(["cache", "--clear"])
    assert "1797" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["few-shot", "--task", "digit"], 2, "did you mean 'digits'"),
        (["few-shot", "--learners", "coopp"], 2, "did you mean 'coop'"),
        (["few-shot", "--learners", "coop:cocop-paper"], 2, "did you mean 'cocoop-paper'"),
        (["few-shot", "--backbone", "ViT-B-61"], 2, "did you mean 'ViT-B-16"),
        (["few-shot", "--backbone", "ViT-B-16", "--pretrained", "openia"], 2, "did you mean 'openai'"),
        (["few-shot", "--backbone", "ViT-B-16"], 2, "needs weights"),
        (["few-shot", "--backbone", "local-dir:/nowhere"], 2, "open_clip_config.json"),
        (["few-shot", "--precision", "fp8"], 2, "unknown precision"),
        (["few-shot", "--augment", "much"], 2, "'cached:K'"),
        (["few-shot", "--shots", "0"], 2, "shots must be 1 or more"),
        (["few-shot", "--set", "coop.n_ctxx=4"], 2, "did you mean 'n_ctx'"),
        (["few-shot", "--set", "kgcoop.n_ctx=4"], 2, "not among the learners"),
        (["few-shot", "--template", "a photo"], 2, "{}"),
        (["few-shot", "--task", "caltech101", "--root", "/nowhere"], 1, "/nowhere/caltech-101"),
        (["base-to-new", "--learners", "linear_probe"], 2, "one weight vector per class"),
        (["base-to-new", "--learners", "coop", "--set", "coop.class_specific=true"], 2, "class-specific"),
        (["test-time", "--learners", "mta", "--set", "mta.views=1"], 2, "mta needs 2 views or more"),
        (["test-time", "--learners", "tda", "--set", "tda.views=0"], 2, "views is 0; give 1"),
        (["test-time", "--learners", "zero", "--set", "zero.views=900000000"], 2, "views at most"),
        (["test-time", "--learners", "mta+coop"], 2, "not on what coop has learned"),
        (["test-time", "--task", "digits-c/noise-9"], 2, "severity '9'"),
        (["predict", "/nowhere/prompt", "a.png"], 1, "/nowhere/prompt"),
        (["report", "/nowhere/results.jsonl"], 1, "/nowhere/results.jsonl"),
    ],
)
def test_mistakes_are_answered_in_one_line(
    arguments: list[str], code: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if arguments[0] in ("few-shot", "base-to-new", "test-time"):
        arguments = [*arguments, "--out", str(tmp_path)]
    assert said in fails(arguments, code, capsys)
    assert not (tmp_path / "results.jsonl").exists()


def test_ctrl_c_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(cli.COMMANDS, "cache", interrupted)
    assert "goes on from where it was" in fails(["cache"], 130, capsys)


def test_a_full_disk_is_one_line_and_leaves_results_whole(tmp_path: Path) -> None:
    """A file-size limit stands in for the full disk: writes fail in the same place, with an error of the same kind."""
    out = tmp_path / "out"
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "import torch; torch.set_num_threads(1); from vlprompt import cli;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1]))); cli.main(sys.argv[2:])"
    )
    command = ["few-shot", "--out", str(out), "--shots", "1", "--seeds", "1", "--learners", "coop", *QUICK]
    environment = {**os.environ, "VLPROMPT_CACHE": str(tmp_path / "cache")}
    run = [sys.executable, "-c", code, "100", *command]
    failed = subprocess.run(run, capture_output=True, text=True, env=environment, check=False)
    assert failed.returncode == 1, failed.stderr
    assert "Traceback" not in failed.stderr
    assert "could not be written" in failed.stderr
    assert not (out / "results.jsonl").exists() or not (out / "results.jsonl").read_text()
    assert not list(out.rglob("prompt.safetensors"))
    run[3] = str(2**30)
    subprocess.run(run, check=True, capture_output=True, env=environment)
    assert len(read(out / "results.jsonl")) == 1


def test_importing_does_nothing() -> None:
    code = (
        "import sys, logging, warnings; before = (warnings.showwarning, logging.getLogger().handlers[:]);"
        "import torch; state = torch.random.get_rng_state(); threads = torch.get_num_threads();"
        "import vlprompt, vlprompt.cli;"
        "assert torch.equal(state, torch.random.get_rng_state()); assert threads == torch.get_num_threads();"
        "assert (warnings.showwarning, logging.getLogger().handlers[:]) == before;"
        "assert not {'matplotlib', 'transformers', 'sklearn', 'tensorboard'} & set(sys.modules), 'optional packages'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_text_demo_shows_what_it_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = text_demo.catalog.load_task

    def fewer(name: str) -> Any:
        task = whole(name)
        return replace(task, test=task.test[:40])

    monkeypatch.setattr(text_demo.catalog, "load_task", fewer)
    cli.main(["cloze", "demo", "--out", str(tmp_path), "--seeds", "13"])
    said = capsys.readouterr().out
    assert "great/terrible" in said
    assert "prompt_oriented_fine_tuning" in said
    assert re.search(r"it calls\n  'a brilliant story.*' (positive|negative) \(\d+ %\)", said)
    assert (tmp_path / "results.jsonl").is_file()
