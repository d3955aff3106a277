from pathlib import Path

import pytest

from vlprompt.data.readers.aircraft import read_aircraft
from vlprompt.data.readers.listing import DataError


def aircraft(root: Path) -> Path:
    (root / "images").mkdir()
    (root / "variants.txt").write_text("A300B4\n707-320\n")
    for part, lines in {"train": "002 707-320\n001 A300B4\n", "val": "", "test": "003 707-320\n\n"}.items():
        (root / f"images_variant_{part}.txt").write_text(lines)
    return root


def test_labels_count_the_lines_of_variants(tmp_path: Path) -> None:
    listing = read_aircraft(aircraft(tmp_path), tmp_path / "images")
    assert listing.classes == ("A300B4", "707-320")
    assert [(listing.images.name(e.item), e.label) for e in listing.splits.train] == [("002.jpg", 1), ("001.jpg", 0)]
    assert [len(part) for part in listing.splits] == [2, 0, 1]


def test_errors_name_the_line_with_an_unknown_variant(tmp_path: Path) -> None:
    (aircraft(tmp_path) / "images_variant_val.txt").write_text("004 A300B4\n005 707-32\n")
    with pytest.raises(DataError, match=r"val.txt, line 2: unknown variant '707-32'; did you mean '707-320'"):
        read_aircraft(tmp_path, tmp_path / "images")


def test_errors_name_the_missing_list(tmp_path: Path) -> None:
    (aircraft(tmp_path) / "images_variant_test.txt").unlink()
    with pytest.raises(DataError, match=r"missing file .*images_variant_test.txt.*"):
        read_aircraft(tmp_path, tmp_path / "images")
