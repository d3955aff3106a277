"""An experiment is a TOML file: a protocol, data, a backbone and learners. The file's name is its name."""

import os
import string
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vlprompt.backbones import Clip, LanguageModel, Vit, load_lm
from vlprompt.backbones.loading import load_backbone
from vlprompt.data import catalog
from vlprompt.data.task import Task
from vlprompt.errors import UsageError, VlpromptError, unknown
from vlprompt.learners import make_config
from vlprompt.recipe import TrainConfig
from vlprompt.runner import Entry

FEW_SHOT, TRANSFER, ADAPTATION = "few_shot", ("cross_dataset", "domain_shift"), "domain_adaptation"
PROTOCOLS = (FEW_SHOT, "base_to_new", *TRANSFER, "zero_shot", ADAPTATION, "test_time")
PART = ("learners", "pseudo", "shots", "seeds", "set", "grid")  # what a part may change
SHARED = {"VLPROMPT_SHARED": "../shared"}  # variables that have a value without being set


@dataclass(frozen=True)
class Experiment:
    """What to run; $VARIABLES in root and backbone stand for those of the environment.

    Attributes:
        protocol: One of PROTOCOLS.
        task: A data set of the catalogue, or a folder of images below `root`.
        learners: As on the command line: "coop:cocoop-paper".
        pseudo: For domain_adaptation, learners that are trained on the target's pseudo-labels.
        pairs: For domain_adaptation, as on the command line: "amazon:dslr"; left out, every ordered pair.
        targets: For cross_dataset and domain_shift, tasks to judge on besides.
        root: The folder that holds the data.
        backbone: As on the command line: "tiny", "ViT-B-16", "local-dir:PATH"; a language model for clozes.
        pretrained: Its weights.
        shots: Images a class: several for few_shot, one number for the others; left out, what the protocol takes.
        seeds: Of everything random; left out, what the protocol takes.
        set: Changed settings, by learner, or of training under "train".
        grid: For few_shot, training settings to search on held-out images: {"lr": [0.1, 1.0]}.
        part: More rows of the same table in settings of their own: tables of `learners`, and of `pseudo`, `shots`,
            `seeds`, `set` and `grid` where they differ.
    """

    protocol: str
    task: str
    learners: list  # of texts, as TOML gives them; make_config checks the outermost type, __post_init__ the rest
    pseudo: list = field(default_factory=list)
    pairs: list = field(default_factory=list)
    targets: list = field(default_factory=list)
    root: str = "$VLPROMPT_SHARED/data"
    backbone: str = "tiny"
    pretrained: str = ""
    shots: list | int | None = None
    seeds: list = field(default_factory=list)
    set: dict = field(default_factory=dict)
    grid: dict = field(default_factory=dict)
    part: list = field(default_factory=list)

    def __post_init__(self) -> None:
        """Raise UsageError for what can be seen to be wrong before data or a model is opened."""
        if self.protocol not in PROTOCOLS:
            raise unknown("protocol", self.protocol, PROTOCOLS)
        for name, kind in (("learners", str), ("pseudo", str), ("pairs", str), ("targets", str), ("seeds", int)):
            if not all(type(item) is kind for item in getattr(self, name)):
                raise UsageError(f"{name} is {getattr(self, name)!r}; it must be a list of {kind.__name__}.")
        if bool(self.targets) != (self.protocol in TRANSFER):
            raise UsageError(f"{self.protocol} {'needs' if self.protocol in TRANSFER else 'takes no'} targets.")
        if (self.pseudo or self.pairs) and self.protocol != ADAPTATION:
            raise UsageError(f"{self.protocol} takes no pseudo and no pairs; {ADAPTATION} does.")
        listed = all(isinstance(tried, list) for tried in self.grid.values())
        if self.grid and not (listed and self.protocol == FEW_SHOT):
            raise UsageError(f"grid is {self.grid!r}; it is for {FEW_SHOT}, a list of values for each setting.")
        self._check_shots()
        self._check_settings()
        self.parts()

    def _check_shots(self) -> None:
        several = self.protocol == FEW_SHOT
        none = self.protocol in ("zero_shot", ADAPTATION)
        if self.shots is not None and (none or isinstance(self.shots, list) != several):
            needed = "left out" if none else "a list of numbers" if several else "one number"
            raise UsageError(f"shots is {self.shots!r}; for {self.protocol} it must be {needed}.")

    def _check_settings(self) -> None:
        entries = (*self.entries(), *self.entries(self.pseudo))
        methods = {part.method for entry in entries for part in entry.parts}
        for owner, changed in self.set.items():
            if owner not in methods | {"train"}:
                raise unknown("owner of settings", owner, methods | {"train"})
            if not isinstance(changed, dict):
                raise UsageError(f"set.{owner} is {changed!r}; it must be a table, as coop.n_ctx = 4 makes one.")
        make_config(TrainConfig, self.training)

    def entries(self, names: Sequence[str] = ()) -> list[Entry]:
        """The rows of the table, or others by name; raises UsageError for learners and settings that there are not."""
        return [Entry.parse(name, self.set) for name in names or self.learners]

    def parts(self) -> list["Experiment"]:
        """This experiment's own rows and those of its parts, each as an experiment without parts.

        Raises:
            UsageError: A part is no table, changes what makes the experiment one, or cannot run.
        """
        whole = replace(self, part=[]) if self.part else self
        for part in self.part:
            if not isinstance(part, dict) or "learners" not in part or part.keys() - PART:
                raise UsageError(f"part is {part!r}; it must be a table of learners, and of {', '.join(PART[1:])}.")
        return [whole, *(make_config(Experiment, {**vars(whole), **part}) for part in self.part)]

    @property
    def training(self) -> Mapping[str, Any]:
        """Training settings that replace those of the recipes."""
        return self.set.get("train", {})

    @property
    def of_texts(self) -> bool:
        """Whether its learners read texts."""
        return any(entry.kind.reads.of_texts for entry in self.entries())

    def open_backbone(self) -> Clip | Vit | LanguageModel:
        """The frozen model; raises VlpromptError where it is not on this machine."""
        if any(LanguageModel in entry.kind.takes for entry in self.entries()):
            return load_lm(expand(self.backbone))
        return load_backbone(expand(self.backbone), self.pretrained)

    def open_task(self, what: str) -> Task:
        """A task by name or folder; raises VlpromptError where it is not on this machine."""
        root = Path(expand(self.root))
        if self.of_texts:
            return catalog.open_texts(what, root)
        if self.protocol == ADAPTATION:
            return catalog.open_domains(what if what in catalog.names() else str(root / what), root)
        if what in catalog.names():
            task = catalog.open_task(what, root)
            return task.whole() if (self.protocol, what) == ("zero_shot", "digits") else task
        if (root / what).is_dir():
            return Task.from_folder(root / what)
        raise VlpromptError(f"no folder {root / what}, and no data set of that name.")


def read(path: Path) -> Experiment:
    """Read an experiment.

    Raises:
        UsageError: One line for what is wrong with it, the nearest names first.
    """
    try:
        return make_config(Experiment, tomllib.loads(path.read_text(encoding="utf-8")))
    except UsageError as error:
        raise UsageError(f"{path.name}: {error}") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"{path.name} is not TOML that can be read: {str(error).splitlines()[0]}.") from error
    except TypeError as error:  # a key that must be there is not
        raise UsageError(f"{path.name}: {str(error).replace('Experiment.__init__() ', '')}.") from error


def headline(path: Path) -> str:
    """The first line of an experiment's opening comment."""
    return path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")


def expand(text: str) -> str:
    """The text with the environment's values for its $VARIABLES.

    Raises:
        VlpromptError: One is not set.
    """
    try:
        return string.Template(text).substitute(SHARED | dict(os.environ))
    except (KeyError, ValueError) as error:
        raise VlpromptError(f"{text!r} names a variable that is not set ({error}).") from error
