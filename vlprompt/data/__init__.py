"""Data: tasks, the readers that find them on disk, the batches a learner is fed, and features that are kept."""

from vlprompt.data.batch import Batch
from vlprompt.data.features import FeatureStore
from vlprompt.data.images import BadImageError, Example, Files, Images, Indexed
from vlprompt.data.loaders import (
    Batches,
    EncodedBatches,
    FeatureBatches,
    ImageBatches,
    JoinedBatches,
    TextBatches,
    ViewBatches,
)
from vlprompt.data.task import Task, base_and_new, few_shot, set_aside
from vlprompt.data.texts import Text
from vlprompt.data.transforms import Preprocess, Transform, test_transform, train_transform
from vlprompt.data.views import Views

__all__ = [
    "BadImageError",
    "Batch",
    "Batches",
    "EncodedBatches",
    "Example",
    "FeatureBatches",
    "FeatureStore",
    "Files",
    "ImageBatches",
    "Images",
    "Indexed",
    "JoinedBatches",
    "Preprocess",
    "Task",
    "Text",
    "TextBatches",
    "Transform",
    "ViewBatches",
    "Views",
    "base_and_new",
    "few_shot",
    "set_aside",
    "test_transform",
    "train_transform",
]
