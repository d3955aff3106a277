import hashlib
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vlprompt.data.images import BadImageError, BadImages, Files, Indexed, is_image_name
from vlprompt.errors import VlpromptWarning

from .conftest import Draw


def test_opens_every_mode_as_rgb(tmp_path: Path) -> None:
    for mode in ("L", "P", "1", "RGBA", "CMYK", "I;16", "LA"):
        file = tmp_path / f"{mode[:1]}{len(mode)}.tif"
        Image.new(mode, (3, 2)).save(file)
        image = Files().open(file)
        assert (image.mode, image.size) == ("RGB", (3, 2))


def test_ignores_the_orientation_of_exif(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    Image.new("RGB", (30, 20)).save(tmp_path / "turned.jpg", exif=exif)
    assert Files().open(tmp_path / "turned.jpg").size == (30, 20)


def test_names_the_file_that_is_truncated(tmp_path: Path, draw_image: Draw) -> None:
    for suffix in ("jpg", "png", "bmp", "gif", "webp"):
        file = draw_image(tmp_path / f"cut.{suffix}")
        file.write_bytes(file.read_bytes()[:200])
        with pytest.raises(BadImageError, match=f"cut.{suffix}"):
            Files().open(file)


def test_errors_are_one_line_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    expected = {"text.jpg": "not an image", "empty.png": "not an image", "folder.png": "", "gone.jpg": "no such file"}
    for name, reason in expected.items():
        with pytest.raises(BadImageError, match=f"{name}.*{reason}") as caught:
            Files().open(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_digest_depends_on_the_content_only(tmp_path: Path, draw_image: Draw) -> None:
    one, other = draw_image(tmp_path / "a" / "1.png"), draw_image(tmp_path / "b" / "2.png")
    assert Files().digest(one) == Files().digest(other) == hashlib.sha256(one.read_bytes()).hexdigest()
    assert Files().digest(draw_image(tmp_path / "c.png", seed=1)) != Files().digest(one)
    with pytest.raises(BadImageError, match="no such file"):
        Files().digest(tmp_path / "gone")


def test_stamp_changes_with_size_time_and_place(tmp_path: Path, draw_image: Draw) -> None:
    file = draw_image(tmp_path / "a.png")
    stamp = Files().stamp(file)
    os.utime(file, ns=(1, 1))
    later = Files().stamp(file)
    assert later != stamp
    file.write_bytes(file.read_bytes() + b"!")
    os.utime(file, ns=(1, 1))
    assert Files().stamp(file) != later
    with pytest.raises(BadImageError, match="no such file"):
        Files().stamp(tmp_path / "gone")


def test_stamp_of_a_relative_path_is_absolute(
    tmp_path: Path, draw_image: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = draw_image(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    assert Files().stamp(Path("a.png")) == Files().stamp(file)


def test_names_are_relative_to_the_root(tmp_path: Path) -> None:
    assert Files(tmp_path).name(tmp_path / "cat" / "1.png") == "cat/1.png"
    assert Files(tmp_path / "other").name(tmp_path / "1.png") == (tmp_path / "1.png").as_posix()


def test_indexed_counts_through_all_parts() -> None:
    grey = [np.full((4, 4), value, dtype=np.uint8) for value in range(5)]
    images = Indexed([(grey[0], 0), (grey[1], 1)], [], [{"image": Image.fromarray(pixels)} for pixels in grey[2:]])
    assert len(images) == 5
    assert [images.open(i).getpixel((0, 0)) for i in range(5)] == [(v, v, v) for v in range(5)]
    assert len({images.digest(i) for i in range(5)}) == 5
    assert (images.name(3), images.stamp(3)) == ("3", "")


def test_indexed_digest_depends_on_the_shape() -> None:
    flat, tall = np.zeros((2, 8), dtype=np.uint8), np.zeros((8, 2), dtype=np.uint8)
    images = Indexed([(flat,), (tall,)])
    assert images.digest(0) != images.digest(1)


def test_indexed_refuses_tensors_and_reports_damaged_images() -> None:
    class Broken(list[object]):
        def __getitem__(self, position: object) -> object:
            raise OSError("image file is truncated")

    with pytest.raises(BadImageError, match=r"number 0 is a float.*without a transform"):
        Indexed([(1.0, 0)]).open(0)
    with pytest.raises(BadImageError, match="image number 0: image file is truncated"):
        Indexed(Broken([1])).open(0)


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG", "b.Png", "c.bmp", "d.webp", "e.gif", "f.tif", "g.ppm", "h.PGM"])
def test_images_are_recognised_by_suffix(name: str) -> None:
    assert is_image_name(name)


@pytest.mark.parametrize("name", [".a.jpg", "._a.jpg", "a.txt", "jpg", "Thumbs.db", ".DS_Store", "a.jpg.part"])
def test_other_files_are_no_images(name: str) -> None:
    assert not is_image_name(name)


def test_errors_travel_between_processes() -> None:
    error = pickle.loads(pickle.dumps(BadImageError("one line")))  # noqa: S301
    assert str(error) == "one line"


def test_indexed_opens_paths_as_files(tmp_path: Path, draw_image: Draw) -> None:
    file = draw_image(tmp_path / "a.png")
    images = Indexed([Image.new("RGB", (2, 2)), np.zeros((3, 5), np.uint8)], root=tmp_path)
    assert images.open(file).size == (40, 30)
    assert (images.open(0).size, images.open(1).size) == ((2, 2), (5, 3))
    assert images.name(file) == "a.png"
    assert (images.stamp(file), images.digest(file)) == (Files().stamp(file), Files().digest(file))
    with pytest.raises(IndexError, match="there are 2 images, number 2 was requested"):
        images.open(2)


def test_bad_images_are_reported_once_and_again_when_there_are_more() -> None:
    strict, lenient = BadImages("error", 9), BadImages("skip", 9)
    with pytest.raises(BadImageError, match="first"):
        strict.add({4: "first", 2: "second"})
    lenient.add({})
    lenient.report("were skipped")
    lenient.add({4: "first", 2: "second"})
    with pytest.warns(VlpromptWarning, match="^2 of 9 images were skipped; the first: first$"):
        lenient.report("were skipped")
    lenient.report("were skipped")
    lenient.add({5: "third"})
    with pytest.warns(VlpromptWarning, match="^3 of 9 images"):
        lenient.report("were skipped")
