"""What a learner is fed: batches of a task, from the feature store wherever a frozen encoder's answer is a fact."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vlprompt.backbones.products import fast_products
from vlprompt.data.features import FeatureStore
from vlprompt.data.loaders import (
    Batches,
    EncodedBatches,
    FeatureBatches,
    ImageBatches,
    JoinedBatches,
    TextBatches,
    ViewBatches,
    mixed,
    text_of,
)
from vlprompt.data.task import Example, Task
from vlprompt.data.texts import Text
from vlprompt.data.transforms import Transform, test_transform, train_transform
from vlprompt.data.unlabelled import WithUnlabelled
from vlprompt.data.views import ENCODED_AT_ONCE, encode_views
from vlprompt.errors import UsageError
from vlprompt.learners.base import PromptLearner, Reads
from vlprompt.recipe import TrainConfig, views_per_image

Learner = PromptLearner[Any]
TEST_BATCH = 100  # Dassl's
TEST_VIEWS = 64  # TPT's; with more views of an image there are fewer images in a batch


def training(learner: Learner, task: Task, config: TrainConfig, store: FeatureStore, *, workers: int = 0) -> Batches:
    """Shuffled training batches of a task, by the augmentation the settings name.

    For a learner that adapts, each comes with domain numbers and a batch of the task's unlabelled examples, shuffled by
    a seed of their own.

    Raises:
        UsageError: The task has no training images, none without labels where the learner needs some, or the learner
            cannot be trained on cached views.
    """
    if not task.train:
        raise UsageError(f"{task.name} has no training images.")
    labelled = _shuffled(learner, task, task.train, config, store, workers)
    if not learner.adapts:
        return labelled
    need_unlabelled(learner, task)
    apart = replace(config, seed=mixed(config.seed, "unlabelled"))
    return _beside(task, labelled, _shuffled(learner, task, task.unlabelled, apart, store, workers))


def _beside(task: Task, labelled: Batches, unlabelled: Batches) -> WithUnlabelled:
    """A task's training examples with their domains, and its unlabelled ones beside them."""
    domains = torch.tensor([example.domain for example in task.train], dtype=torch.int64)
    return WithUnlabelled(labelled, domains, unlabelled)


def need_unlabelled(learner: Learner, task: Task) -> None:
    """Raise UsageError where a learner needs unlabelled examples and a task has none."""
    if learner.adapts and not task.unlabelled:
        if learner.reads is Reads.TEXT:
            what, how = "unlabelled texts", "set some of its training texts aside with `--unlabelled N` or set_aside"
        else:
            what = "a target domain's unlabelled images"
            how = "run it with `vlprompt adapt`, or on a task from vlprompt.data.domains.adaptation"
        raise UsageError(f"{learner.method()} learns from {what} too, and {task.name} has none; {how}.")


def _shuffled(
    learner: Learner, task: Task, examples: Sequence[Example], config: TrainConfig, store: FeatureStore, workers: int
) -> Batches:
    """Shuffled training batches of some of a task's examples."""
    if learner.reads is Reads.TEXT:
        return TextBatches(examples, batch_size=config.batch_size, seed=config.seed)
    if learner.reads is Reads.TEXT_FEATURES:
        features = text_features(learner, examples, store)
        return FeatureBatches(features, labels_of(examples), batch_size=config.batch_size, seed=config.seed)
    _need_images(learner, examples)
    views = views_per_image(config.augment)
    if views == 0:
        transform = train_transform(learner.backbone.preprocess, config.crop)
        images = _images(task, examples, transform, config, workers)
        bare = learner.reads is Reads.IMAGES and not learner.features_too
        return images if bare else EncodedBatches(images, encoder(learner))
    if learner.reads is Reads.FEATURES:
        features = _views(learner, task, examples, config, store, views)
        return FeatureBatches(features, labels_of(examples), batch_size=config.batch_size, seed=config.seed)
    if views > 1:
        raise UsageError(f"{learner.method()} learns in the image tower, so views cannot be cached; augment 'paper'.")
    images = _images(task, examples, test_transform(learner.backbone.preprocess), config, workers)
    return JoinedBatches(images, plain_features(learner, task, examples, store)) if learner.features_too else images


def before_training(
    learner: Learner, task: Task, config: TrainConfig, store: FeatureStore
) -> tuple[Batches | None, Batches | None]:
    """What `prepare` looks at where it wants the training set in order: that, and validation data if there is any.

    For a learner that adapts, the unlabelled examples stand beside it, in order too. In epoch k of the training set
    every image is seen in its view k, see `PromptLearner.views`.
    """
    if not learner.in_order or not task.train:
        return None, None
    val = judging(learner, task, task.val, store) if task.val else None
    if learner.reads is Reads.IMAGES or learner.reads.of_texts:
        train = judging(learner, task, task.train, store)
        need_unlabelled(learner, task)
        return (_beside(task, train, judging(learner, task, task.unlabelled, store)) if learner.adapts else train), val
    views = views_per_image(config.augment) or learner.views
    features = _views(learner, task, task.train, config, store, views)
    return FeatureBatches(features, labels_of(task.train), batch_size=TEST_BATCH), val


def judging(learner: Learner, task: Task, examples: Sequence[Example], store: FeatureStore) -> Batches:
    """Batches in order, everything once, without augmentation but for the views that a learner wants to see.

    Raises:
        UsageError: Its views do not fit in memory, or the examples are not what it reads.
    """
    if learner.reads is Reads.TEXT:
        return TextBatches(examples, batch_size=TEST_BATCH)
    if learner.reads is Reads.TEXT_FEATURES:
        return FeatureBatches(text_features(learner, examples, store), labels_of(examples), batch_size=TEST_BATCH)
    _need_images(learner, examples)
    transform = learner.test_transform
    if learner.reads is Reads.VIEWS:
        return _test_views(learner, task, examples, store, transform)
    images = ImageBatches(task.images, examples, transform, batch_size=TEST_BATCH)
    if learner.reads is Reads.IMAGES and not learner.features_too:
        return images
    features = plain_features(learner, task, examples, store)
    if learner.reads is Reads.IMAGES:
        return JoinedBatches(images, features)
    return FeatureBatches(features, labels_of(examples), batch_size=TEST_BATCH)


def judged_at_once(learner: Learner) -> int:
    """Examples in a batch of `judging`."""
    views = learner.test_views.count if learner.reads is Reads.VIEWS else 0
    return max(1, TEST_BATCH * TEST_VIEWS // max(views, TEST_VIEWS))


def _need_images(learner: Learner, examples: Sequence[Example]) -> None:
    if any(isinstance(example.item, Text) for example in examples):
        raise UsageError(f"{learner.method()} reads images, the task has texts; give it a task of images.")


def plain_features(learner: Learner, task: Task, examples: Sequence[Example], store: FeatureStore) -> Tensor:
    """(N, E), what the frozen model says of the plain view of every example, from the store where it is known."""
    return _features(learner, task, examples, store, test_transform(learner.backbone.preprocess))


def text_features(learner: Learner, examples: Sequence[Example], store: FeatureStore) -> Tensor:
    """(N, E), what the frozen model says of every text as the learner puts it, from the store where it is known.

    Raises:
        UsageError: An example is no text.
    """
    encode = learner.text_encoder
    return store.get_texts(encode, _space(learner), encode.key, [text_of(example) for example in examples])


def labels_of(examples: Sequence[Example]) -> Tensor:
    """(N,) int64."""
    return torch.tensor([example.label for example in examples], dtype=torch.int64)


def encoder(learner: Learner) -> Callable[[Tensor], Tensor]:
    """A learner's frozen image tower as a function on the CPU, (B, 3, H, W) -> (B, E)."""
    backbone = learner.backbone

    @fast_products()
    @torch.no_grad()
    def encode(images: Tensor) -> Tensor:
        features: Tensor = backbone.encode_image(images.to(backbone.device)).cpu()
        return features

    return encode


def _images(
    task: Task, examples: Sequence[Example], transform: Transform, config: TrainConfig, workers: int
) -> ImageBatches:
    """Shuffled batches of images for training."""
    return ImageBatches(
        task.images,
        examples,
        transform,
        batch_size=config.batch_size,
        seed=config.seed,
        workers=workers,
    )


def _views(
    learner: Learner, task: Task, examples: Sequence[Example], config: TrainConfig, store: FeatureStore, views: int
) -> Tensor:
    """(K, N, E) features of K random views of every example, or (1, N, E) of the plain images."""
    preprocess = learner.backbone.preprocess
    transform = test_transform(preprocess) if views == 1 else train_transform(preprocess, config.crop)
    return torch.stack([_features(learner, task, examples, store, transform, view=view) for view in range(views)])


def _test_views(
    learner: Learner, task: Task, examples: Sequence[Example], store: FeatureStore, transform: Transform
) -> ViewBatches:
    """Batches of (B, V, E); the store keeps the views of an image as one row, for all learners that want the same."""
    wish, encode = learner.test_views, encoder(learner)

    def views(positions: Sequence[int]) -> Tensor:
        """(n,) positions in the split -> (n, V, E)."""
        rows = store.get(
            lambda images: encode_views(encode, images).flatten(1),
            _space(learner),
            transform,
            task.images,
            [examples[position] for position in positions],
            seeds=wish.seed,
            batch_size=max(1, ENCODED_AT_ONCE // wish.count),
        )  # (B, V * E)
        return rows.reshape(len(rows), wish.count, -1)

    return ViewBatches(views, labels_of(examples), batch_size=judged_at_once(learner))


def _space(learner: Learner) -> str:
    """What the store knows an encoder by."""
    return f"{learner.backbone.fingerprint}-{learner.backbone.precision}"


def _features(
    learner: Learner,
    task: Task,
    examples: Sequence[Example],
    store: FeatureStore,
    transform: Transform,
    *,
    view: int = 0,
) -> Tensor:
    """(N, E) features of one view of every example, from the store where they are known."""
    features: Tensor = store.get(
        encoder(learner),
        _space(learner),
        transform,
        task.images,
        examples,
        seeds=view,
    )
    return features
