"""The runner: what a result states, where prompts are stored, and what is refused before anything runs."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

import pytest
from PIL import Image

import vlprompt as vp
from tests.experiments.conftest import MakeRunner
from tests.experiments.test_spec import OWN
from vlprompt import files
from vlprompt.errors import UsageError, VlpromptError
from vlprompt.experiments import results_file
from vlprompt.experiments import runner as runners
from vlprompt.experiments.plan import folder_of, train_config, without_path
from vlprompt.experiments.protocols import few_shot
from vlprompt.experiments.results import ALL_SHOTS, Result
from vlprompt.experiments.results_file import read
from vlprompt.experiments.spec import LearnerSpec
from vlprompt.training.config import TrainConfig, Variant


@pytest.fixture(scope="module")
def task() -> vp.Task:
    digits = vp.load_task("digits")
    return replace(digits, test=digits.test[::30])


def test_a_method_of_a_file_trains_and_its_prompt_opens_with_its_class(
    task: vp.Task, make_runner: MakeRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_methods.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    runner, spec = make_runner(), LearnerSpec.parse("my_methods.py:NearestMean")
    (result,) = few_shot.run(runner, task, [spec], (2,), (1,))
    assert (result.learner, result.variant) == ("my_methods:NearestMean", "")
    assert result.metrics["top1"] > 0.3
    (folder,) = (runner.out / "prompts" / "few_shot" / "digits").glob("my_methods-NearestMean-2shot-seed1-????????")
    learner = vp.load(folder, runner.backbone, learner=spec.kind)
    assert vp.evaluate(learner, task, store=runner.store).metrics["top1"] == result.metrics["top1"]
    assert list(few_shot.run(runner, task, [spec], (2,), (1,))) == [result], "a run with a result is not repeated"


def test_published_settings_follow_the_data_set_not_the_name_of_the_task(
    task: vp.Task, make_runner: MakeRunner
) -> None:
    """A half of the classes has another name, and the same data set."""
    asked: list[tuple[int, str]] = []

    def recipe(shots: int, dataset: str) -> TrainConfig:
        asked.append((shots, dataset))
        return TrainConfig(epochs=1)

    spec = LearnerSpec.parse("coop", {"coop": {"n_ctx": 2}})
    spec = replace(spec, published=Variant(spec.config, recipe))
    drawn = replace(task.few_shot(1, 1), name="my/part")
    make_runner().run("few_shot", spec, drawn, shots=1, seed=1)
    assert asked == [(1, "digits")]


def test_fresh_runs_are_repeated_and_results_may_go_elsewhere(
    task: vp.Task, make_runner: MakeRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = replace(make_runner(), results=tmp_path / "elsewhere.jsonl")
    spec = LearnerSpec.parse("zero_shot")
    first = runner.run("zero_shot", spec, task, shots=0, seed=0)
    monkeypatch.setattr(runners, "evaluate", None)
    assert runner.run("zero_shot", spec, task, shots=0, seed=0) == first
    monkeypatch.undo()
    again = replace(runner, fresh=True).run("zero_shot", spec, task, shots=0, seed=0)
    assert (again.key, again.metrics) == (first.key, first.metrics)
    assert len(read(tmp_path / "elsewhere.jsonl")) == 2
    assert not (runner.out / "results.jsonl").exists()


def test_what_cannot_run_is_refused(task: vp.Task, make_runner: MakeRunner) -> None:
    with pytest.raises(UsageError, match="did you mean 'epochs'"):
        make_runner(epoch=1)
    runner, (base, new) = make_runner(), task.base_and_new()
    with pytest.raises(UsageError, match="linear_probe cannot be evaluated on classes it was not trained for"):
        runner.check([LearnerSpec.parse("coop"), LearnerSpec.parse("linear_probe")], base, {"new": new})
    with pytest.raises(UsageError, match="digits has no test images"):
        runner.check([LearnerSpec.parse("coop")], replace(task, test=()))


def test_names_of_local_models_do_not_depend_on_the_machine() -> None:
    assert without_path("ViT-B-16/openai") == "ViT-B-16/openai"
    assert without_path("local-dir:/disk/me/clip") == "clip"
    assert without_path("local-dir:/disk/me/clip/random") == "clip/random"


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("digits/domains", "digits/domains"),
        ("../../x", "-/-/x"),
        ("a\\b:c\n\x1b[2J", "a-b-c-2J"),
        ("/etc", "-/etc"),
        ("größe", "größe"),
        ("", "-"),
    ],
)
def test_a_prompt_never_leaves_its_folder(name: str, folder: str) -> None:
    result = Result("few_shot", "coop", "tiny", "f", name, "s", 2, ALL_SHOTS, seed=3, variant="n_ctx=4")
    assert folder_of(result) == f"few_shot/{folder}/coop-n_ctx=4-allshot-seed3-{result.key[:8]}"


def drawings(root: Path, *, swapped: bool = False, size: int = 32) -> vp.Task:
    """Eight bright and eight dark images, with equal names and file sizes whatever they show."""
    for name, bright in (("bright", not swapped), ("dark", swapped)):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(8):
            colour = number + 200 * bright
            Image.new("RGB", (size, size), (colour, 2 * number, 10)).save(root / name / f"{number}.bmp")
    return vp.Task.from_folder(root, name="photos")


def test_images_prompts_and_settings_of_equal_names_share_nothing(make_runner: MakeRunner, tmp_path: Path) -> None:
    """Other images, other training settings, another model: each has its own result, prompt and row."""
    first, second = drawings(tmp_path / "a"), drawings(tmp_path / "b", swapped=True)
    specs = [LearnerSpec.parse("coop")]
    runner = make_runner(epochs=2)
    other = replace(runner, training={"epochs": 3})
    deep = replace(runner, backbone=vp.load_clip("tiny", precision="bf16"))

    def all_runs() -> list[Result]:
        return [
            result
            for each, task in ((runner, first), (runner, second), (other, first), (deep, first))
            for result in few_shot.run(each, task, specs, (2,), (1,))
        ]

    found = all_runs()
    assert len({result.key for result in found}) == 4
    assert found[0].data_hash != found[1].data_hash
    prompts = {path: path.read_bytes() for path in (runner.out / "prompts").rglob("prompt.safetensors")}
    assert len(prompts) == 4
    assert all_runs() == found, "a second call trains nothing"
    assert len(read(runner.results_file)) == 4
    assert {path: path.read_bytes() for path in (runner.out / "prompts").rglob("prompt.safetensors")} == prompts


def test_images_replaced_in_place_are_another_run(make_runner: MakeRunner, tmp_path: Path) -> None:
    runner, spec = make_runner(), LearnerSpec.parse("zero_shot")
    before = runner.run("zero_shot", spec, drawings(tmp_path / "a"), shots=0, seed=0)
    again = make_runner().run("zero_shot", spec, drawings(tmp_path / "a"), shots=0, seed=0)
    assert again == before, "the same images, written again"
    replaced = make_runner().run("zero_shot", spec, drawings(tmp_path / "a", swapped=True), shots=0, seed=0)
    assert replaced.key != before.key
    moved = make_runner().run("zero_shot", spec, drawings(tmp_path / "elsewhere"), shots=0, seed=0)
    assert moved == before, "the same images in another folder"


def test_another_process_waits_for_a_run_and_takes_its_result(
    task: vp.Task, make_runner: MakeRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second process finds the lock, waits, and returns the line that the first one has written."""
    spec = LearnerSpec.parse("zero_shot")
    done = make_runner().run("zero_shot", spec, task, shots=0, seed=0)
    runner = replace(make_runner(), results=None)
    runner.results_file.unlink()
    plan = runner.plan("zero_shot", spec, runner.build(spec, task, {"": task}, seed=0), task, [task], shots=0, seed=0)
    monkeypatch.setattr(runners, "evaluate", None)
    messages: SimpleQueue[str] = SimpleQueue()
    monkeypatch.setattr(files, "warn", messages.put)
    with ThreadPoolExecutor() as pool:
        with files.alone(runner.state_path(plan, ".lock")):
            waiting = pool.submit(runner.run, "zero_shot", spec, task, shots=0, seed=0)
            assert messages.get(timeout=60).startswith("another process runs zero_shot/digits/zero_shot-0shot-seed0-")
            results_file.append(runner.results_file, done)
        assert waiting.result() == done


def test_a_folder_that_cannot_be_written_is_noticed_before_training(
    task: vp.Task, make_runner: MakeRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    runner = replace(make_runner(), out=tmp_path / "file" / "runs")
    monkeypatch.setattr(runners, "fit", None)
    with pytest.raises(VlpromptError, match=r"the folder .*runs cannot be written"):
        runner.run("few_shot", LearnerSpec.parse("coop"), task.few_shot(1, 1), shots=1, seed=1)


def test_own_images_are_not_augmented_unless_the_published_setting_is_named(
    task: vp.Task, make_runner: MakeRunner, tmp_path: Path
) -> None:
    own = drawings(tmp_path / "a")
    assert [each.augment for each in (own, task)] == [False, False]
    published = replace(task, augment=True)

    def augment(text: str, where: vp.Task, **changed: str) -> str:
        spec = LearnerSpec.parse(text)
        return train_config(spec, changed, where, shots=1, seed=1).augment

    assert augment("coop", own) == augment("coop", task) == "none"
    assert augment("coop", published) == augment("coop:coop-paper", own) == "paper"
    assert augment("coop", own, augment="cached:3") == "cached:3"
    assert augment("tip_adapter", published) == "paper"
    assert augment("tip_adapter", published, augment="none") == "none", "it caches views of training images"
    assert augment("linear_probe", published, augment="paper") == "none", "it has no views"
