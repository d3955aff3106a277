"""Readers of several domains on small folders of the published layouts, whole and damaged."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from vlprompt.data import catalog
from vlprompt.data.readers.domains import read_domain_folders
from vlprompt.data.task import Task
from vlprompt.errors import UsageError, VlpromptError, VlpromptWarning

SEVERAL = ["domainnet", "office31", "office_caltech10", "office_home", "pacs", "visda17"]
FOLDERS = {
    "office_home": ("{}/Alarm_Clock", "{}/TV"),
    "office31": ("{}/images/back_pack", "{}/images/bike"),
    "office_caltech10": ("{}/backpack", "{}/mug"),
    "pacs": ("images/{}/dog", "images/{}/person"),
}


def touch(root: Path, folders: Mapping[str, int]) -> Path:
    """Empty images, 10 where a folder's number is 10."""
    for folder, count in folders.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (root / folder / f"{number:02}.jpg").touch()
    return root


@pytest.mark.parametrize("name", SEVERAL)
@pytest.mark.filterwarnings("error")
def test_descriptors_are_complete_and_errors_name_what_is_missing(name: str, tmp_path: Path) -> None:
    known = catalog.describe(name)
    assert known.sizes.keys() == known.domains.keys()
    assert known.homepage.startswith("https://")
    assert "https://" in known.source
    assert known.templates == ("a photo of a {}.",)
    assert known.licence
    assert known.metric == ("class_mean" if name == "visda17" else "top1")
    with pytest.raises(VlpromptError, match=rf"missing folder .*{known.folder}.*{known.source[:12]}"):
        catalog.load_task(name, tmp_path)
    (tmp_path / known.folder).mkdir()
    error = rf"missing (folder|file) .*{known.folder}/.*To get {known.title}"
    with pytest.raises(VlpromptError, match=error) as caught:
        catalog.load_task(name, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_of_the_published_layouts(name: str, tmp_path: Path) -> None:
    known = catalog.describe(name)
    layout = {each.format(folder): 10 for folder in known.domains.values() for each in FOLDERS[name]}
    touch(tmp_path / known.folder, layout)
    with pytest.warns(VlpromptWarning, match=r"amazon|art|published"):
        task = catalog.open_domains(name, tmp_path)
    assert task.domains == tuple(known.domains)
    assert task.classes == tuple(Path(each).name.lower() for each in FOLDERS[name])
    for number in range(len(task.domains)):
        counts = [sum(e.domain == number for e in part) for part in (task.train, task.val, task.test)]
        assert counts == [10, 4, 6]
    assert all(task.domains[e.domain] in str(e.item).lower() for e in task.train)
    assert all(task.classes[e.label] in str(e.item).lower() for e in task.test)


def test_domain_folders_may_have_the_archives_names(tmp_path: Path) -> None:
    folders = {f"{domain}/Mug": 3 for domain in ("Art", "Clipart", "Product", "Real World")}
    with pytest.warns(VlpromptWarning, match="real_world has 3 examples where 4357 were published"):
        task = catalog.load_task("office_home", touch(tmp_path / "office_home", folders).parent)
    assert task.domains == ("art", "clipart", "product", "real_world")


def visda(root: Path, *more: str) -> Path:
    """Lists as VisDA-17 has them, paths from the list's own folder."""
    for folder in ("train", "validation"):
        (root / "visda17" / folder).mkdir(parents=True)
        lines = [f"aeroplane/{i}.png 0" for i in range(10)] + [f"zebra/{i}.png 1" for i in range(10)]
        lines += ["ape/1.png 2", "", *(more if folder == "validation" else ())]
        (root / "visda17" / folder / "image_list.txt").write_text("\n".join(lines))
    return root


def domainnet(root: Path) -> Path:
    """Lists as DomainNet has them; class 1 is in the train list of each domain alone."""
    splits = root / "domainnet" / "splits"
    splits.mkdir(parents=True)
    for domain in catalog.describe("domainnet").domains:
        train = [f"{domain}/The_Eiffel_Tower/{i}.jpg 0\n{domain}/ant/{i}.jpg 1" for i in range(3)]
        (splits / f"{domain}_train.txt").write_text("\n".join(train))
        (splits / f"{domain}_test.txt").write_text(f"{domain}/The_Eiffel_Tower/9.jpg 0\n")
    return root


def test_lists_without_a_split(tmp_path: Path) -> None:
    with pytest.warns(VlpromptWarning, match="synthetic has 21 examples"):
        task = catalog.load_task("visda17", visda(tmp_path))
    assert task.domains == ("synthetic", "real")
    assert task.classes == ("aeroplane", "zebra", "ape"), "classes keep their published numbers"
    assert task.metric == "class_mean"
    assert [len(part) for part in (task.train, task.val, task.test)] == [22, 8, 12]
    first = next(example for example in task.train if example.domain == 1)
    assert first.item.parent == tmp_path / "visda17" / "validation" / "aeroplane"


def test_lists_with_a_published_split(tmp_path: Path) -> None:
    with pytest.warns(VlpromptWarning, match="sketch has 7 examples"):
        task = catalog.load_task("domainnet", domainnet(tmp_path))
    assert task.classes == ("the_eiffel_tower", "ant")
    assert [len(part) for part in (task.train, task.val, task.test)] == [36, 0, 6]
    assert {example.item.name for example in task.test} == {"9.jpg"}
    assert task.train[0].item == tmp_path / "domainnet/clipart/ant/0.jpg"


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("zebra/1.png 0", r"image_list.txt, line 23: label 0 is both 'aeroplane' and 'zebra'"),
        ("zebra/1.png one", r"line 23: expected CLASS/IMAGE and a label, found 'zebra/1.png one'"),
        ("1.png 1", r"line 23: expected CLASS/IMAGE"),
        ("zebra/1.png 7", r"class 'zebra' two labels"),
        ("bee/1.png 3", r"same classes; 'real' has 'bee' and 'synthetic' has not"),
    ],
)
def test_lists_that_contradict_themselves(line: str, error: str, tmp_path: Path) -> None:
    with pytest.raises(VlpromptError, match=error) as caught:
        catalog.load_task("visda17", visda(tmp_path, line))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("folders", "error"),
    [
        ({"art/cat": 2, "photo/cat": 2, "photo/dog": 2}, r"same classes; 'photo' has 'dog' and 'art' has not"),
        ({"art/cat": 2, "photo/cat": 0}, r"domain folder .*/photo has no images; expected .*found cat"),
        ({"art/cat": 2, "photo": 0}, r"domain folder .*/photo has no images; .*found nothing"),
        ({"art": 2, "photo": 2}, r"has no domain with class folders"),
    ],
)
def test_domains_with_different_classes_are_refused(folders: dict[str, int], error: str, tmp_path: Path) -> None:
    with pytest.raises(VlpromptError, match=error) as caught:
        Task.from_domains(touch(tmp_path, folders))
    assert "\n" not in str(caught.value)


def test_a_domain_without_class_folders_has_no_labels(tmp_path: Path) -> None:
    task = Task.from_domains(touch(tmp_path, {"art/cat": 4, "art/dog": 4, "new": 5}), template="a {}.")
    assert task.domains == ("art", "new")
    assert {example.label for example in task.train + task.test if example.domain == 1} == {-1}
    assert task.templates == ("a {}.",)


def test_a_class_in_one_domain_does_not_move_the_split_of_another(tmp_path: Path) -> None:
    small = read_domain_folders(touch(tmp_path / "small", {"art/cat": 9, "photo/cat": 9}))
    large = read_domain_folders(touch(tmp_path / "large", {"art/cat": 9, "photo/cat": 90}))
    kept: Callable[..., list[str]] = lambda found: [e.item.name for e in found.splits.test if e.domain == 0]  # noqa: E731
    assert kept(small) == kept(large)


def test_domains_are_opened_by_name_or_path(tmp_path: Path) -> None:
    folder = touch(tmp_path / "mine", {"art/cat": 4, "photo/cat": 4})
    assert catalog.open_domains(str(folder)).domains == ("art", "photo")
    with pytest.raises(UsageError, match=r"unknown data set of several domains 'office'; did you mean 'office"):
        catalog.open_domains("office")


def test_office_caltech10_from_the_shared_folder(shared: Path) -> None:
    if not (shared / "data" / "office-caltech10").is_dir():
        pytest.skip("no Office-Caltech10 there")
    task = catalog.load_task("office_caltech10", shared / "data")  # a warning would be an error: sizes are published
    assert len(task.train + task.val + task.test) == 2533


def test_names_that_are_not_unicode_are_refused(tmp_path: Path) -> None:
    (tmp_path / "photo" / "caf\udce9").mkdir(parents=True)
    with pytest.raises(VlpromptError, match=r"the name of class 0, 'caf.udce9', is not valid Unicode; rename it"):
        read_domain_folders(tmp_path)
