from pathlib import Path
from typing import Any

import pytest

from vlprompt.data.images import BadImageError
from vlprompt.data.readers.table import read_csv
from vlprompt.errors import UsageError, VlpromptError, VlpromptWarning


def table(folder: Path, text: str | bytes, name: str = "t.csv") -> Path:
    file = folder / name
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def test_reads_splits_and_sorts_class_names(tmp_path: Path) -> None:
    rows = "path,label,split\nx/1.png,dog,train\n/abs/2.png,cat,Valid\n3.png,dog,test\n"
    listing = read_csv(table(tmp_path, rows))
    assert listing.classes == ("cat", "dog")
    assert [[(e.item, e.label) for e in part] for part in listing.splits] == [
        [(tmp_path / "x/1.png", 1)],
        [(Path("/abs/2.png"), 0)],
        [(tmp_path / "3.png", 1)],
    ]


def test_columns_root_and_delimiter_are_options(tmp_path: Path) -> None:
    rows = "\ufefffile;animal;fold\n1.png;a;dev\n2.png;b;training\n"
    listing = read_csv(
        table(tmp_path, rows),
        path_column="file",
        label_column="animal",
        split_column="fold",
        delimiter=";",
        root=tmp_path / "images",
    )
    assert [len(part) for part in listing.splits] == [1, 1, 0]
    assert listing.images.name(listing.splits.train[0].item) == "2.png"
    tabbed = read_csv(table(tmp_path, "path\tlabel\na b.png\tx,y\n", "t.tsv"))
    assert tabbed.classes == ("x,y",)


def test_without_a_split_column_rows_are_split(tmp_path: Path) -> None:
    rows = "path,label\n" + "".join(f"{i}.png,{'ab'[i % 2]}\n" for i in range(20))
    assert [len(part) for part in read_csv(table(tmp_path, rows)).splits] == [10, 4, 6]


def test_with_given_class_names_labels_may_be_numbers(tmp_path: Path) -> None:
    listing = read_csv(table(tmp_path, "path,label,split\n1.png,1,test\n2.png,cat,test\n"), classes=["cat", "dog"])
    assert listing.classes == ("cat", "dog")
    assert [example.label for example in listing.splits.test] == [1, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\n1.png,a\n,b\n", "t.csv, line 3: column 'path' is empty"),
        ("path,label\n1.png,a\n2.png\n", "t.csv, line 3: 1 columns where the header has 2"),
        ("path,label,split\n1.png,a,train\n2.png,a,exam\n", "line 3: unknown split 'exam'"),
        ("path,label,split\n1.png,a,train\n2.png,a\n", "line 3: 2 columns where the header has 3"),
        ('path,label\n1.png,a\n"2.png,b\n3.png,c\n', "line 4: unexpected end of data"),
        (b"path,label\n1.png,a\n2.png,\xff\n", "line 3: not UTF-8 text"),
        (b"PK\x03\x04\x00\xff", "line 1: not UTF-8 text"),
        ("path,label\n", "a header but no rows"),
    ],
)
def test_errors_name_the_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(VlpromptError, match=message) as caught:
        read_csv(table(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_label_outside_the_classes_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(VlpromptError, match="line 2: unknown class 'catt'; did you mean 'cat'"):
        read_csv(table(tmp_path, "path,label\n1.png,catt\n"), classes=["cat", "dog"])
    with pytest.raises(VlpromptError, match="line 2: unknown class '2'"):
        read_csv(table(tmp_path, "path,label\n1.png,2\n"), classes=["cat", "dog"])


def test_missing_columns_and_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no column 'path'; its columns are: image, label"):
        read_csv(table(tmp_path, "image,label\n1.png,a\n"), path_column="path")
    with pytest.raises(UsageError, match=r"no column 'path'; its columns are: picture, label; .* or give path_column="):
        read_csv(table(tmp_path, "picture,label\n1.png,a\n"))
    with pytest.raises(UsageError, match=r"no column 'fold'; its columns are: path, label"):
        read_csv(table(tmp_path, "path,label\n1.png,a\n"), split_column="fold")
    with pytest.raises(UsageError, match=r"t\.csv is empty"):
        read_csv(table(tmp_path, ""))
    with pytest.raises(VlpromptError, match=r"missing file .*gone.csv \(its folder holds t.csv\)"):
        read_csv(tmp_path / "gone.csv")


@pytest.mark.parametrize("column", ["path", "file", "Filename", " image", "FilePath", "file_name", "Image Path"])
def test_the_column_of_paths_has_several_names(tmp_path: Path, column: str) -> None:
    listing = read_csv(table(tmp_path, f",{column};label\n0,a.png;x\n1,b.png;y\n".replace(",", ";")))
    assert {example.item for split in listing.splits for example in split} == {tmp_path / "a.png", tmp_path / "b.png"}


@pytest.mark.parametrize("text", ["img\\circle\\1.png", ".\\img\\circle\\1.png", "img\\circle/1.png"])
def test_backslashes_separate_folders(tmp_path: Path, text: str) -> None:
    listing = read_csv(table(tmp_path, f"path,label,split\r\n{text},a,test\r\n"))
    assert listing.splits.test[0].item == tmp_path / "img/circle/1.png"


def test_a_file_may_have_a_backslash_in_its_name(tmp_path: Path) -> None:
    (tmp_path / "a\\b.png").touch()
    listing = read_csv(table(tmp_path, "path,label,split\na\\b.png,a,test\n"))
    assert listing.splits.test[0].item == tmp_path / "a\\b.png"


def test_the_home_folder_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    listing = read_csv(table(tmp_path, "path,label,split\n~/x.png,a,test\n"))
    assert listing.splits.test[0].item == tmp_path / "x.png"


@pytest.mark.parametrize("missing", ["", "NaN", "null", "None"])
def test_missing_paths_and_labels_name_the_line(tmp_path: Path, missing: str) -> None:
    with pytest.raises(VlpromptError, match="line 3: column 'label' is empty"):
        read_csv(table(tmp_path, f"path,label\n1.png,a\n2.png,{missing}\n"))
    with pytest.raises(VlpromptError, match="line 2: column 'file' is empty"):
        read_csv(table(tmp_path, f"file,label\n{missing},a\n"))


def test_repeated_rows_and_images_of_two_classes_are_counted(tmp_path: Path) -> None:
    with pytest.warns(VlpromptWarning, match=r"t.csv: 2 rows repeat another one and are left out"):
        listing = read_csv(table(tmp_path, "path,label\n1.png,a\n2.png,b\n1.png,a\n1.png,a\n"))
    assert sum(map(len, listing.splits)) == 2
    with pytest.warns(VlpromptWarning, match=r"1 images are in rows of different classes; the first: .*1.png"):
        read_csv(table(tmp_path, "path,label\n1.png,a\n1.png,b\n"))


def test_numbers_are_classes_in_order_of_their_value(tmp_path: Path) -> None:
    rows = "".join(f"{n}.png,{n}\n" for n in (10, 9, 1))
    assert read_csv(table(tmp_path, "path,label\n" + rows)).classes == ("1", "9", "10")


@pytest.mark.parametrize(
    "options",
    [
        {"path_column": 5},
        {"label_column": None},
        {"split_column": None},
        {"delimiter": ";;"},
        {"root": 5},
        {"classes": 5},
    ],
)
def test_options_of_another_type_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        read_csv(table(tmp_path, "path,label\n1.png,a\n2.png,b\n"), **options)


@pytest.mark.parametrize("path", ["~nobody-of-this-name/x.png", "\\" + "a" * 5000, "a\0b.png"])
def test_odd_paths_are_kept(tmp_path: Path, path: str) -> None:
    listing = read_csv(table(tmp_path, f"path,label,split\n{path},a,test\n"))
    with pytest.raises(BadImageError):
        listing.images.open(listing.splits.test[0].item)
