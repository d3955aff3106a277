"""Options that several commands share: data, frozen model, output folder and changed settings.

Torch is imported inside functions only, so that `vlprompt COMMAND --help` is fast.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from vlprompt.config import by_owner
from vlprompt.errors import UsageError, warn

if TYPE_CHECKING:
    from vlprompt.data.task import Task
    from vlprompt.experiments.runner import Runner
    from vlprompt.experiments.spec import LearnerSpec


@dataclass(frozen=True, kw_only=True)
class BaseOptions:
    """Options of every command that runs experiments.

    Attributes:
        task: The data.
        root: Folder that holds the data sets. Without it: $VLPROMPT_DATA, or ./data.
        backbone: The frozen model.
        pretrained: Weights of an open_clip or timm model: openai, laion2b_s34b_b88k, augreg_in21k, ...
        precision: fp32 or bf16.
        device: cpu, cuda, cuda:1, mps, ...
        out: Folder for results and prompts. Runs that have a result there are not repeated.
        set: Changed settings, as coop.n_ctx=4 or train.epochs=10.
        fresh: Repeat runs that already have a result.
        json: Print one JSON line per result instead of a table.
    """

    task: str
    root: Path | None = None
    backbone: str
    pretrained: str = ""
    precision: str = "fp32"
    device: str = "cpu"
    out: Path = Path("runs")
    set: tuple[str, ...] = ()
    fresh: bool = False
    json: bool = False

    def specs(self, names: Sequence[str]) -> list["LearnerSpec"]:
        """The learners of a run, from "coop", "coop:cocoop-paper" or "FILE.py:CLASS", with their changed settings.

        Raises:
            UsageError: A learner or a setting is unknown, or a setting belongs to none of the learners.
        """
        from vlprompt.experiments.spec import parse_specs

        return parse_specs(names, by_owner(self.set))

    def training(self) -> dict[str, Any]:
        """Training settings that replace those of the learners' recipes."""
        return by_owner(self.set).get("train", {})

    def _runner(self, backbone: Any, specs: Sequence["LearnerSpec"], workers: int = 0) -> "Runner":
        """The runner on a frozen model.

        Raises:
            UsageError: Training settings are given and no learner is trained in steps.
        """
        from vlprompt.data.features import FeatureStore
        from vlprompt.experiments.runner import Runner
        from vlprompt.training.distributed import current_processes

        options: dict[str, Any] = {"quiet": self.json, "processes": current_processes()}
        runner = Runner(backbone, self.out, FeatureStore(), self.training(), workers, self.fresh, **options)
        _check_effects(specs, runner.training)
        return runner


def _check_effects(specs: Sequence["LearnerSpec"], training: Mapping[str, Any]) -> None:
    """Warn of training settings that have no effect on some of the learners.

    Raises:
        UsageError: They have no effect on any.
    """
    from vlprompt.experiments.plan import without_effect

    trained = [spec for spec in specs if spec.trains]
    dropped = {spec.label: without_effect(spec.trained.published.training(1), training) for spec in trained}
    names = ", ".join(sorted({name for own in dropped.values() for name in own} or training))
    if training and all(dropped.values()):
        raise UsageError(f"no learner of this run is trained in steps, so {names} cannot be set.")
    if unchanged := [label for label, own in dropped.items() if own]:
        warn(f"{', '.join(unchanged)}: not trained in steps, so {names} cannot be set there.")


def _check_template(specs: Sequence["LearnerSpec"]) -> None:
    """Warn of a template that has no effect on some of the learners: they learn their words, or read none."""
    reading = {"template", "templates"}
    others = [spec.label for spec in specs if not any(reading & set(part.kind.from_task) for part in spec.parts)]
    if others:
        warn(f"--template has no effect on {', '.join(others)}.")


@dataclass(frozen=True, kw_only=True)
class RunOptions(BaseOptions):
    """Options of the commands on images.

    Attributes:
        task: A data set (`vlprompt list`), a folder with one folder of images per class, or a CSV file.
        backbone: tiny, a model of open_clip (ViT-B-16), timm:NAME, local-dir:PATH or hf-hub:ORG/REPO.
        template: A sentence around the class name, as "a photo of a {}.", instead of the data set's own.
        augment: How training images vary, instead of what the method's recipe says: paper, none or cached:K.
        workers: Processes that decode images.
        on_bad_image: What to do with an image that cannot be read: stop (error), or leave it out (skip).
    """

    task: str = "digits"
    backbone: str = "tiny"
    template: str = ""
    augment: str = ""
    workers: int = 0
    on_bad_image: Literal["error", "skip"] = "error"

    def open_task(self, *, domains: bool = False) -> "Task":
        """Read the data.

        Args:
            domains: Read a task of several domains; a folder then has one folder per domain.
        """
        from vlprompt.data import catalog
        from vlprompt.data.image_reader import readable

        task = (catalog.open_domains if domains else catalog.open_task)(self.task, self.root)
        task = readable(task) if self.on_bad_image == "skip" else task
        return replace(task, templates=(self.template,)) if self.template else task

    def training(self) -> dict[str, Any]:
        """Training settings that replace those of the learners' recipes."""
        return super().training() | ({"augment": self.augment} if self.augment else {})

    def runner(self, specs: Sequence["LearnerSpec"]) -> "Runner":
        """Load the backbone for some learners, and return what runs them."""
        from vlprompt.backbones import load_backbone

        if self.template:
            _check_template(specs)
        backbone = load_backbone(self.backbone, self.pretrained, precision=self.precision, device=self.device)
        return self._runner(backbone, specs, self.workers)


@dataclass(frozen=True, kw_only=True)
class LanguageModelOptions(BaseOptions):
    """Options of the commands on language models.

    Attributes:
        backbone: A language model of the Hugging Face hub (roberta-base, gpt2, t5-small), tiny, or local-dir:PATH; for
            clip_text a CLIP, in a run of its own.
        kind: masked, causal or encoder-decoder, where the model's files do not state it.
    """

    backbone: str = "roberta-base"
    kind: str = ""

    def runner(self, specs: Sequence["LearnerSpec"]) -> "Runner":
        """Load the language model, or the CLIP that all of the learners need, and return what runs them.

        Raises:
            UsageError: An option has no effect on the model.
        """
        from vlprompt.backbones import Clip, load_backbone, load_lm

        options = {"precision": self.precision, "device": self.device}
        if specs and all(Clip in spec.kind.backbones for spec in specs):
            if self.kind:
                raise UsageError(f"--kind is for language models; {specs[0].label} runs on a CLIP.")
            return self._runner(load_backbone(self.backbone, self.pretrained, **options), specs)
        if self.pretrained:
            raise UsageError("--pretrained is for CLIPs; a language model is named by --backbone alone.")
        return self._runner(load_lm(self.backbone, kind=self.kind, **options), specs)


@dataclass(frozen=True, kw_only=True)
class TextRunOptions(LanguageModelOptions):
    """Options of the commands on texts.

    Attributes:
        task: A data set (sst2, ag_news), a .csv, .tsv or .jsonl file, or a folder with files named train, dev and test.
        template: A sentence with a blank, as "{text} It was {mask}."; fields in braces are columns.
        words: Label words, one argument per class, several separated by commas: terrible,bad great,good. Without any:
            the data set's, or the class names.
        text_columns: Columns of your file that are texts. Without any: all but the label's.
        label_column: The column of your file that holds the class.
        unlabelled: N training texts, drawn at random, are used without their labels (pet and ipet learn from them).
    """

    task: str = "sst2"
    template: str = ""
    words: tuple[str, ...] = ()
    text_columns: tuple[str, ...] = ()
    label_column: str = "label"
    unlabelled: int = 0

    def open_task(self) -> "Task":
        """Read the data, with the given template and label words in place of its own.

        Raises:
            UsageError: There are label words for another number of classes, or columns of a data set of the catalogue.
        """
        from vlprompt.data import catalog, descriptors
        from vlprompt.data.task import set_aside

        columns = {"text_columns": self.text_columns, "label_column": self.label_column}
        in_catalogue = self.task.partition("/")[0] in descriptors.names()
        if in_catalogue and (self.text_columns or self.label_column != "label"):
            raise UsageError(f"--text-columns and --label-column are for your own files; {self.task} has its columns.")
        task = catalog.open_texts(self.task, self.root, template=self.template, **columns)
        words = tuple(tuple(own.split(",")) for own in self.words)
        if words and len(words) != len(task.classes):
            raise UsageError(f"--words has {len(words)} arguments for the classes {', '.join(task.classes)}; one each.")
        templates = (self.template,) if self.template else task.templates
        task = replace(task, templates=templates, words=words or task.words)
        return set_aside(task, self.unlabelled) if self.unlabelled else task


Run = Annotated[RunOptions, tyro.conf.OmitArgPrefixes, tyro.conf.arg(name="run")]
TextRun = Annotated[TextRunOptions, tyro.conf.OmitArgPrefixes, tyro.conf.arg(name="run")]
