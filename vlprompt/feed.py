"""What a learner is fed: batches of a task, from the feature store wherever a frozen encoder's answer is a fact."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from vlprompt.data.features import FeatureStore
from vlprompt.data.loaders import Batches, EncodedBatches, FeatureBatches, ImageBatches, TextBatches
from vlprompt.data.task import Example, Task
from vlprompt.data.texts import Text
from vlprompt.data.transforms import Transform, test_transform, train_transform
from vlprompt.errors import UsageError
from vlprompt.learners.base import PromptLearner, Reads
from vlprompt.recipe import TrainConfig, views_per_image

Learner = PromptLearner[Any]
TEST_BATCH = 100  # Dassl's


def training(learner: Learner, task: Task, config: TrainConfig, store: FeatureStore, *, workers: int = 0) -> Batches:
    """Shuffled training batches of a task, by the augmentation the settings name.

    Raises:
        UsageError: The task has no training images, or the learner cannot be trained on cached views.
    """
    if not task.train:
        raise UsageError(f"{task.name} has no training images.")
    if learner.reads is Reads.TEXT:
        return TextBatches(task.train, batch_size=config.batch_size, seed=config.seed)
    _need_images(learner, task.train)
    views = views_per_image(config.augment)
    if views == 0:
        images = _images(task, train_transform(learner.backbone.preprocess, config.crop), config, workers)
        return images if learner.reads is Reads.IMAGES else EncodedBatches(images, encoder(learner))
    if learner.reads is Reads.FEATURES:
        features = _views(learner, task, config, store, views)
        return FeatureBatches(features, labels_of(task.train), batch_size=config.batch_size, seed=config.seed)
    if views > 1:
        raise UsageError(f"{learner.method()} learns in the image tower, so views cannot be cached; augment 'paper'.")
    return _images(task, test_transform(learner.backbone.preprocess), config, workers)


def before_training(
    learner: Learner, task: Task, config: TrainConfig, store: FeatureStore
) -> tuple[Batches | None, Batches | None]:
    """What `prepare` looks at where it wants the training set in order: that, and validation data if there is any.

    In epoch k of the training set every image is seen in its view k, see `PromptLearner.views`.
    """
    if not learner.in_order or not task.train:
        return None, None
    val = judging(learner, task, task.val, store) if task.val else None
    if learner.reads in (Reads.IMAGES, Reads.TEXT):
        return judging(learner, task, task.train, store), val
    features = _views(learner, task, config, store, views_per_image(config.augment) or learner.views)
    return FeatureBatches(features, labels_of(task.train), batch_size=TEST_BATCH), val


def judging(learner: Learner, task: Task, examples: Sequence[Example], store: FeatureStore) -> Batches:
    """Batches in order, everything once, without augmentation."""
    if learner.reads is Reads.TEXT:
        return TextBatches(examples, batch_size=TEST_BATCH)
    _need_images(learner, examples)
    if learner.reads is Reads.IMAGES:
        return ImageBatches(task.images, examples, test_transform(learner.backbone.preprocess), batch_size=TEST_BATCH)
    features = _features(learner, task, examples, store, test_transform(learner.backbone.preprocess))
    return FeatureBatches(features, labels_of(examples), batch_size=TEST_BATCH)


def _need_images(learner: Learner, examples: Sequence[Example]) -> None:
    if any(isinstance(example.item, Text) for example in examples):
        raise UsageError(f"{learner.method()} reads images, the task has texts; give it a task of images.")


def labels_of(examples: Sequence[Example]) -> Tensor:
    """(N,) int64."""
    return torch.tensor([example.label for example in examples], dtype=torch.int64)


def encoder(learner: Learner) -> Callable[[Tensor], Tensor]:
    """A learner's frozen image tower as a function on the CPU, (B, 3, H, W) -> (B, E)."""
    backbone = learner.backbone

    @torch.no_grad()
    def encode(images: Tensor) -> Tensor:
        features: Tensor = backbone.encode_image(images.to(backbone.device)).cpu()
        return features

    return encode


def _images(task: Task, transform: Transform, config: TrainConfig, workers: int) -> ImageBatches:
    """Shuffled batches of images for training."""
    return ImageBatches(
        task.images,
        task.train,
        transform,
        batch_size=config.batch_size,
        seed=config.seed,
        workers=workers,
    )


def _views(learner: Learner, task: Task, config: TrainConfig, store: FeatureStore, views: int) -> Tensor:
    """(K, N, E) features of K random views of every training image, or (1, N, E) of the plain ones."""
    preprocess = learner.backbone.preprocess
    transform = test_transform(preprocess) if views == 1 else train_transform(preprocess, config.crop)
    return torch.stack([_features(learner, task, task.train, store, transform, view=view) for view in range(views)])


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
        f"{learner.backbone.fingerprint}-{learner.backbone.precision}",
        transform,
        task.images,
        examples,
        seeds=view,
    )
    return features
