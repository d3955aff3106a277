import hashlib
import os
import pickle
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from vlprompt.data.images import BadImageError, BadImages, Files, Indexed, as_stored, is_image_name
from vlprompt.errors import VlpromptWarning

from .conftest import Draw


@pytest.mark.filterwarnings("ignore:images with more than 8 bits")
def test_opens_every_mode_as_rgb(tmp_path: Path) -> None:
    for mode in ("L", "P", "1", "RGBA", "CMYK", "I;16", "LA"):
        file = tmp_path / f"{mode[:1]}{len(mode)}.tif"
        Image.new(mode, (3, 2)).save(file)
        image = Files().open(file)
        assert (image.mode, image.size) == ("RGB", (3, 2))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_orientation_is_applied_unless_images_are_read_as_stored(
    tmp_path: Path, draw_image: Draw, orientation: int, suffix: str
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / f"turned.{suffix}"
    Image.open(draw_image(tmp_path / "a.png", size=(30, 20))).save(file, exif=exif)
    with Image.open(file) as image:
        shown, stored = ImageOps.exif_transpose(image).convert("RGB"), image.convert("RGB")
    turned = Files().open(file)
    assert (turned.size, turned.tobytes()) == (shown.size, shown.tobytes())
    assert Indexed([turned]).open(0).tobytes() == shown.tobytes(), "it is not turned twice"
    assert as_stored(Files(tmp_path)) == Files(tmp_path, shown=False)
    for images in (as_stored(Files()), as_stored(Indexed([0]))):
        assert images.open(file).tobytes() == stored.tobytes()
    assert Files().reading != as_stored(Files()).reading == ""


def test_transparent_parts_are_white_where_images_are_shown(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    palette = Image.new("P", (4, 4))
    palette.putpalette([200, 0, 0])
    palette.save(file, transparency=0)
    assert Files().open(file).getpixel((0, 0)) == (255, 255, 255)
    assert Files(shown=False).open(file).getpixel((0, 0)) == (200, 0, 0)
    assert Indexed([Image.new("LA", (4, 4), (9, 0))]).open(0).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("head", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n", b"8BPS\0\1"])
def test_formats_that_are_not_allowed_are_refused(tmp_path: Path, head: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "check_call", lambda *_, **__: pytest.fail("a program was started"))
    (tmp_path / "cat.jpg").write_bytes(head)
    with pytest.raises(BadImageError, match=r"cat.jpg: not an image, or of a format"):
        Files().open(tmp_path / "cat.jpg")


@pytest.mark.parametrize("error", [RuntimeError, NotImplementedError, TypeError, MemoryError, struct.error, IndexError])
def test_any_error_of_a_decoder_is_a_bad_image(
    tmp_path: Path, draw_image: Draw, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error("broken\nsecond line")

    file = draw_image(tmp_path / "a.png")
    monkeypatch.setattr("vlprompt.data.pixels.to_rgb", fails)
    with pytest.raises(BadImageError, match=r"a.png: broken$"):
        Files().open(file)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no FIFO")
def test_special_files_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "folder.png").mkdir()
    kinds = {tmp_path / "fifo.png": "a FIFO", Path("/dev/zero"): "a device", tmp_path / "folder.png": "a folder"}
    for path, kind in kinds.items():
        for read in (Files().open, Files().digest, Files().stamp):
            with pytest.raises(BadImageError, match=f"{path.name}: it is .*{kind}"):
                read(path)


def test_stamp_changes_when_size_and_time_do_not(tmp_path: Path) -> None:
    file, other = tmp_path / "a.bmp", tmp_path / "b.bmp"
    for path, colour in ((file, "red"), (other, "blue")):
        Image.new("RGB", (4, 4), colour).save(path)
        os.utime(path, ns=(1, 1))
    before = Files().stamp(file)
    other.replace(file)
    assert file.stat().st_mtime_ns == 1
    assert Files().stamp(file) != before


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


def test_indexed_takes_tensors_of_integers() -> None:
    pixels = torch.randint(256, (3, 4, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for element in ((pixels, 0), {"image": pixels.permute(1, 2, 0)}, (pixels.long(),)):
        assert np.array_equal(np.asarray(Indexed([element]).open(0)), pixels.permute(1, 2, 0).numpy())


def test_indexed_refuses_tensors_of_floats_and_reports_damaged_images() -> None:
    class Broken(list[object]):
        def __getitem__(self, position: object) -> object:
            raise OSError("image file is truncated")

    with pytest.raises(BadImageError, match=r"number 0 is a float.*without a transform"):
        Indexed([(1.0, 0)]).open(0)
    with pytest.raises(BadImageError, match="image number 0: image file is truncated"):
        Indexed(Broken([1])).open(0)


@pytest.mark.parametrize(
    "name",
    ["a.jpg", "a.JPEG", "b.Png", "c.bmp", "d.webp", "e.gif", "f.tif", "g.ppm", "h.PGM", "i.jfif", "j.JPE", "k.avif"],
)
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
