"""An experiment is a TOML file: a protocol, data, a backbone and learners. The file's name is its name."""

import os
import string
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vlprompt.backbones import Clip, LanguageModel, Vit, load_lm
from vlprompt.backbones.loading import load_backbone
from vlprompt.data import catalog
from vlprompt.data.task import Task, set_aside
from vlprompt.errors import UsageError, VlpromptError, unknown
from vlprompt.learners import make_config
from vlprompt.recipe import TrainConfig
from vlprompt.runner import Entry

FEW_SHOT, TRANSFER, ADAPTATION = "few_shot", ("cross_dataset", "domain_shift"), "domain_adaptation"
TEST_TIME, CONTINUAL = "test_time", "continual"
TAKES: Mapping[str, frozenset[str]] = {  # what only some protocols take
    FEW_SHOT: frozenset({"shots", "seeds", "grid"}),
    "base_to_new": frozenset({"shots", "seeds"}),
    **{protocol: frozenset({"shots", "seeds", "targets"}) for protocol in TRANSFER},
    "zero_shot": frozenset(),
    ADAPTATION: frozenset({"seeds", "pseudo", "pairs"}),
    TEST_TIME: frozenset({"shots", "seeds", "shares"}),
    CONTINUAL: frozenset({"shots", "seeds", "masked", "joint", "stream"}),
}
OWN = frozenset[str]().union(*TAKES.values())
ROWS = ("learners", "pseudo", "masked", "joint")  # what names learners
STREAM = {"tasks": int, "domains": bool, "listed": bool, "test_shots": int}  # as on the command line
PART = (*ROWS, "shots", "seeds", "set", "grid")  # what a part may change


@dataclass(frozen=True)
class Experiment:
    """What to run; $VARIABLES in root and backbone stand for those of the environment.

    Attributes:
        protocol: One of PROTOCOLS.
        task: A data set of the catalogue, or a folder of images below `root`.
        learners: As on the command line: "coop:cocoop-paper".
        pseudo: For domain_adaptation, learners that are trained on the target's pseudo-labels.
        masked: For continual, learners with a class mask on their head.
        joint: For continual, learners of all tasks at once.
        stream: For continual, how tasks are made: {"tasks": 5, "test_shots": 40}; see `protocols.continual.run`.
        pairs: For domain_adaptation, as on the command line: "amazon:dslr"; left out, every ordered pair.
        targets: For cross_dataset and domain_shift, tasks to judge on besides.
        root: The folder that holds the data; empty, as on the command line.
        backbone: As on the command line: "tiny", "ViT-B-16", "local-dir:PATH"; a language model for clozes.
        unlabelled: Of texts, so many for training lose their labels; pet and ipet learn from such.
        pretrained: Its weights.
        precision: fp32 or bf16.
        device: cpu, cuda, mps.
        shots: Images a class: several for few_shot, one number for the others; left out, what the protocol takes.
        seeds: Of everything random; left out, what the protocol takes.
        set: Changed settings, by learner, or of training under "train".
        grid: For few_shot, training settings to search on held-out images: {"lr": [0.1, 1.0]}.
        shares: For test_time in a sweep, parts to cut each stream of test images into, see `vlprompt.shares`.
        part: More rows of the same table in settings of their own: tables of `learners` (and `masked`, `joint`), and of
            `pseudo`, `shots`, `seeds`, `set` and `grid` where they differ.
    """

    protocol: str
    task: str
    learners: tuple[str, ...]  # a list, as TOML gives it, does as well
    pseudo: tuple[str, ...] = ()
    masked: tuple[str, ...] = ()
    joint: tuple[str, ...] = ()
    stream: dict[str, Any] = field(default_factory=dict)
    pairs: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    root: str = ""
    backbone: str = "tiny"
    unlabelled: int = 0
    pretrained: str = ""
    precision: str = "fp32"
    device: str = "cpu"
    shots: tuple[int, ...] | int | None = None
    seeds: tuple[int, ...] = ()
    set: dict[str, Any] = field(default_factory=dict)
    grid: dict[str, Any] = field(default_factory=dict)
    shares: int = 1
    part: tuple[dict[str, Any], ...] = ()

    def __post_init__(self) -> None:
        """Raise UsageError for what can be seen to be wrong before data or a model is opened."""
        if self.protocol not in TAKES:
            raise unknown("protocol", self.protocol, TAKES)
        for key in sorted(OWN - TAKES[self.protocol] - {"shots", "shares"}):
            if getattr(self, key):
                able = [protocol for protocol, keys in TAKES.items() if key in keys]
                raise UsageError(f"{self.protocol} takes no {key}; {', '.join(able)} can use it.")
        if "targets" in TAKES[self.protocol] and not self.targets:
            raise UsageError(f"{self.protocol} needs targets.")
        if not all(isinstance(tried, list) for tried in self.grid.values()):
            raise UsageError(f"grid is {self.grid!r}; it must be a list of values for each setting.")
        self._check_shots()
        self._check_settings()
        self._check_shares()
        self._check_stream()
        self.parts()

    def _check_shots(self) -> None:
        several = self.protocol == FEW_SHOT
        none = "shots" not in TAKES[self.protocol]
        if self.shots is not None and (none or isinstance(self.shots, int) == several):
            needed = "left out" if none else "a list of numbers" if several else "one number"
            raise UsageError(f"shots is {self.shots!r}; for {self.protocol} it must be {needed}.")

    def _check_shares(self) -> None:
        if self.shares < 1 or (self.shares > 1 and self.protocol != TEST_TIME):
            raise UsageError(f"shares is {self.shares}; it must be 1 or more, and more than 1 only for {TEST_TIME}.")
        online = [entry.method for entry in self.entries() if entry.kind.online]
        if self.shares > 1 and online:
            raise UsageError(
                f"{online[0]} is online: what it says of an image depends on the images before it, so its stream "
                "cannot be cut into shares; give it a part of its own with shares = 1."
            )

    def _check_stream(self) -> None:
        for name, given in self.stream.items():
            if name not in STREAM:
                raise unknown("setting of a stream", name, STREAM)
            if type(given) is not STREAM[name]:
                raise UsageError(f"stream.{name} is {given!r}; it must be of type {STREAM[name].__name__}.")

    def _check_settings(self) -> None:
        entries = self.entries([name for key in ROWS for name in getattr(self, key)])
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
        whole = replace(self, part=()) if self.part else self
        for part in self.part:
            if "learners" not in part or part.keys() - PART:
                raise UsageError(f"part is {part!r}; it must be a table of learners, and of {', '.join(PART[1:])}.")
        shared = {**vars(whole), "masked": (), "joint": ()}  # rows are those that a part names
        return [whole, *(make_config(Experiment, {**shared, **part}) for part in self.part)]

    @property
    def training(self) -> Mapping[str, Any]:
        """Training settings that replace those of the recipes."""
        training: Mapping[str, Any] = self.set.get("train", {})
        return training

    @property
    def of_texts(self) -> bool:
        """Whether its learners read texts."""
        return any(entry.kind.reads.of_texts for entry in self.entries())

    def open_backbone(self) -> Clip | Vit | LanguageModel:
        """The frozen model; raises VlpromptError where it is not on this machine."""
        name = expand(self.backbone)
        if any(LanguageModel in entry.kind.takes for entry in self.entries()):
            return load_lm(name, precision=self.precision, device=self.device)
        return load_backbone(name, self.pretrained, precision=self.precision, device=self.device)

    def open_tasks(self) -> list[Task]:
        """The task and the targets; raises VlpromptError where one is not on this machine."""
        return [self._open(what) for what in (self.task, *self.targets)]

    def _open(self, what: str) -> Task:
        root = Path(expand(self.root))
        known = what.partition("/")[0] in catalog.names()
        where, within = (what, root if self.root else None) if known else (str(root / what), None)
        if self.of_texts:
            task = catalog.open_texts(where, within)
            return set_aside(task, self.unlabelled) if self.unlabelled else task
        if self.protocol == ADAPTATION or self.stream.get("domains"):
            return catalog.open_domains(where, within)
        if not (known or (root / what).exists()):
            raise VlpromptError(f"no folder {root / what}, and no data set of that name.")
        task = catalog.open_task(where, within)
        return task.whole() if (self.protocol, what) == ("zero_shot", "digits") else task


def read(path: Path) -> Experiment:
    """Read an experiment.

    Raises:
        UsageError: One line for what is wrong with it, the nearest names first.
    """
    with mistakes_in(path):
        experiment: Experiment = make_config(Experiment, toml(path))
        return experiment


def toml(path: Path) -> dict[str, Any]:
    """What a TOML file says."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


@contextmanager
def mistakes_in(path: Path) -> Iterator[None]:
    """Make one line with the file's name of whatever is wrong in it.

    Raises:
        UsageError: There was something.
    """
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{path.name}: {error}") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"{path.name} is not TOML that can be read: {str(error).splitlines()[0]}.") from error
    except TypeError as error:  # a key that must be there is not
        raise UsageError(f"{path.name}: {str(error).replace('Experiment.__init__() ', '')}.") from error


def expand(text: str) -> str:
    """The text with the environment's values for its $VARIABLES.

    Raises:
        VlpromptError: One is not set.
    """
    try:
        return string.Template(text).substitute(os.environ)
    except (KeyError, ValueError) as error:
        raise VlpromptError(f"{text!r} names a variable that is not set ({error}).") from error
