"""vlprompt: prompt learning for frozen vision-language models."""

from vlprompt import cloze, learners
from vlprompt.backbones import Clip, LanguageModel, Vit, load_backbone, load_clip, load_lm, load_vit
from vlprompt.data import Example, Task, Text
from vlprompt.data.catalog import load_task
from vlprompt.errors import UsageError, VlpromptError
from vlprompt.evaluate import Scores, evaluate
from vlprompt.learners import load
from vlprompt.recipe import TrainConfig
from vlprompt.results import Result
from vlprompt.train import TrainReport, fit

__version__ = "0.1.0"

__all__ = [
    "Clip",
    "Example",
    "LanguageModel",
    "Result",
    "Scores",
    "Task",
    "Text",
    "TrainConfig",
    "TrainReport",
    "UsageError",
    "Vit",
    "VlpromptError",
    "__version__",
    "cloze",
    "evaluate",
    "fit",
    "learners",
    "load",
    "load_backbone",
    "load_clip",
    "load_lm",
    "load_task",
    "load_vit",
]
