"""Domain adaptation and leave-one-domain-out: who learns from what, what a result is called, what is one line."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

import vlprompt as vp
from vlprompt import cli, runner
from vlprompt.data import FeatureStore
from vlprompt.errors import UsageError, VlpromptWarning
from vlprompt.learners import PromptLearner
from vlprompt.protocols import domain_adaptation, domain_shift
from vlprompt.report import tables
from vlprompt.results import ALL_SHOTS, Result, read
from vlprompt.runner import Bench, Entry

DOMAINS = ("printed", "scanned", "drawn")
SETTINGS = {"dapl": {"n_ctx": 2, "n_domain_ctx": 2, "domain_words": "", "tau": 0.2}, "coop": {"n_ctx": 2}}


@pytest.fixture(scope="module")
def task() -> vp.Task:
    """A few digits, dealt out to three domains; 2 of each class and domain in every split."""
    digits = vp.load_task("digits")
    drawn = list(enumerate(digits.few_shot(18, seed=1).train))  # 18 of a class one after the other
    parts = [tuple(replace(e, domain=i // 2 % 3) for i, e in drawn if i // 6 % 3 == part) for part in range(3)]
    return replace(digits, train=parts[0], val=parts[1], test=parts[2], domains=DOMAINS)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    training = {"epochs": 1, "augment": "none", "batch_size": 10}
    return Bench(vp.load_clip("tiny"), tmp_path / "out", FeatureStore(tmp_path / "store"), training, quiet=True)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, vp.Task]]:
    """What is trained on from here on."""
    found: list[tuple[str, vp.Task]] = []
    fit = runner.fit

    def noted(learner: PromptLearner, task: vp.Task, *others: object, **more: object) -> object:
        found.append((learner.method(), task))
        return fit(learner, task, *others, **more)

    monkeypatch.setattr(runner, "fit", noted)
    return found


def entries(*names: str) -> list[Entry]:
    return [Entry.parse(name, SETTINGS) for name in names]


def items(examples: tuple[vp.Example, ...]) -> set[object]:
    return {example.item for example in examples}


def test_rivals_learn_from_source_or_pseudo_labels_and_all_are_judged_alike(
    bench: Bench, task: vp.Task, trained: list[tuple[str, vp.Task]]
) -> None:
    pair = (("printed",), "drawn")
    found = list(
        domain_adaptation.run(
            bench, task, entries("zero_shot", "coop", "dapl"), pseudo=entries("coop"), pairs=[pair], tau=0.8, seeds=[4]
        )
    )
    assert [result.learner for result in found] == ["zero_shot", "coop", "dapl", "coop"]
    assert [(result.shots, result.seed) for result in found] == [(0, 0), (ALL_SHOTS, 4), (ALL_SHOTS, 4), (ALL_SHOTS, 4)]
    assert {result.task for result in found} == {"digits/transductive/printed:drawn"}
    assert len({result.key for result in found}) == 4
    assert "labels=pseudo" in found[3].variant
    assert found[2].config["domains"] == ["printed", "drawn"]
    target = {e.item for part in (task.train, task.val, task.test) for e in part if e.domain == 2}
    assert {result.examples for result in found} == {len(task.train + task.val + task.test) // 3}
    (_, zero), (_, source), (_, both), (_, guessed) = trained
    assert items(source.train) & target == set() == items(zero.train) & target
    assert items(both.unlabelled) == target
    assert items(guessed.train) < target
    truth = {e.item: e.label for e in task.train + task.val + task.test}
    assert any(example.label != truth[example.item] for example in guessed.train), "labels are guessed, not known"


def test_held_out_is_another_result(bench: Bench, task: vp.Task, trained: list[tuple[str, vp.Task]]) -> None:
    options = {"pairs": [(("printed", "scanned"), "drawn")], "seeds": [1]}
    (seen,) = domain_adaptation.run(bench, task, entries("dapl"), **options)
    (unseen,) = domain_adaptation.run(bench, task, entries("dapl"), held_out=True, **options)
    assert unseen.task == "digits/held-out/printed+scanned:drawn"
    assert (seen.examples, unseen.examples) == (60, 20)
    assert not items(trained[1][1].unlabelled) & items(trained[1][1].test)
    assert len(list((bench.out / "prompts").rglob("prompt.safetensors"))) == 2, "neither prompt takes the other's place"


def test_a_target_without_labels_is_predicted(bench: Bench, task: vp.Task) -> None:
    hidden = {
        part: tuple(replace(e, label=-1) if e.domain == 2 else e for e in getattr(task, part))
        for part in ("train", "val", "test")
    }
    blind = replace(task, **hidden)
    with pytest.warns(VlpromptWarning, match=r"printed:drawn: no test image has a label.*predictions are in .*csv"):
        (found,) = domain_adaptation.run(bench, blind, entries("zero_shot"), pairs=[(("printed",), "drawn")])
    assert found.metrics == {}
    (file,) = (bench.out / "predictions").rglob("*.csv")
    lines = file.read_text().splitlines()
    assert lines[0] == "image,class,probability"
    assert len(lines) == 1 + 60
    assert all(line.split(",")[1] in task.classes and 0 < float(line.split(",")[2]) <= 1 for line in lines[1:])
    assert "no target has labels" in tables.pairs_table([found])
    with pytest.warns(VlpromptWarning):
        every = list(domain_adaptation.run(bench, blind, entries("zero_shot")))
    assert len(every) == 4, "a domain without labels is no source"


def test_a_tau_that_selects_nothing(bench: Bench, task: vp.Task) -> None:
    pairs = [(("printed",), "drawn")]
    with pytest.raises(UsageError, match=r"tau 1 selects none of the 60 images .*confidence is 0\.\d+\); lower tau"):
        list(domain_adaptation.run(bench, task, [], pseudo=entries("coop"), pairs=pairs, tau=1.0))
    sure = replace(entries("dapl")[0], config=replace(entries("dapl")[0].config, tau=1.0))
    with pytest.warns(VlpromptWarning, match="tau 1 left no pseudo-label in the first epoch"):
        (found,) = domain_adaptation.run(bench, task, [sure], pairs=pairs, seeds=[1])
    assert found.metrics["top1"] >= 0


def test_learners_that_adapt_need_something_to_adapt_to(bench: Bench, task: vp.Task) -> None:
    with pytest.raises(UsageError, match="dapl learns from a target domain's unlabelled images too"):
        list(domain_shift.run(bench, task, [], entries("dapl")))
    with pytest.raises(UsageError, match="dapl learns from a target"):
        list(domain_adaptation.run(bench, task, [], pseudo=entries("dapl")))
    assert not bench.results_file.exists()


def test_leaving_one_domain_out(bench: Bench, task: vp.Task, trained: list[tuple[str, vp.Task]]) -> None:
    found = list(domain_shift.run(bench, task, [], entries("zero_shot", "coop"), shots=1, seeds=[1]))
    assert [each.task for each in found[::2]] == [f"digits/left-out/{name}" for name in DOMAINS]
    assert {each.examples for each in found} == {60}
    for _, learned in trained:
        left = learned.domains.index(learned.name.rpartition("/")[2])
        assert all(example.domain != left for example in learned.train)
        assert {example.domain for example in learned.test} == {left}
    table = tables.pairs_table(found, "markdown", protocol="leave_one_out")
    rows = [line.split(" | ")[0].strip("| ") for line in table.splitlines()[5:]]
    assert rows == ["drawn", "printed", "scanned", "average"]


def result(pair: str, learner: str, seed: int, **metrics: float) -> Result:
    return Result(
        protocol="domain_adaptation",
        learner=learner,
        backbone="tiny",
        fingerprint="f",
        task=f"visda/transductive/{pair}",
        split_hash=pair,
        classes=2,
        shots=0 if learner == "zero_shot" else ALL_SHOTS,
        seed=seed,
        metrics=metrics,
        extra={"metric": "class_mean"},
    )


def test_the_table_averages_within_seeds_and_shows_the_data_sets_own_metric() -> None:
    found = [result(pair, "zero_shot", 0, top1=0.1, class_mean=value) for pair, value in (("a:b", 0.5), ("b:a", 0.7))]
    for seed, values in ((1, (0.6, 0.8)), (2, (0.8, 0.6))):
        found += [
            result(pair, "dapl", seed, top1=0.1, class_mean=value)
            for pair, value in zip(("a:b", "b:a"), values, strict=True)
        ]
    found.append(result("a:b", "coop", 1, top1=0.1, class_mean=0.3))
    lines = tables.pairs_table(found, "markdown").splitlines()
    assert lines[0].startswith("visda/transductive: class_mean in percent")
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert cells[0] == ["domains", "zero_shot", "coop", "dapl"]
    assert cells[3:] == [
        ["a:b", "50.0", "30.0", "70.0 ± 127.1"],
        ["b:a", "70.0", "–", "70.0 ± 127.1"],
        ["average", "60.0", "–", "70.0 ± 0.0"],  # what varies over pairs and not over seeds is no interval
    ]


@pytest.fixture
def photos(tmp_path: Path) -> Callable[..., Path]:
    """A folder of domains with two classes: photos(light=["bright", "dark"], ...)."""

    def make(**domains: list[str]) -> Path:
        for number, (domain, classes) in enumerate(domains.items()):
            for name in classes:
                (tmp_path / "photos" / domain / name).mkdir(parents=True, exist_ok=True)
                for shade in range(10):
                    level = 20 * shade + (30 if name == "bright" else 0) + number
                    Image.new("L", (32, 32), level).save(tmp_path / "photos" / domain / name / f"{shade}.png")
        return tmp_path / "photos"

    return make


@pytest.fixture
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLPROMPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("warnings.showwarning", None)  # main sets it; put it back afterwards


QUICK = ["--augment", "none", "--set", "train.epochs=1"]


@pytest.mark.usefixtures("own_place")
@pytest.mark.filterwarnings("ignore::vlprompt.errors.VlpromptWarning")  # words the tiny model never saw
def test_the_command_on_ones_own_folders(
    photos: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, names = photos(day=["bright", "dark"], night=["bright", "dark"]), ["bright", "dark"]
    where = ["--task", str(folder), "--out", str(tmp_path / "run"), "--seeds", "1", *QUICK]
    cli.main(["adapt", *where, "coop.n_ctx=2", "--pseudo", "coop", "--tau", "0"])
    out = capsys.readouterr().out
    assert all(word in out for word in ("photos/transductive", "day:night", "night:day", "average", "labels=pseudo"))
    assert len(read(tmp_path / "run" / "results.jsonl")) == 8
    cli.main(["adapt", *where, "--pairs", "day:night", "--held-out", "--learners", "zero_shot", "dapl", "--json"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["task"] for line in lines] == ["photos/held-out/day:night"] * 2
    assert [line["classes"] for line in lines] == [len(names)] * 2
    cli.main(["domain-shift", *where, "--shots", "1", "--learners", "zero_shot"])
    assert "photos/left-out" in capsys.readouterr().out
    cli.main(["report", str(tmp_path / "run" / "results.jsonl"), "--form", "markdown"])
    out = capsys.readouterr().out
    assert all(word in out for word in ("photos/left-out", "photos/held-out", "photos/transductive"))


@pytest.mark.usefixtures("own_place")
@pytest.mark.parametrize(
    ("domains", "arguments", "told"),
    [
        ({"day": ["a", "b"], "night": ["a", "b"]}, ["--pairs", "day:nite"], "unknown domain of photos 'nite'; did you"),
        ({"day": ["a", "b"], "night": ["a", "b"]}, ["--pairs", "day"], "pair 'day' does not read SOURCE:TARGET"),
        ({"day": ["a", "b"], "night": ["a"]}, [], "domains must have the same classes; 'day' has 'b' and 'night' has"),
        ({"day": ["a", "b"], "night": []}, [], "domain folder"),
        ({"day": ["a", "b"]}, [], "photos has no domains to go between"),
    ],
)
def test_what_cannot_be_is_one_line(
    photos: Callable[..., Path],
    domains: dict[str, list[str]],
    arguments: list[str],
    told: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = photos(**domains)
    for name in domains:
        (folder / name).mkdir(exist_ok=True)
    with pytest.raises(SystemExit) as stop:
        cli.main(["adapt", "--task", str(folder), "--out", str(tmp_path / "run"), *arguments])
    assert stop.value.code in (1, 2)
    lines = [line for line in capsys.readouterr().err.splitlines() if line]
    assert len(lines) == 1
    assert told in lines[0]
