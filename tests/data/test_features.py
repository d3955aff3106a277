import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from vlprompt.data import transforms
from vlprompt.data.features import FeatureStore
from vlprompt.data.images import BadImageError, Example, Files, Indexed, Item
from vlprompt.data.texts import Text
from vlprompt.errors import UsageError, VlpromptError, VlpromptWarning

from .conftest import Draw

Ten = tuple[Files, list[Example]]
PREPROCESS = transforms.Preprocess(16, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
TRAIN, TEST = transforms.train_transform(PREPROCESS), transforms.test_transform(PREPROCESS)


class Encoder:
    """A small frozen network that records the sizes of its batches."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.weight = torch.randn(5, 3, 8, 8, generator=generator)
        self.batches: list[int] = []

    def __call__(self, images: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        self.batches.append(len(images))
        return torch.nn.functional.conv2d(images, self.weight).amax(dim=(2, 3))


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path / "cache")


def direct(files: Files, examples: list[Example]) -> Tensor:
    """The features of the test transform, without any store."""
    with torch.no_grad():
        return Encoder()(torch.stack([TEST(files.open(example.item), 0) for example in examples]))


def test_features_are_the_encoders_and_computed_once(store: FeatureStore, ten_images: Ten, tmp_path: Path) -> None:
    encoder = Encoder()
    features = store.get(encoder, "clip", TEST, *ten_images, batch_size=4)
    assert features.dtype == torch.float32
    torch.testing.assert_close(features, direct(*ten_images), rtol=0, atol=1e-5)
    assert encoder.batches == [4, 4, 4]
    again = FeatureStore(tmp_path / "cache").get(encoder, "clip", TEST, *ten_images, batch_size=4)
    assert torch.equal(again, features)
    assert encoder.batches == [4, 4, 4]


def test_rows_do_not_depend_on_what_was_stored_before(ten_images: Ten, tmp_path: Path) -> None:
    files, examples = ten_images
    whole = FeatureStore(tmp_path / "one").get(Encoder(), "clip", TEST, files, examples, batch_size=4)
    store, encoder = FeatureStore(tmp_path / "two"), Encoder()
    parts = (examples[6:7], examples[3:8], examples)
    pieces = [store.get(encoder, "clip", TEST, files, part, batch_size=4) for part in parts]
    assert set(encoder.batches) == {4}
    assert torch.equal(pieces[2], whole)
    assert torch.equal(pieces[1], whole[3:8])
    assert torch.equal(store.get(encoder, "clip", TEST, files, examples[::-1], batch_size=4), whole.flip(0))


def test_encoders_transforms_and_contents_are_separate(store: FeatureStore, ten_images: Ten, draw_image: Draw) -> None:
    files, examples = ten_images
    encoder = Encoder()
    store.get(encoder, "clip", TEST, files, examples, batch_size=10)
    other = transforms.test_transform(transforms.Preprocess(12, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)))
    store.get(encoder, "clip", other, files, examples, batch_size=10)
    store.get(encoder, "clip bf16", TEST, files, examples, batch_size=10)
    assert len(encoder.batches) == 3
    changed = draw_image(Path(str(examples[2].item)), seed=99, size=(35, 38))
    features = store.get(encoder, "clip", TEST, files, examples, batch_size=10)
    assert len(encoder.batches) == 4
    torch.testing.assert_close(features, direct(files, examples), rtol=0, atol=1e-5)
    assert changed.exists()


def test_moved_files_are_found_by_their_content(store: FeatureStore, ten_images: Ten, tmp_path: Path) -> None:
    files, examples = ten_images
    encoder = Encoder()
    features = store.get(encoder, "clip", TEST, files, examples)
    shutil.copytree(str(files.root), tmp_path / "moved")
    moved = [Example(tmp_path / "moved" / Path(str(example.item)).name, 0) for example in examples]
    assert torch.equal(store.get(encoder, "clip", TEST, files, moved), features)
    assert len(encoder.batches) == 1


def test_files_that_have_not_changed_are_not_read_again(store: FeatureStore, ten_images: Ten) -> None:
    class Watched(Files):
        def open(self, item: Item) -> Image.Image:
            raise AssertionError(item)

        def digest(self, item: Item) -> str:
            raise AssertionError(item)

    files, examples = ten_images
    features = store.get(Encoder(), "clip", TEST, files, examples)
    assert torch.equal(store.get(Encoder(), "clip", TEST, Watched(), examples), features)
    os.utime(str(examples[0].item), ns=(1, 1))
    with pytest.raises(AssertionError, match=r"0.png"):
        store.get(Encoder(), "clip", TEST, Watched(), examples)


def test_an_image_that_occurs_twice_is_encoded_once(store: FeatureStore, ten_images: Ten) -> None:
    files, examples = ten_images
    encoder = Encoder()
    features = store.get(encoder, "clip", TEST, files, examples * 2, batch_size=5)
    assert encoder.batches == [5, 5]
    assert torch.equal(features[:10], features[10:])


def test_cached_views_are_rows_of_their_own(store: FeatureStore, ten_images: Ten) -> None:
    files, examples = ten_images
    encoder = Encoder()
    views = [store.get(encoder, "clip", TRAIN, files, examples, seed=k, batch_size=10) for k in range(3)]
    assert len(encoder.batches) == 3
    assert all(not torch.equal(a, b) for i, a in enumerate(views) for b in views[:i])
    # Found by content: another order or part of the split finds the same rows.
    again = store.get(encoder, "clip", TRAIN, files, examples[::-1][:5], seed=1, batch_size=10)
    assert torch.equal(again, views[1].flip(0)[:5])
    assert len(encoder.batches) == 3
    assert store.info().rows == 30


def test_images_of_one_view_are_augmented_differently(store: FeatureStore) -> None:
    seen: list[int] = []

    class Spy(transforms.Transform):
        key, random, preprocess = "spy", True, PREPROCESS

        def pixels(self, image: Image.Image, seed: int = 0) -> Tensor:
            seen.append(seed)
            return torch.zeros(3, 8, 8, dtype=torch.uint8)

    images = Indexed([(Image.new("RGB", (4, 4), (i, 0, 0)),) for i in range(6)])
    examples = [Example(i, 0) for i in range(6)]
    store.get(Encoder(), "clip", Spy(), images, examples, seed=1)
    assert len(set(seen)) == 6


def test_a_fixed_transform_has_one_row_for_all_seeds(store: FeatureStore, ten_images: Ten) -> None:
    encoder = Encoder()
    for seed in range(3):
        store.get(encoder, "clip", TEST, *ten_images, seed=seed)
    assert len(encoder.batches) == 1


def test_images_in_memory(store: FeatureStore) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (6, 20, 20), dtype=np.uint8)
    images, examples = Indexed([(pixels, 0) for pixels in grey]), [Example(i, 0) for i in range(6)]
    encoder = Encoder()
    features = store.get(encoder, "clip", TEST, images, examples)
    assert torch.equal(store.get(encoder, "clip", TEST, images, examples), features)
    assert len(encoder.batches) == 1
    assert len(features.unique(dim=0)) == 6


def test_workers_change_nothing(ten_images: Ten, tmp_path: Path) -> None:
    features = [
        FeatureStore(tmp_path / str(n)).get(Encoder(), "clip", TRAIN, *ten_images, seed=2, batch_size=4, workers=n)
        for n in (0, 2)
    ]
    assert torch.equal(*features)


def test_an_interrupted_run_continues_where_it_stopped(store: FeatureStore, ten_images: Ten) -> None:
    encoder = Encoder()

    def stops(images: Tensor) -> Tensor:
        if len(encoder.batches) == 2:
            raise KeyboardInterrupt
        return encoder(images)

    with pytest.raises(KeyboardInterrupt):
        store.get(stops, "clip", TEST, *ten_images, batch_size=3)
    assert store.info().rows == 6
    features = store.get(encoder, "clip", TEST, *ten_images, batch_size=3)
    assert encoder.batches == [3, 3, 3, 3]
    torch.testing.assert_close(features, direct(*ten_images), rtol=0, atol=1e-5)


def test_bad_images_are_an_error_or_rows_of_nan(store: FeatureStore, ten_images: Ten, tmp_path: Path) -> None:
    files, examples = ten_images
    (tmp_path / "bad.png").write_text("no image")
    with_bad = [Example(tmp_path / "gone.png", 0), *examples, Example(tmp_path / "bad.png", 0)]
    with pytest.raises(BadImageError, match=r"gone.png"):
        store.get(Encoder(), "clip", TEST, files, with_bad)
    with pytest.raises(BadImageError, match=r"bad.png"):
        store.get(Encoder(), "clip", TEST, files, with_bad[1:])
    for _ in range(2):
        with pytest.warns(VlpromptWarning, match="2 of 12 images have no features; the first: .*gone.png") as caught:
            features = store.get(Encoder(), "clip", TEST, files, with_bad, on_bad_image="skip")
        assert len(caught) == 1
        assert features.isnan().all(dim=1).tolist() == [True] + [False] * 10 + [True]
    assert store.info().rows == 10
    with pytest.raises(UsageError, match="way to treat bad images"):
        store.get(Encoder(), "clip", TEST, files, examples, on_bad_image="ignore")


def test_features_that_are_not_finite_are_an_error_and_not_stored(store: FeatureStore, ten_images: Ten) -> None:
    def overflows(images: Tensor) -> Tensor:
        features = torch.ones(len(images), 4)
        features[2, 1] = torch.inf
        return features

    with pytest.raises(VlpromptError, match=r"not finite for 2\.png; try precision fp32"):
        store.get(overflows, "clip", TEST, *ten_images)
    assert store.info().rows == 0


@pytest.mark.parametrize("garbage", [b"x" * 5000, b"\0" * 99])
def test_a_damaged_store_still_gives_right_features(store: FeatureStore, ten_images: Ten, garbage: bytes) -> None:
    features = store.get(Encoder(), "clip", TEST, *ten_images)
    store.info().file.write_bytes(garbage)
    with pytest.warns(VlpromptWarning, match="renamed and a new one begun") as caught:
        again = store.get(Encoder(), "clip", TEST, *ten_images)
    assert len(caught) == 1
    assert torch.equal(again, features)
    assert store.info().rows == 10


def test_a_store_that_cannot_be_written_still_gives_right_features(ten_images: Ten, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = FeatureStore(tmp_path / "file" / "cache")
    with pytest.warns(VlpromptWarning, match="features are not stored from here on") as caught:
        features = store.get(Encoder(), "clip", TEST, *ten_images, batch_size=2)
    assert len(caught) == 1
    torch.testing.assert_close(features, direct(*ten_images), rtol=0, atol=1e-5)


def test_a_store_with_no_space_still_gives_right_features(ten_images: Ten, tmp_path: Path) -> None:
    for limit in (0, 1e-6):
        features = FeatureStore(tmp_path, limit_gb=limit).get(Encoder(), "clip", TEST, *ten_images, batch_size=2)
        torch.testing.assert_close(features, direct(*ten_images), rtol=0, atol=1e-5)


def test_info_and_clear(store: FeatureStore, ten_images: Ten) -> None:
    assert (store.info().rows, store.info().size) == (0, 0)
    store.get(Encoder(), "one", TEST, *ten_images)
    store.get(Encoder(), "two", TEST, *ten_images)
    info = store.info()
    assert (info.rows, info.encoders) == (20, {"one": 10, "two": 10})
    assert info.size == info.file.stat().st_size > 0
    store.clear("one")
    assert store.info().encoders == {"two": 10}
    store.clear()
    assert store.info().rows == 0


def test_the_folder_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLPROMPT_CACHE", str(tmp_path / "here"))
    assert FeatureStore().info().file.parent == tmp_path / "here"
    monkeypatch.delenv("VLPROMPT_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert FeatureStore().info().file.parent == tmp_path / ".cache" / "vlprompt"


def test_no_examples_are_no_features(store: FeatureStore) -> None:
    assert store.get(Encoder(), "clip", TEST, Files(), []).shape == (0, 0)


def test_texts_are_encoded_once_by_length_and_returned_in_order(tmp_path: Path) -> None:
    texts = [Text.of(text="x" * length) for length in (9, 2, 5, 2, 7)]
    seen: list[list[int]] = []

    def encode(some: Sequence[Text]) -> torch.Tensor:
        seen.append([len(text["text"]) for text in some])
        return torch.tensor([[len(text["text"]), 1.0] for text in some])

    def ask(layout: str = "plain", of: Sequence[Text] = texts) -> torch.Tensor:
        return FeatureStore(tmp_path).get_texts(encode, "a-fp32", layout, of, batch_size=2)

    assert ask()[:, 0].tolist() == [9, 2, 5, 2, 7]
    assert seen == [[2, 5], [7, 9]], "each text once, those of similar length together"
    assert torch.equal(ask(), ask())
    assert len(seen) == 2
    ask("another layout")
    assert len(seen) == 4
    assert ask(of=[Text.of(text="y" * 9), *texts])[0, 0] == 9
    assert seen[-1] == [9], "other words of the same length are another text"


def test_texts_encoded_before_an_interruption_are_stored(tmp_path: Path) -> None:
    texts = [Text.of(text="x" * length) for length in range(1, 7)]
    calls: list[int] = []

    def encode(some: Sequence[Text]) -> torch.Tensor:
        calls.append(len(some))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return torch.ones(len(some), 3)

    with pytest.raises(KeyboardInterrupt):
        FeatureStore(tmp_path).get_texts(encode, "a", "b", texts, batch_size=2)
    FeatureStore(tmp_path).get_texts(encode, "a", "b", texts, batch_size=2)
    assert calls == [2, 2, 2, 2], "the first two were there"
