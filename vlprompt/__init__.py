"""vlprompt: prompt learning for frozen vision-language models."""

from vlprompt import learners
from vlprompt.backbones import Clip, Vit, load_backbone, load_clip, load_vit
from vlprompt.data import Example, Task
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
    "Result",
    "Scores",
    "Task",
    "TrainConfig",
    "TrainReport",
    "UsageError",
    "Vit",
    "VlpromptError",
    "__version__",
    "evaluate",
    "fit",
    "learners",
    "load",
    "load_backbone",
    "load_clip",
    "load_task",
    "load_vit",
]
