import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vlprompt.data.images import Example, Files
from vlprompt.data.task import Task, set_aside
from vlprompt.errors import UsageError, VlpromptError, VlpromptWarning

from .conftest import Draw


def examples(*labels: int) -> tuple[Example, ...]:
    return tuple(Example(i, label) for i, label in enumerate(labels))


def three_classes(per_class: int = 20) -> Task:
    labels = [i % 3 for i in range(3 * per_class)]
    return Task("three", ("ant", "bee", "cat"), train=examples(*labels), val=examples(*labels), test=examples(*labels))


@pytest.fixture
def photos(tmp_path: Path, draw_image: Draw) -> Path:
    """A folder of two classes with ten photos each."""
    for label, name in enumerate(("black_cat", "dog")):
        for i in range(10):
            draw_image(tmp_path / "photos" / name / f"{i}.png", seed=10 * label + i)
    return tmp_path / "photos"


def test_a_folder_is_a_task(photos: Path) -> None:
    task = Task.from_folder(photos, template="a picture of a {}.")
    assert task.name == "photos"
    assert task.classes == ("black_cat", "dog")
    assert task.templates == ("a picture of a {}.",)
    assert [len(task.train), len(task.val), len(task.test)] == [10, 4, 6]
    assert repr(task) == "Task('photos', 2 classes, 10 train, 4 val, 6 test)"
    drawn = task.few_shot(2, seed=1)
    assert [example.label for example in drawn.train] == [0, 0, 1, 1]
    assert drawn.test == task.test
    assert task.images.open(task.test[0].item).size == (40, 30)


def test_a_table_and_a_data_set_are_tasks(tmp_path: Path, draw_image: Draw) -> None:
    draw_image(tmp_path / "a.png")
    (tmp_path / "pets.csv").write_text("path,label,split\na.png,cat,train\na.png,dog,test\n")
    facts = r"1 of 2 .* no training .*: dog; 1 of 2 .* no test .*: cat; 1 of 1 test examples are also in train"
    with pytest.warns(VlpromptWarning, match=facts), pytest.warns(VlpromptWarning, match="different classes"):
        task = Task.from_csv(tmp_path / "pets.csv", template=("a {}.", "the {}."))
    assert (task.name, task.classes, len(task.train), len(task.test)) == ("pets", ("cat", "dog"), 1, 1)
    pairs = [(Image.new("RGB", (2, 2)), label) for label in (0, 1)]
    task = Task.from_dataset(pairs, test=pairs, classes=["cat", "dog"], name="pairs")
    assert [task.images.name(example.item) for example in task.test] == ["2", "3"]


def test_draws_are_repeatable_and_differ_by_seed() -> None:
    task = three_classes()
    assert task.few_shot(4, seed=1) == task.few_shot(4, seed=1)
    assert task.few_shot(4, seed=1) != task.few_shot(4, seed=2)
    assert task.few_shot(16, seed=1).split_hash == task.few_shot(16, seed=1).split_hash
    assert len(task.few_shot(16, seed=1).val) == 12


def test_train_is_drawn_alike_with_and_without_val() -> None:
    task = three_classes()
    assert dataclasses.replace(task, val=()).few_shot(4, seed=1).train == task.few_shot(4, seed=1).train


def test_short_classes_are_taken_whole_with_one_warning() -> None:
    task = dataclasses.replace(three_classes(), train=examples(0, 0, 0, 1, 1, 2))
    with pytest.warns(VlpromptWarning) as caught:
        drawn = task.few_shot(3, seed=1)
    assert len(drawn.train) == 6
    assert [str(each.message) for each in caught] == [
        "three: 2 of 3 classes have fewer than 3 training examples; all of them are used"
    ]


def test_draws_need_shots_and_labelled_examples() -> None:
    with pytest.raises(UsageError, match="shots must be 1 or more, got 0"):
        three_classes().few_shot(0, seed=1)
    with pytest.raises(UsageError, match="no training examples"):
        three_classes().whole().few_shot(1, seed=1)
    with pytest.raises(UsageError, match="unlabelled training examples"):
        Task("new", ("ant",), train=examples(-1)).few_shot(1, seed=1)


def test_base_and_new_share_no_class_and_lose_no_example() -> None:
    task = three_classes(2)
    base, new = task.base_and_new()
    assert (base.classes, new.classes) == (("ant", "bee"), ("cat",))
    assert (base.test_name, new.test_name) == ("base", "new")
    assert [example.label for example in new.test] == [0, 0]
    assert [example.item for example in new.test] == [2, 5]
    assert len(base.train) + len(new.train) == len(task.train)
    with pytest.raises(UsageError, match="at least 2"):
        new.base_and_new()


def test_base_and_new_are_halves_of_the_labels_in_train() -> None:
    task = Task("gaps", tuple("abcde"), train=examples(4, 0, 3), test=examples(0, 1, 2, 3, 4))
    base, new = task.base_and_new()
    assert (base.classes, new.classes) == (("a", "d"), ("e",))
    assert [example.item for example in base.test] == [0, 3]


def test_whole_has_all_examples_in_test() -> None:
    whole = three_classes(2).whole()
    assert (len(whole.train), len(whole.val), len(whole.test), whole.test_name) == (0, 0, 18, "all")


def test_split_hash_depends_on_the_examples_and_not_on_the_folder(photos: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "my photos"
    shutil.copytree(photos, moved)
    task, same = Task.from_folder(photos), Task.from_folder(moved)
    assert task.split_hash == same.split_hash
    others = [
        dataclasses.replace(task, test=task.test[1:]),
        dataclasses.replace(task, test=task.test[::-1]),
        dataclasses.replace(task, classes=("cat", "dog")),
        dataclasses.replace(task, val=task.val + task.test[:1], test=task.test[1:]),
        dataclasses.replace(task, test=(Example(task.test[0].item, 1), *task.test[1:])),
    ]
    assert len({each.split_hash for each in [task, *others]}) == 6


def test_split_hash_of_names_that_are_not_utf8() -> None:
    task = Task("odd", ("a",), test=(Example(Path("\udcff.png"), 0),), images=Files())
    assert len(task.split_hash) == 64


@pytest.mark.parametrize("template", ["a photo", "{} and {}", "", "a photo of a {0}."])
def test_a_template_holds_the_name_once(template: str) -> None:
    with pytest.raises(UsageError, match=r"must hold .* exactly once"):
        Task("t", ("a",), (template,))


@pytest.mark.parametrize("classes", [(), ("",), ("cat", "  ")])
def test_classes_need_names(classes: tuple[str, ...]) -> None:
    with pytest.raises(VlpromptError, match=r"needs classes with names|has an empty name"):
        Task("t", classes)


@pytest.mark.parametrize("label", [2, -2])
def test_labels_must_be_classes(label: int) -> None:
    with pytest.raises(VlpromptError, match=f"example 1 in val of task 't' has label {label}; there are 2 classes"):
        Task("t", ("a", "b"), val=examples(0, label))


def test_wrong_templates_words_and_metrics_are_refused() -> None:
    with pytest.raises(UsageError, match="template must be a string or several, not empty"):
        Task("t", ("a",), ())
    with pytest.raises(UsageError, match="template must be a string or several"):
        Task("t", ("a",), (), words=(("a",),))
    with pytest.raises(UsageError, match="label words for 2"):
        Task("t", ("a",), words=(("a",), ("b",)))
    with pytest.raises(UsageError, match="did you mean 'top1'"):
        Task("t", ("a",), metric="top")


def test_the_draw_on_real_data_has_files_that_exist(shared: Path) -> None:
    from vlprompt.data.catalog import load_task

    with pytest.warns(VlpromptWarning, match="train has 2692 examples where 4128 were published"):
        task = load_task("caltech101", shared / "data")
    assert (len(task.classes), len(task.test)) == (100, 2465)
    for seed in (1, 2, 3):
        drawn = task.few_shot(16, seed)
        assert (len(drawn.train), len(drawn.val)) == (1600, 400)
        assert all(Path(str(example.item)).is_file() for example in drawn.train + drawn.val)


def test_examples_set_aside_leave_train_and_lose_their_labels() -> None:
    task = three_classes()
    other = set_aside(task, 45)
    assert (len(other.train), len(other.unlabelled)) == (15, 45)
    assert {example.item for example in other.train}.isdisjoint({example.item for example in other.unlabelled})
    assert {example.label for example in other.unlabelled} == {-1}
    assert (other.val, other.test) == (task.val, task.test)
    assert set_aside(task, 45) == other != set_aside(task, 45, seed=1)
    assert len(set_aside(other, 5).unlabelled) == 50
    assert other.few_shot(2, seed=1).unlabelled == other.unlabelled
    for count in (0, 60, 61):
        with pytest.raises(UsageError, match=f"60 training examples; {count} of them cannot be set aside"):
            set_aside(task, count)


def test_parts_of_a_task_belong_to_its_data_set() -> None:
    task = dataclasses.replace(three_classes(), dataset="food101")
    parts = [task.few_shot(1, seed=1), *task.base_and_new(), task.whole(), set_aside(task, 5)]
    assert {part.dataset for part in parts} == {"food101"}
    assert three_classes().dataset == ""
    assert task.template == "a photo of a {}."


@pytest.mark.parametrize("name", ["../../x", "a/../b", "/etc", "a//b", "", "a\\b", "a\x1b[2J", "two\nlines", None, 5])
def test_a_name_is_no_path_to_elsewhere(name: str) -> None:
    with pytest.raises(UsageError, match="name"):
        Task(name, ("a", "b"))
    assert Task("vtab/kitti-v1.5", ("a", "b")).name == "vtab/kitti-v1.5"


def test_names_of_folders_are_cleaned(tmp_path: Path, draw_image: Draw) -> None:
    root = tmp_path / "v1.5 \x1b[2J\\x"
    for place in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
        draw_image(root / place)
    assert Task.from_folder(root).name == "v1.5 _[2J_x"
    assert Task.from_folder(str(root), name="mine").name == "mine"


@pytest.mark.parametrize(
    "words", [["bad", "good"], [["bad"], "good"], (("bad",), ("good",)), np.array(["bad", "good"])]
)
def test_a_string_is_one_label_word(words: Any) -> None:
    task = Task("t", ("n", "p"), ("{text} {mask}",), words=words)
    assert task.words == (("bad",), ("good",))
    rows = [{"text": f"text {n}", "label": n % 2} for n in range(8)]
    assert Task.from_text_dataset(rows, template="{text} {mask}", words=words, classes=["n", "p"]).words == task.words


@pytest.mark.parametrize(
    "words", ["bad good", b"x", {"n": "bad"}, 5, [None, "a"], [[], ["a"]], ["a", " "], [["a"], [1]]]
)
def test_other_label_words_are_refused(words: Any) -> None:
    with pytest.raises(UsageError, match="words"):
        Task("t", ("n", "p"), ("{text} {mask}",), words=words)


def test_lists_become_tuples_and_other_kinds_are_refused() -> None:
    task = Task("t", ["a", 2], "a {}.", [Example(Path("x"), 0)])  # type: ignore[arg-type]
    assert (task.classes, task.templates, task.train) == (("a", "2"), ("a {}.",), (Example(Path("x"), 0),))
    assert Task("t", ("a", "b"), train=iter(task.train)).train == task.train  # type: ignore[arg-type]
    for fields in (
        {"classes": "cat"}, {"classes": None}, {"classes": [None, "a"]}, {"classes": b"ab"}, {"templates": None},
        {"templates": [b"a {}."]}, {"templates": 5}, {"train": "x.png"}, {"train": ["x.png"]}, {"test": 5},
        {"val": None},
    ):  # fmt: skip
        with pytest.raises(UsageError):
            Task("t", **({"classes": ("a", "b")} | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize("label", [True, 1.0, "1", None, np.int64(1)])
def test_labels_of_examples_are_whole_numbers(label: Any) -> None:
    with pytest.raises(UsageError, match=r"example 0 in test of task 't' has label .*; both must be whole numbers"):
        Task("t", ("a", "b"), test=(Example(Path("x"), label),))


@pytest.mark.parametrize("shots", ["4", True, 2.5, None, [4]])
def test_shots_and_seeds_are_whole_numbers(shots: Any) -> None:
    task = Task("t", ("a",), train=(Example(Path("x"), 0),))
    with pytest.raises(UsageError, match="shots must be a whole number"):
        task.few_shot(shots, 1)
    with pytest.raises(UsageError, match="the seed must be a whole number"):
        task.few_shot(1, shots)
    assert task.few_shot(np.int64(1), 1).train == task.train


@pytest.mark.parametrize("path", [None, "", 5, b"photos", ["photos"], "x" * 5000, "~nobody-9/x"])
def test_paths_are_strings_or_paths(path: Any) -> None:
    for read in (Task.from_folder, Task.from_csv, Task.from_domains):
        with pytest.raises(UsageError, match=r"expected a path|is no path"):
            read(path)
    with pytest.raises(UsageError, match=r"expected a path|is no path"):
        Task.from_texts(path, template="{text} {mask}")
