import json
import tomllib
from pathlib import Path

import pytest

from vlprompt.data import catalog
from vlprompt.errors import UsageError, VlpromptError, VlpromptWarning

TEXTS = [
    "ag_news", "boolq", "cb", "cola", "copa", "entity_typing", "lama", "mnli", "mrpc", "multiple_choice", "qnli", "qqp",
    "reviews", "rte", "sst2", "title_choice", "wic", "winogrande", "wsc",
]  # fmt: skip
PUBLISHED = [
    "caltech101",
    "digits",
    "digits-c",
    "dtd",
    "eurosat",
    "fgvc_aircraft",
    "food101",
    "imagenet",
    "imagenet_a",
    "imagenet_r",
    "imagenet_sketch",
    "imagenetv2",
    "oxford_flowers",
    "oxford_pets",
    "stanford_cars",
    "sun397",
    "ucf101",
]
SEVERAL_DOMAINS = ["domainnet", "office31", "office_caltech10", "office_home", "pacs", "visda17"]  # test_domain_readers
BY_DOMAIN = ["core50", "five_datasets"]  # their domains are sessions and data sets, one after the other
VISUAL = ["cifar10", "cifar100", "cub200", "imagenet_r_split", "nabirds", "stanford_dogs", "vtab"]
CLASSES = {"a": 0, "b": 1}


def eurosat(root: Path) -> Path:
    """The smallest folder with EuroSAT's layout."""
    place = root / "eurosat"
    (place / "2750").mkdir(parents=True)
    rows = [[f"{name}/1.jpg", label, name] for name, label in CLASSES.items()]
    split = {"train": rows, "val": rows, "test": rows}
    (place / "split_zhou_EuroSAT.json").write_text(json.dumps(split))
    return place


def test_the_catalogue_has_the_data_sets_of_the_papers() -> None:
    assert catalog.names() == sorted(PUBLISHED + SEVERAL_DOMAINS + BY_DOMAIN + VISUAL + TEXTS)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_descriptor_is_complete(name: str) -> None:
    known = catalog.describe(name)
    assert known.reader in catalog.READERS
    assert all(template.count("{}") == 1 and template.endswith(".") for template in known.templates)
    assert known.classes > 1
    assert known.licence
    assert known.homepage.startswith("https://")
    assert "scikit-learn" in known.source or "DATASETS.md, section" in known.source
    assert set(known.sizes) <= {"train", "val", "test"}
    assert known.folder or name in ("digits", "digits-c")
    assert (known.reader == "split_file") == known.split.startswith("split_zhou_")


@pytest.mark.parametrize("name", [*VISUAL, *BY_DOMAIN, "cub200/vpt", "nabirds/vpt", "stanford_dogs/vpt"])
@pytest.mark.filterwarnings("error")
def test_descriptors_of_visual_prompts_and_streams(name: str, tmp_path: Path) -> None:
    known = catalog.describe(name)
    assert known.reader in catalog.READERS
    assert all(template.count("{}") == 1 and template.endswith(".") for template in known.templates)
    assert known.licence
    assert known.homepage.startswith("http")
    assert "http" in known.source
    assert set(known.sizes) <= {"train", "test", *known.domains}
    what = "vtab/kitti" if name == "vtab" else name
    with pytest.raises(VlpromptError, match=rf"^missing folder .*{known.folder} .* To get {known.title}.*, see .*http"):
        catalog.load_task(what, tmp_path)
    (tmp_path / known.folder).mkdir()
    with pytest.raises(VlpromptError, match=rf"^missing (file|folder) .*{known.folder}/.*\. To get .*http") as caught:
        catalog.load_task(what, tmp_path)
    assert "\n" not in str(caught.value)


def test_vtab_is_nineteen_tasks(tmp_path: Path) -> None:
    known = catalog.describe("vtab")
    assert len(known.parts) == 19
    tasks = [catalog.describe(f"vtab/{part}") for part in known.parts]
    assert sum(task.classes for task in tasks) == known.classes
    assert (tasks[4].title, tasks[4].classes, tasks[4].sizes) == ("VTAB-1k: Pets", 37, {"test": 3669})
    assert catalog.describe("vtab/kitti-final").classes == 4
    with pytest.raises(UsageError, match=r"^unknown part of vtab 'kity'; did you mean 'kitti'"):
        catalog.describe("vtab/kity")
    place = tmp_path / "vtab-1k" / "kitti"
    place.mkdir(parents=True)
    for name in ("train800", "val200", "train800val200", "test"):
        (place / f"{name}.txt").write_text(f"images/{name}.png 3\n")
    with pytest.warns(VlpromptWarning, match="test has 1 examples where 711 were published"):
        task = catalog.open_task("vtab/kitti", tmp_path)
    assert (task.name, len(task.classes), len(task.val)) == ("vtab/kitti", 4, 1)
    with pytest.warns(VlpromptWarning, match=r"vtab/kitti-final: test has"):
        final = catalog.load_task("vtab/kitti-final", place.parent)
    assert final.val == ()
    assert final.split_hash != task.split_hash
    with pytest.raises(UsageError, match=r"'vtab' is no task of VTAB-1k"):
        catalog.load_task("vtab", tmp_path)


def test_a_part_may_have_a_reader_of_its_own(tmp_path: Path) -> None:
    place = tmp_path / "CUB_200_2011"
    (place / "images").mkdir(parents=True)
    for number, part in enumerate(("train", "val", "test")):
        (place / f"{part}.json").write_text(json.dumps({f"001.Tern/{number}.jpg": 1}))
    with pytest.warns(VlpromptWarning, match="cub200/vpt: test has 1 examples where 5794"):
        task = catalog.load_task("cub200/vpt", tmp_path)
    assert task.classes == ("Tern",)
    assert task.templates == ("a photo of a {}, a type of bird.",)
    with pytest.raises(UsageError, match=r"unknown part of cub200 'vtp'; did you mean 'vpt'"):
        catalog.load_task("cub200/vtp", tmp_path)
    with pytest.raises(VlpromptError, match=r"missing file .*classes.txt"):
        catalog.load_task("cub200", tmp_path)


def test_core50_comes_as_sessions(tmp_path: Path) -> None:
    for session in range(1, 12):
        for thing in range(1, 51):
            folder = tmp_path / "core50" / "core50_128x128" / f"s{session}" / f"o{thing}"
            folder.mkdir(parents=True)
            (folder / "C.png").touch()
    with pytest.warns(VlpromptWarning, match="train has 400 examples where 119894"):
        task = catalog.open_domains("core50", tmp_path)
    assert task.domains[:2] == ("s1", "s2")
    assert task.domains == tuple(catalog.describe("core50").domains)


@pytest.mark.parametrize("name", TEXTS)
def test_every_descriptor_of_texts_is_complete(name: str) -> None:
    known = catalog.describe(name)
    assert known.reader in catalog.READERS
    assert all(template.count("{mask}") == 1 for template in known.templates)
    assert known.classes == len(known.class_names) == len(known.words)
    assert known.licence
    assert known.homepage
    assert known.folder or name == "reviews"
    assert set(known.sizes) <= {"train", "val", "test"}


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name not in ("digits", "digits-c")])
@pytest.mark.filterwarnings("error")
def test_errors_name_what_is_missing_and_where_to_get_it(tmp_path: Path, name: str) -> None:
    known = catalog.describe(name)
    with pytest.raises(VlpromptError) as caught:
        catalog.load_task(name, tmp_path)
    assert str(tmp_path / known.folder) in str(caught.value)
    assert "DATASETS.md" in str(caught.value)
    (tmp_path / known.folder).mkdir()
    with pytest.raises(VlpromptError) as caught:
        catalog.load_task(name, tmp_path)
    assert "missing file" in str(caught.value)
    assert "DATASETS.md" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_names_are_errors_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match=r"unknown data set 'caltech_101'; did you mean 'caltech101'.*from_folder"):
        catalog.load_task("caltech_101")
    with pytest.raises(UsageError, match=r"unknown data set '../digits'"):
        catalog.describe("../digits")


def test_the_root_may_be_the_folder_above_or_the_data_sets_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = eurosat(tmp_path)
    renamed = eurosat(tmp_path / "copy").rename(tmp_path / "my_eurosat")
    monkeypatch.chdir(place)
    with pytest.warns(VlpromptWarning):
        tasks = [catalog.load_task("eurosat", root) for root in (tmp_path, str(place), renamed, Path())]
    assert len({task.split_hash for task in tasks}) == 1
    assert tasks[0].classes == ("a", "b")
    assert tasks[0].templates == ("a centered satellite photo of {}.",)
    monkeypatch.setenv("VLPROMPT_DATA", str(tmp_path))
    with pytest.warns(VlpromptWarning):
        assert catalog.load_task("eurosat") == tasks[0]


def test_warns_about_data_that_differ_from_the_published(tmp_path: Path) -> None:
    eurosat(tmp_path)
    with pytest.warns(VlpromptWarning) as caught:
        catalog.load_task("eurosat", tmp_path)
    assert [str(each.message) for each in caught] == [
        "eurosat: train has 2 examples where 13500 were published, val has 2 examples where 5400 were published, "
        "test has 2 examples where 8100 were published, it has 2 classes where 10 were published; "
        "results cannot be compared with published ones"
    ]


def test_errors_name_the_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(VlpromptError, match=r"missing folder .*nowhere/eurosat \(.*nowhere is missing too\)"):
        catalog.load_task("eurosat", tmp_path / "nowhere")
    with pytest.raises(VlpromptError, match=r"missing folder .*eurosat \(it holds no such folder\)"):
        catalog.load_task("eurosat", tmp_path)


def test_digits_need_no_folder() -> None:
    task = catalog.load_task("digits")
    assert task.classes[0] == "zero"
    assert task.templates == ("a photo of the digit {}.",)
    assert catalog.load_task("digits").split_hash == task.split_hash


def test_each_descriptor_has_the_reader_of_its_layout(tmp_path: Path) -> None:
    names = "".join(f"n{i} name {i}\n" for i in range(3))
    layouts = {
        "imagenet": ["images/train/n0", "images/val/n0"],
        "imagenetv2": [f"imagenetv2-matched-frequency-format-val/{i}" for i in range(3)],
        "imagenet_sketch": ["images/n0"],
        "imagenet_a": ["imagenet-a/n1"],
        "imagenet_r": ["imagenet-r/n2"],
    }
    for name, folders in layouts.items():
        place = tmp_path / catalog.describe(name).folder
        for folder in folders:
            (place / folder).mkdir(parents=True)
            (place / folder / "1.JPEG").touch()
        if name == "imagenet":
            (place / "classnames.txt").write_text(names)
    found = {}
    for name in layouts:
        with pytest.warns(VlpromptWarning, match="published"):
            found[name] = catalog.load_task(name, tmp_path)
    assert {name: len(task.test) for name, task in found.items()} == dict(zip(layouts, (1, 3, 1, 1, 1), strict=True))
    assert found["imagenet_a"].classes == ("name 1",)


def test_descriptors_hold_only_known_fields() -> None:
    folder = Path(__file__).parents[2] / "datasets"
    for file in folder.glob("*.toml"):
        assert set(tomllib.loads(file.read_text())) <= set(catalog.Descriptor.__dataclass_fields__) - {"name", "hint"}
    assert not list(folder.glob("*.py"))


@pytest.mark.parametrize("what", ["./photos", "/nowhere/photos", "~/photos-of-nobody", "photos/cats"])
def test_a_path_that_does_not_exist_is_reported_as_such(what: str) -> None:
    for opened in (catalog.open_task, catalog.open_domains, catalog.open_texts):
        with pytest.raises(UsageError, match=f"no such file or folder: {what};"):
            opened(what)
