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
CLASSES = {"a": 0, "b": 1}


def eurosat(root: Path) -> Path:
    """The smallest thing that passes for EuroSAT."""
    place = root / "eurosat"
    (place / "2750").mkdir(parents=True)
    rows = [[f"{name}/1.jpg", label, name] for name, label in CLASSES.items()]
    split = {"train": rows, "val": rows, "test": rows}
    (place / "split_zhou_EuroSAT.json").write_text(json.dumps(split))
    return place


def test_knows_the_data_sets_of_the_papers() -> None:
    assert catalog.names() == sorted(PUBLISHED + SEVERAL_DOMAINS + TEXTS)


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
def test_says_exactly_what_is_missing_and_where_to_get_it(tmp_path: Path, name: str) -> None:
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


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown data set 'caltech_101'; did you mean 'caltech101'.*from_folder"):
        catalog.load_task("caltech_101")
    with pytest.raises(UsageError, match=r"unknown data set '../digits'"):
        catalog.describe("../digits")


def test_takes_the_folder_above_or_the_data_sets_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_warns_of_data_that_differ_from_the_published(tmp_path: Path) -> None:
    eurosat(tmp_path)
    with pytest.warns(VlpromptWarning) as caught:
        catalog.load_task("eurosat", tmp_path)
    assert [str(each.message) for each in caught] == [
        "eurosat: train has 2 examples where 13500 were published, val has 2 examples where 5400 were published, "
        "test has 2 examples where 8100 were published, it has 2 classes where 10 were published; "
        "figures cannot be compared with published ones"
    ]


def test_says_what_is_there_in_place_of_the_folder(tmp_path: Path) -> None:
    with pytest.raises(VlpromptError, match=r"missing folder .*nowhere/eurosat \(.*nowhere is not there either\)"):
        catalog.load_task("eurosat", tmp_path / "nowhere")
    with pytest.raises(VlpromptError, match=r"missing folder .*eurosat \(it holds no such folder\)"):
        catalog.load_task("eurosat", tmp_path)


def test_digits_need_no_folder() -> None:
    task = catalog.load_task("digits")
    assert task.classes[0] == "zero"
    assert task.templates == ("a photo of the digit {}.",)
    assert catalog.load_task("digits").split_hash == task.split_hash


def test_each_reader_is_wired_to_its_layout(tmp_path: Path) -> None:
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
