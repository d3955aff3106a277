"""The accuracy benchmark: runs what is missing, keeps what there is, skips what cannot run here, and says why."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

import vlprompt as vp
from benchmarks.accuracy.__main__ import HERE, main
from vlprompt import runner
from vlprompt.data.features import FeatureStore
from vlprompt.data.task import Task
from vlprompt.errors import UsageError, VlpromptError
from vlprompt.learners import PromptLearner
from vlprompt.protocols import few_shot
from vlprompt.report.published import read_paper
from vlprompt.results import Result
from vlprompt.results import read as read_results
from vlprompt.runner import Bench, Entry
from vlprompt.sweep import experiment
from vlprompt.sweep.experiment import Experiment, read

SMALL = """# Small: one epoch.
protocol = "few_shot"
task = "digits"
learners = ["zero_shot", "coop"]
shots = [1, 2]
seeds = [1]
set = { train = { augment = "none", epochs = 1 }, coop = { n_ctx = 2 } }
"""
HALVES = SMALL.replace("few_shot", "base_to_new").replace("shots = [1, 2]", "shots = 1")


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of one's own, and few digits to judge."""
    monkeypatch.setenv("VLPROMPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("warnings.showwarning", None)  # main sets it; put it back afterwards
    whole = experiment.catalog.open_task

    def fewer(what: str, root: Path | None) -> Task:
        task = whole(what, root)
        return replace(task, test=task.test[::20])

    monkeypatch.setattr(experiment.catalog, "open_task", fewer)


@pytest.fixture
def place(tmp_path: Path) -> SimpleNamespace:
    """Experiments written here, and the command on them."""
    folder = tmp_path / "experiments"
    folder.mkdir()

    def command(*arguments: str) -> int:
        return main(arguments, folder, tmp_path)

    def lines(name: str) -> list[Result]:
        return read_results(tmp_path / "benchmarks" / "results" / f"{name}.jsonl")

    return SimpleNamespace(folder=folder, root=tmp_path, command=command, lines=lines)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is trained from here on."""
    found: list[str] = []
    fit = runner.fit

    def noted(learner: PromptLearner, task: Task, *others: object, **more: object) -> object:
        found.append(f"{learner.method()} {len(task.train) // len(task.classes)}")
        return fit(learner, task, *others, **more)

    monkeypatch.setattr(runner, "fit", noted)
    return found


def test_parts_are_rows_of_one_table_in_settings_of_their_own(
    place: SimpleNamespace, trained: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (place.folder / "small.toml").write_text(
        SMALL + '\n[[part]]\nlearners = ["kgcoop"]\nshots = [2]\nset.train = { augment = "none", epochs = 2 }\n'
    )
    assert place.command("small") == 0
    assert trained[1:] == ["coop 1", "coop 2", "kgcoop 2"]
    found = {(result.learner, result.shots): result.train_config.get("epochs") for result in place.lines("small")}
    assert found == {("zero_shot", 0): None, ("coop", 1): 1, ("coop", 2): 1, ("kgcoop", 2): 2}
    assert "kgcoop" in capsys.readouterr().out


STREAM = """# A stream of classes.
protocol = "continual"
task = "digits"
learners = ["linear"]
masked = ["linear"]
joint = ["linear"]
shots = 2
seeds = [1]
stream = { tasks = 2, test_shots = 1 }

[set]
train = { augment = "none", epochs = 1 }
"""


def test_a_stream_of_tasks_is_an_experiment_and_draws_its_pictures(
    place: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    part = '\n[[part]]\nlearners = ["l2p"]\nset.train = { augment = "none", epochs = 1, lr = 0.01 }\n'
    (place.folder / "stream.toml").write_text(STREAM + part)
    assert place.command("stream") == 0
    found = [(each.learner, each.variant, each.train_config["epochs"]) for each in place.lines("stream")]
    assert found == [("linear", "", 1), ("linear", "mask=classes", 1), ("linear", "tasks=joint", 1), ("l2p", "", 1)]
    assert {each.examples for each in place.lines("stream")} == {10}
    assert [len(row) for row in place.lines("stream")[0].extra["matrix"]] == [1, 2]
    assert "forgetting_chaudhry" in capsys.readouterr().out
    pictures = {path.name for path in (place.root / "benchmarks/results").glob("*.png")}
    assert pictures == {"stream-matrix.png", "stream-tasks.png", "stream-usage.png"}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("tasks = 2", "task = 2", "unknown setting of a stream 'task'; did you mean 'tasks'"),
        ("tasks = 2", 'tasks = "2"', "stream.tasks is '2'; it must be of type int"),
        ("tasks = 2", "tasks = 11", "give 2 to 10"),
        ('"continual"', '"zero_shot"', "takes no joint"),
        ('masked = ["linear"]', 'masked = ["linea"]', "did you mean 'linear'"),
        ("shots = 2", "shots = [2]", "one number"),
    ],
)
def test_a_stream_that_cannot_be_is_one_line(
    place: SimpleNamespace, capsys: pytest.CaptureFixture[str], old: str, new: str, said: str
) -> None:
    (place.folder / "stream.toml").write_text(STREAM.replace(old, new, 1))
    assert place.command("stream") in (1, 2)
    assert said in capsys.readouterr().err
    assert not (place.root / "benchmarks").exists()


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("[[part]]\nshots = [1]", "part is {'shots': [1]}; it must be a table of learners"),
        ('[[part]]\nlearners = ["coop"]\ntask = "digits-c"', "it must be a table of learners"),
        ('[[part]]\nlearners = ["coop"]\nset.kgcoop.n_ctx = 2', "unknown owner of settings 'kgcoop'"),
        ('[[part]]\nlearners = ["coop"]\nshots = 1', "shots is 1"),
    ],
)
def test_a_part_that_cannot_be_is_refused(
    place: SimpleNamespace, capsys: pytest.CaptureFixture[str], part: str, said: str
) -> None:
    (place.folder / "small.toml").write_text(f"{SMALL}\n{part}\n")
    assert place.command("small") == 2
    assert said in capsys.readouterr().err


def test_only_what_is_missing_is_run(
    place: SimpleNamespace, trained: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = place.folder / "small.toml"
    file.write_text(SMALL.replace("[1, 2]", "[1]"))
    assert place.command() == 0
    assert trained == ["zero_shot 69", "coop 1"]
    first = capsys.readouterr().out
    assert "results in benchmarks/results/small.jsonl: 2, 2 of them new" in first
    assert place.command("small") == 0
    assert len(trained) == 2, "nothing is run twice"
    assert capsys.readouterr().out == first.replace("2 of them new", "0 of them new")

    file.write_text(SMALL)
    assert place.command() == 0
    assert trained[2:] == ["coop 2"], "one more number of shots, one more run"
    kept = place.lines("small")
    assert [(r.learner, r.shots) for r in kept] == [("zero_shot", 0), ("coop", 1), ("coop", 2)]
    assert kept[1].config["n_ctx"] == 2
    assert kept[1].train_config["epochs"] == 1
    table = capsys.readouterr().out
    assert all(f"{100 * result.metrics['top1']:.1f}" in table for result in kept)
    assert (place.root / "benchmarks/results/small.png").read_bytes().startswith(b"\x89PNG")

    file.write_text(SMALL.replace("n_ctx = 2", "n_ctx = 3"))
    assert place.command() == 0
    assert trained[3:] == ["coop 1", "coop 2"], "other settings are other runs"
    assert place.command("--fresh") == 0
    assert len(place.lines("small")) == 8, "results are appended, never overwritten"
    assert (place.root / "runs/benchmarks/small/prompts/few_shot/digits").is_dir()
    assert not (place.root / "runs/benchmarks/small/results.jsonl").exists()


def test_an_interrupted_experiment_goes_on(
    place: SimpleNamespace, trained: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (place.folder / "small.toml").write_text(SMALL)
    evaluate = runner.evaluate

    def stopped(learner: PromptLearner, *others: object, **more: object) -> object:
        if trained == ["zero_shot 69", "coop 1"]:
            raise KeyboardInterrupt
        return evaluate(learner, *others, **more)

    monkeypatch.setattr(runner, "evaluate", stopped)
    assert place.command() == 130
    assert "goes on from where it was" in capsys.readouterr().err
    assert [r.learner for r in place.lines("small")] == ["zero_shot"]
    assert place.command() == 0
    assert trained[2:] == ["coop 1", "coop 2"]


def test_other_protocols(place: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    (place.folder / "halves.toml").write_text(HALVES)
    (place.folder / "zero.toml").write_text('protocol = "zero_shot"\ntask = "digits"\nlearners = ["zero_shot"]\n')
    assert place.command() == 0
    assert {"base_top1", "new_top1", "harmonic_mean"} <= place.lines("halves")[0].metrics.keys()
    assert place.lines("zero")[0].examples > 900, "zero-shot on digits judges all of them, as the command line does"
    assert "zero_shot" in capsys.readouterr().out


def test_domains_are_adapted_to(place: SimpleNamespace, trained: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(12):
        path = place.root / "photos" / "ab"[number % 2] / ("circle", "square", "star")[number // 2 % 3] / "1.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (32, 32), 20 * number).save(path.with_stem(str(number)))
    text = SMALL.replace("few_shot", "domain_adaptation").replace('"digits"', '"photos"').replace("shots = [1, 2]", "")
    rows = f'pseudo = ["coop"]\nroot = "{place.root}"\n'
    (place.folder / "moved.toml").write_text(text.replace("set = ", f'{rows}pairs = ["a:b"]\nset = '))
    with pytest.raises(UsageError, match=r"few_shot takes no pseudo"):
        Experiment("few_shot", "digits", ["coop"], pseudo=["coop"])
    with pytest.raises(UsageError, match=r"shots is 1; for domain_adaptation it must be left out"):
        Experiment("domain_adaptation", "photos", ["coop"], shots=1)
    assert place.command("moved") == 0
    assert [line.task for line in place.lines("moved")] == ["photos/transductive/a:b"] * 3
    assert len(trained) == 3
    assert "a:b" in capsys.readouterr().out
    assert place.command("moved") == 0
    assert len(trained) == 3, "what has a result is not run again"


def test_folders_of_images_are_targets(place: SimpleNamespace) -> None:
    digits = vp.load_task("digits")
    for label, name in ((0, "zero"), (1, "one")):
        images = [example for example in digits.test if example.label == label][:4]
        for number, example in enumerate(images):
            file = place.root / "data" / "pictures" / name / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            digits.images.open(example.item).save(file)
    text = HALVES.replace("base_to_new", "cross_dataset") + f'targets = ["pictures"]\nroot = "{place.root}/data"\n'
    (place.folder / "cross.toml").write_text(text)
    assert place.command() == 0
    for line in place.lines("cross"):
        assert line.metrics.keys() >= {"digits_top1", "pictures_top1"}
        assert str(place.root) not in line.to_json()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ('root = "$NO_SUCH_VARIABLE/data"', "NO_SUCH_VARIABLE"),
        ('backbone = "local-dir:$NOWHERE/lit"', "/nowhere/lit holds no open_clip_config.json"),
        ('backbone = "ViT-B-61"', "did you mean 'ViT-B-16"),
    ],
)
def test_what_is_not_here_is_skipped_with_the_reason(
    change: str,
    reason: str,
    place: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("NOWHERE", "/nowhere")
    (place.folder / "away.toml").write_text(change + "\n" + SMALL)
    assert place.command() == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("skipped: ")]
    assert reason in line
    assert not (place.root / "benchmarks").exists()


def test_kept_results_of_data_that_is_not_here_are_shown(
    place: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    (place.folder / "small.toml").write_text(SMALL)
    assert place.command() == 0
    table = capsys.readouterr().out.split("small\n")[1].rpartition("results in")[0]
    text = SMALL.replace('"digits"', '"caltech101"') + 'root = "/nowhere"\n'
    (place.folder / "small.toml").write_text(text)
    assert place.command() == 0
    out = capsys.readouterr().out
    assert "skipped: missing folder /nowhere/caltech-101" in out
    assert table in out


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("learners", "learner", "did you mean 'learners'"),
        ('"few_shot"', '"few_shots"', "did you mean 'few_shot'"),
        ('"coop"', '"coopp"', "did you mean 'coop'"),
        ('"coop"', '"coop:cocop-paper"', "did you mean 'cocoop-paper'"),
        ("n_ctx", "n_ctxx", "did you mean 'n_ctx'"),
        ("coop = {", "kgcoop = {", "did you mean 'coop'"),
        ("epochs", "epoch", "did you mean 'epochs'"),
        ("epochs = 1", "epochs = -1", "epochs must be 0 or more"),
        ('augment = "none"', 'augment = "much"', "'cached:K'"),
        ("[1, 2]", "3", "a list of numbers"),
        ('"few_shot"', '"base_to_new"', "one number"),
        ("seeds = [1]", 'seeds = ["1"]', "a list, each a whole number"),
        ("seeds = [1]", 'targets = ["digits"]', "takes no targets"),
        ('"few_shot"', '"cross_dataset"', "needs targets"),
        ('task = "digits"\n', "", "'task'"),
        ('task = "digits"', "task digits", "not TOML"),
        ("seeds = [1]", "grid.lr = 0.1", "a list of values for each setting"),
    ],
)
def test_mistakes_are_one_line_and_nothing_runs(
    old: str, new: str, said: str, place: SimpleNamespace, trained: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert old in SMALL
    (place.folder / "good.toml").write_text(SMALL)
    (place.folder / "wrong.toml").write_text(SMALL.replace(old, new, 1))
    assert place.command() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: wrong.toml")
    assert said in line
    assert not trained


def test_a_failed_experiment_does_not_stop_the_others(
    place: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, settings = 'learners = ["zero_shot", "coop"]', ", coop = { n_ctx = 2 }"
    for name, text, row in (("a", HALVES, "linear_probe"), ("b", SMALL, "zero_shot")):
        other = text.replace(rows, f'learners = ["{row}"]').replace(settings, "")
        (place.folder / f"{name}.toml").write_text(other)
    assert place.command() == 1
    said = capsys.readouterr()
    assert "error: a: linear_probe cannot be judged on classes it was not trained for" in said.err
    assert len(place.lines("b")) == 1


def test_unknown_names_are_answered_with_the_nearest(
    place: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    (place.folder / "small.toml").write_text(SMALL)
    assert place.command("smal") == 2
    assert "did you mean 'small'" in capsys.readouterr().err
    assert place.command("--list") == 0
    assert capsys.readouterr().out.split() == ["small", "0", "results", "Small:", "one", "epoch."]


COMMITTED = sorted(path.stem for path in HERE.glob("*.toml"))


@pytest.mark.parametrize("name", COMMITTED)
def test_committed_experiments_are_sound(name: str) -> None:
    """They are read without a mistake, say what they show, how to run it and how long it takes, and need no path."""
    text = (HERE / f"{name}.toml").read_text()
    read(HERE / f"{name}.toml")
    opening = text.partition("protocol = ")[0]
    assert all(line.startswith("#") for line in opening.splitlines())
    assert f"python -m benchmarks.accuracy {name}\n" in opening
    assert "minutes on 2 cores" in opening or "hour" in opening
    assert '"/' not in text
    assert 'augment = "none"' in text


def test_experiments_cover_every_learner_of_images() -> None:
    parts = [part for name in COMMITTED for part in read(HERE / f"{name}.toml").parts()]
    entries = [entry for part in parts for entry in part.entries()]
    named = {part.method for entry in entries for part in entry.parts}
    images = {name for name in vp.learners.names() if not vp.learners.learner_class(name).reads.of_texts}
    assert images <= named, images - named


@pytest.mark.parametrize("name", [name for name in COMMITTED if name.startswith("digits")])
def test_digits_experiments_fit_the_tiny_clip(name: str, tmp_path: Path) -> None:
    """Every learner can be built with its settings: deep prompts are no deeper than the towers."""
    asked = read(HERE / f"{name}.toml")
    bench = Bench(asked.open_backbone(), tmp_path, FeatureStore(tmp_path / "store"), asked.training)
    (task,) = asked.open_tasks()
    halves = asked.protocol == "base_to_new"
    judged = dict(zip(("base", "new"), task.base_and_new(), strict=True)) if halves else {"": task}
    for entry in asked.entries():
        bench.check(entry, judged["base"] if halves else task, judged)


def test_variables_have_the_values_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLPROMPT_SHARED", raising=False)
    with pytest.raises(VlpromptError, match="a variable that is not set"):
        experiment.expand("$VLPROMPT_SHARED/data")
    monkeypatch.setenv("VLPROMPT_SHARED", "/there")
    assert experiment.expand("local-dir:${VLPROMPT_SHARED}/models/lit_tiny") == "local-dir:/there/models/lit_tiny"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("local-dir:../away/models/lit_tiny", "lit_tiny"),
        ("local-dir:/away/random_models/lit_tiny/", "lit_tiny"),
        ("local-dir:/away/lit_tiny/random", "lit_tiny/random"),
        ("ViT-B-16/openai", "ViT-B-16/openai"),
        ("hf-hub:org/model", "hf-hub:org/model"),
        ("tiny", "tiny"),
    ],
)
def test_results_name_a_local_backbone_without_its_path(name: str, shown: str, tmp_path: Path) -> None:
    clip = vp.load_clip("tiny")
    clip.name = name
    kept = tmp_path / "elsewhere" / "kept.jsonl"
    bench = Bench(clip, tmp_path / "out", FeatureStore(tmp_path / "store"), {}, quiet=True, results=kept)
    task = vp.load_task("digits")
    task = replace(task, test=task.test[:20])
    (result,) = few_shot.run(bench, task, [Entry.parse("zero_shot")])
    assert read_results(kept) == [result]
    assert result.backbone == shown
    (prompt,) = (tmp_path / "out" / "prompts").rglob("prompt.json")
    assert vp.learners.checkpoint.load(prompt.parent)[1]["backbone"] == name, "a prompt must find its backbone again"


def test_paper_numbers_and_experiments_speak_the_same_language() -> None:
    """Experiments on published tasks have rows that published numbers can stand beside."""
    published = {(row.protocol, ours) for row in read_paper(HERE.parent / "paper.toml") for ours in row.ours}
    for name in ("caltech101_few_shot", "caltech101_base_to_new"):
        asked = read(HERE / f"{name}.toml")
        assert (asked.protocol, ("zero_shot", "")) in published


def test_settings_are_checked_in_python_too() -> None:
    with pytest.raises(UsageError, match="did you mean 'base_to_new'"):
        Experiment("base_to_now", "digits", ["coop"])


TEXTS = """# Texts: the bundled language model, three epochs.
protocol = "few_shot"
task = "reviews"
backbone = "tiny"
learners = ["hard_prompt"]
shots = [4]
seeds = [13]

[[part]]
learners = ["prompt_tuning"]
set = { train = { epochs = 3, lr = 1e-3 }, prompt_tuning = { length = 2 } }
"""


def test_an_experiment_on_texts_takes_a_language_model(
    place: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    (place.folder / "texts.toml").write_text(TEXTS)
    assert place.command("texts") == 0
    found = place.lines("texts")
    assert [(r.learner, r.shots, r.task, r.backbone) for r in found] == [
        ("hard_prompt", 0, "reviews", "tiny"),
        ("prompt_tuning", 4, "reviews", "tiny"),
    ]
    assert "hard_prompt" in capsys.readouterr().out
    (place.folder / "texts.toml").write_text(TEXTS.replace('"tiny"', '"local-dir:nowhere"'))
    assert place.command("texts") == 0
    assert "skipped: nowhere holds no config.json" in capsys.readouterr().out
