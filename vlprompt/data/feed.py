"""From examples to batches, the only way: for `fit`, `evaluate`, `classify` and `predict`.

`Needs` states what a learner reads, and `source` is its frozen model. Features of a frozen encoder come from the
feature store wherever they do not change from epoch to epoch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vlprompt.data.batches import (
    Batches,
    encoded,
    feature_batches,
    image_batches,
    labels_of,
    rows,
    text_batches,
    text_of,
)
from vlprompt.data.features import FeatureStore
from vlprompt.data.images import Example, Images, Indexed
from vlprompt.data.items import as_list, image_item, text_item
from vlprompt.data.needs import BatchSettings, Input, Needs, Source
from vlprompt.data.pixel_cache import PixelCache
from vlprompt.data.task import Task
from vlprompt.data.texts import Text
from vlprompt.data.transforms import Transform, test_transform, train_transform, views_per_image
from vlprompt.data.views import ENCODED_AT_ONCE, Views, encode_views
from vlprompt.errors import UsageError
from vlprompt.randomness import mixed

TEST_BATCH = 100  # Dassl's
TEST_VIEWS = 64  # TPT's; with more views of an image there are fewer images in a batch


def train_batches(
    needs: Needs, source: Source, task: Task, config: BatchSettings, store: FeatureStore, *, workers: int = 0
) -> Batches:
    """Shuffled training batches of a task, augmented as in `config.augment`.

    Where the learner needs unlabelled examples, each batch has domain numbers and a batch of the task's unlabelled
    examples, which are shuffled by another seed.

    Args:
        needs: What the learner reads.
        source: Its frozen model.
        task: Has training examples.
        config: The training settings.
        store: Features that are already computed, and new ones.
        workers: Processes that decode images.

    Raises:
        UsageError: The task lacks training examples, or unlabelled ones that are needed, or the settings ask for cached
            views of images that pass through the image tower.
    """
    if not task.train:
        raise UsageError(f"{task.name} has no training examples.")

    def shuffled(examples: Sequence[Example], seed: int) -> Batches:
        split = _Split(source, task.images, examples, store, workers)
        return _batches(needs, split, config.batch_size, seed, config.augment, config.crop)

    labelled = shuffled(task.train, config.seed)
    if not needs.unlabelled:
        return labelled
    need_unlabelled(needs, task)
    return labelled.beside(shuffled(task.unlabelled, mixed(config.seed, "unlabelled")), _domains(task))


def ordered_batches(
    needs: Needs, source: Source, task: Task, config: BatchSettings, store: FeatureStore, *, workers: int = 0
) -> tuple[Batches | None, Batches | None]:
    """The training set in order and validation data if there are any, for a learner whose `prepare` reads them.

    In epoch k of the training set every image is seen in its view k, see `Needs.train_views`. Arguments and errors are
    those of `train_batches`.
    """
    if not needs.ordered or not task.train:
        return None, None

    def in_order(examples: Sequence[Example]) -> Batches:
        return test_batches(needs, source, task, examples, store, workers=workers)

    val = in_order(task.val) if task.val else None
    if needs.input is Input.IMAGES or needs.input.of_texts:
        train = in_order(task.train)
        need_unlabelled(needs, task)
        return train.beside(in_order(task.unlabelled), _domains(task)) if needs.unlabelled else train, val
    split = _Split(source, task.images, task.train, store, workers)
    features = split.views(views_per_image(config.augment) or needs.train_views, config.crop)
    return feature_batches(features, labels_of(task.train), batch_size=TEST_BATCH), val


def test_batches(
    needs: Needs,
    source: Source,
    task: Task,
    examples: Sequence[Example],
    store: FeatureStore,
    *,
    batch_size: int = 0,  # noqa: PT028
    workers: int = 0,  # noqa: PT028
) -> Batches:
    """Everything once, in order, without augmentation except for the views that a learner reads.

    Args:
        needs: What the learner reads.
        source: Its frozen model.
        task: Opens the examples' images.
        examples: A split of the task.
        store: Features that are already computed, and new ones.
        batch_size: Examples in a batch; 0: `test_batch_size`.
        workers: Processes that decode images.

    Raises:
        UsageError: The views do not fit in memory, or the examples are not what the learner reads.
    """
    split = _Split(source, task.images, examples, store, workers)
    return _batches(needs, split, batch_size or test_batch_size(needs))


def item_batches(needs: Needs, source: Source, items: object, *, batch_size: int) -> Batches:
    """Unlabelled batches of loose items, the same as those of `test_batches`; nothing is stored.

    Args:
        needs: What the learner reads.
        source: Its frozen model.
        items: One image or text, or several of them, see `vlprompt.data.items`.
        batch_size: Items in a batch.

    Raises:
        BadImageError: A file is missing or is not an image.
        UsageError: An item is not what the learner reads; the message names its position and type.
    """
    given = as_list(items, of_texts=needs.input.of_texts)
    if needs.input.of_texts:
        examples = [Example(text_item(position, item, needs.text_field), -1) for position, item in enumerate(given)]
    else:
        given = [image_item(position, item) for position, item in enumerate(given)]
        examples = [Example(item if isinstance(item, Path) else place, -1) for place, item in enumerate(given)]
    store, at_once = FeatureStore(limit_gb=0, progress=False), min(max(len(given), 1), ENCODED_AT_ONCE)
    split = _Split(source, Indexed(given), examples, store, at_once=at_once, cache=PixelCache(0))
    return _batches(needs, split, batch_size)


def test_batch_size(needs: Needs) -> int:
    """Examples in a batch of `test_batches`."""
    views = needs.views.count if needs.views and needs.input is Input.VIEWS else 0
    return max(1, TEST_BATCH * TEST_VIEWS // max(views, TEST_VIEWS))


def need_unlabelled(needs: Needs, task: Task) -> None:
    """Raise UsageError where a learner needs unlabelled examples and a task has none."""
    if needs.unlabelled and not task.unlabelled:
        if needs.input is Input.TEXTS:
            what, how = "unlabelled texts", "hide the labels of some training texts with `--unlabelled N` or set_aside"
        else:
            what = "unlabelled images of a target domain"
            how = "run it with `vlprompt adapt`, or on a task from vlprompt.data.domains.adaptation"
        raise UsageError(f"the method also learns from {what}, and {task.name} has none; {how}.")


def plain_features(source: Source, images: Images, examples: Sequence[Example], store: FeatureStore) -> Tensor:
    """(N, E) features of the plain view of every example, from the store where they are already computed."""
    return _Split(source, images, examples, store).plain()


def text_features(needs: Needs, source: Source, examples: Sequence[Example], store: FeatureStore) -> Tensor:
    """(N, E) features of every text by the learner's text encoder, from the store where they are already computed.

    Raises:
        UsageError: An example is not a text, or the learner has no text encoder.
    """
    encode = needs.text_encoder
    if encode is None:
        raise UsageError(f"the method reads {needs.input.value}, not features of texts.")
    return store.get_texts(encode, _name(source), encode.key, [text_of(example) for example in examples])


def encoder(source: Source) -> Callable[[Tensor], Tensor]:
    """A frozen image tower as a function on the CPU, (B, 3, H, W) -> (B, E)."""

    @torch.no_grad()
    def encode(images: Tensor) -> Tensor:
        features: Tensor = source.encode_image(images.to(source.device)).cpu()
        return features

    return encode


@dataclass(frozen=True)
class _Split:
    """Examples, the frozen model that reads them, and the store of its features."""

    source: Source
    images: Images
    examples: Sequence[Example]
    store: FeatureStore
    workers: int = 0  # processes that decode images
    at_once: int = ENCODED_AT_ONCE  # images encoded at once, or views of images
    cache: PixelCache | None = None  # of decoded images; None: that of this process

    def need_images(self) -> None:
        """Raise UsageError where the examples are texts."""
        if any(isinstance(example.item, Text) for example in self.examples):
            raise UsageError("the method reads images, the task has texts; give it a task of images.")

    def plain(self) -> Tensor:
        """(N, E) features of the plain view of every image."""
        return self._features(test_transform(self.source.preprocess), 0)

    def views(self, count: int, crop: float) -> Tensor:
        """(K, N, E) features of K random views of every image, or (1, N, E) of the plain images."""
        if count == 1:
            return self.plain().unsqueeze(0)
        transform = train_transform(self.source.preprocess, crop)
        return torch.stack([self._features(transform, view) for view in range(count)])

    def _features(self, transform: Transform, view: int) -> Tensor:
        options: dict[str, Any] = {"seed": view, "batch_size": self.at_once, "workers": self.workers}
        name = _name(self.source)
        return self.store.get(encoder(self.source), name, transform, self.images, self.examples, **options)

    def test_views(self, views: Views, batch_size: int) -> Batches:
        """Batches of (B, V, E); the store has one row for all views of an image, which learners share."""
        transform, encode = views.transform(self.source.preprocess), encoder(self.source)

        def fill(index: Tensor, _: Tensor | None) -> Tensor:
            """(B, V, E) features of the views of these examples."""
            stored = self.store.get(
                lambda pixels: encode_views(encode, pixels).flatten(1),
                _name(self.source),
                transform,
                self.images,
                [self.examples[position] for position in index.tolist()],
                seed=views.seed,
                batch_size=min(self.at_once, max(1, ENCODED_AT_ONCE // views.count)),
                workers=self.workers,
            )  # (B, V * E)
            return stored.reshape(len(stored), views.count, -1)

        return Batches(labels_of(self.examples), batch_size=batch_size, views=lambda _: fill)


def _batches(
    needs: Needs, split: _Split, batch_size: int, seed: int | None = None, augment: str = "none", crop: float = 1.0
) -> Batches:
    """A split in order without a seed, else shuffled and augmented for training."""
    order: dict[str, Any] = {"batch_size": batch_size, "seed": seed}
    if needs.input is Input.TEXTS:
        return text_batches(split.examples, **order)
    labels = labels_of(split.examples)
    if needs.input is Input.TEXT_FEATURES:
        return feature_batches(text_features(needs, split.source, split.examples, split.store), labels, **order)
    split.need_images()
    if needs.input is Input.VIEWS and seed is None:
        return split.test_views(needs.views or Views(), batch_size)
    views = views_per_image(augment)
    if views > 0 and needs.input is Input.FEATURES:
        return feature_batches(split.views(views, crop), labels, **order)
    if views > 1:
        raise UsageError("the method learns in the image tower, so views cannot be cached; augment 'paper' or 'none'.")
    preprocess = split.source.preprocess
    transform = test_transform(preprocess) if views else train_transform(preprocess, crop)
    order |= {"workers": split.workers, "cache": split.cache}
    images = image_batches(split.images, split.examples, transform, **order)
    if needs.input is Input.IMAGES and not needs.features_too:
        return images
    return images.having(features=rows(split.plain()) if views else encoded(encoder(split.source)))


def _domains(task: Task) -> Tensor:
    """(N,) domain numbers of the training examples."""
    return torch.tensor([example.domain for example in task.train], dtype=torch.int64)


def _name(source: Source) -> str:
    """The name of an encoder in the store."""
    return f"{source.fingerprint}-{source.precision}"
