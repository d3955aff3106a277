"""Options of the commands that open a saved prompt."""

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from vlprompt.errors import UsageError

if TYPE_CHECKING:
    from vlprompt.learner import PromptLearner


@dataclass(frozen=True)
class PromptOptions:
    """The frozen model of a saved prompt, and the output format.

    Attributes:
        backbone: The frozen model, if it is not available under the name that the prompt was trained with.
        pretrained: Weights of that model, as for few-shot.
        learner: The class of the prompt's method, if it is your own: FILE.py:CLASS or MODULE:CLASS; for a wrapped
            learner, both classes.
        precision: fp32 or bf16.
        device: cpu, cuda, cuda:1, mps, ...
        json: Print one JSON object per line.
    """

    backbone: str = ""
    pretrained: str = ""
    learner: tuple[str, ...] = ()
    precision: str = "fp32"
    device: str = "cpu"
    json: bool = False

    def load_prompt(self, prompt: Path, classes: Sequence[str] | None = None) -> "PromptLearner[Any, Any]":
        """Open a saved prompt with its frozen model.

        Raises:
            UsageError: Weights are given without a CLIP or a ViT that they belong to.
            VlpromptError: The prompt or its model cannot be opened.
        """
        from vlprompt import methods
        from vlprompt.backbones import LanguageModel, load_backbone, load_lm
        from vlprompt.backbones.saved import saved_backbone
        from vlprompt.checkpoint import description

        prompt = find_prompt(prompt)
        given = [methods.learner_class(name) for name in self.learner]
        kind = methods.saved_class(description(prompt)["method"], given, str(prompt))
        options = {"precision": self.precision, "device": self.device}
        of_texts = LanguageModel in kind.backbones
        if self.pretrained and (of_texts or not self.backbone):
            raise UsageError("--pretrained names weights of a CLIP or a ViT that --backbone names; give both.")
        own = (self.backbone, self.pretrained) if self.backbone else saved_backbone(prompt, of_texts=of_texts)
        frozen: Any = load_lm(own[0], **options) if of_texts else load_backbone(*own, **options)
        return methods.load(prompt, frozen, classes, learner=given)


def find_prompt(folder: Path) -> Path:
    """The folder of a saved prompt, whose name may be given without the key of its run at the end.

    Raises:
        UsageError: Several runs have this name.
    """
    runs = sorted(folder.parent.glob(f"{glob.escape(folder.name)}-????????"))
    if folder.exists() or not runs:
        return folder
    if len(runs) > 1:
        raise UsageError(f"{folder} names several runs: {', '.join(run.name for run in runs)}; give one of them.")
    return runs[0]


PromptRun = Annotated[PromptOptions, tyro.conf.OmitArgPrefixes, tyro.conf.arg(name="prompt")]
