"""Experiment: a protocol, data, a backbone and learners, read from a TOML file. The file's name is its name."""

import os
import string
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vlprompt.backbones import Clip, LanguageModel, Vit, load_backbone, load_lm
from vlprompt.config import make_config
from vlprompt.data import catalog, descriptors
from vlprompt.data.task import Task, set_aside
from vlprompt.errors import UsageError, VlpromptError, unknown
from vlprompt.experiments.spec import LearnerSpec, parse_specs
from vlprompt.training.config import TrainConfig

FEW_SHOT, TRANSFER, ADAPTATION = "few_shot", ("cross_dataset", "domain_shift"), "domain_adaptation"
TEST_TIME, CONTINUAL = "test_time", "continual"
OPTIONS: Mapping[str, frozenset[str]] = {  # fields that only some protocols use, by protocol
    FEW_SHOT: frozenset({"shots", "seeds", "grid"}),
    "base_to_new": frozenset({"shots", "seeds"}),
    **{protocol: frozenset({"shots", "seeds", "targets"}) for protocol in TRANSFER},
    "zero_shot": frozenset(),
    ADAPTATION: frozenset({"seeds", "pseudo", "pairs"}),
    TEST_TIME: frozenset({"shots", "seeds", "shards"}),
    CONTINUAL: frozenset({"shots", "seeds", "masked", "joint", "stream"}),
}
OPTIONAL = frozenset[str]().union(*OPTIONS.values())
LEARNERS = ("learners", "pseudo", "masked", "joint")  # fields that name learners
STREAM = {"tasks": int, "domains": bool, "listed": bool, "test_shots": int}  # as on the command line
PART = (*LEARNERS, "shots", "seeds", "set", "grid")  # fields that a part may change


@dataclass(frozen=True)
class Experiment:
    """What to run. In `root` and `backbone`, $VARIABLE is replaced by the environment variable's value.

    Attributes:
        protocol: A key of `OPTIONS`.
        task: A data set of the catalogue, or a folder of images below `root`.
        learners: As on the command line: "coop:cocoop-paper", "my_methods.py:MyLearner" (in the working folder).
        pseudo: For domain_adaptation, learners that train on the target's pseudo-labels.
        masked: For continual, learners with a class mask on their head.
        joint: For continual, learners that train on all tasks at once.
        stream: For continual, the division into tasks: {"tasks": 5, "test_shots": 40}; see `protocols.continual.run`.
        pairs: For domain_adaptation, as on the command line: "amazon:dslr"; none: every ordered pair.
        targets: For cross_dataset and domain_shift, other tasks to evaluate on.
        root: The folder that holds the data; empty: as on the command line.
        backbone: As on the command line: "tiny", "ViT-B-16", "local-dir:PATH"; a language model for clozes.
        unlabelled: N training texts are used without their labels (pet and ipet learn from them).
        pretrained: The backbone's weights.
        precision: fp32 or bf16.
        device: cpu, cuda, mps.
        shots: Images per class: a list for few_shot, one number for the others; None: the protocol's default.
        seeds: Of everything random; none: the protocol's default.
        set: Changed settings, by learner, or of training under "train".
        grid: For few_shot, training settings to search on held-out images: {"lr": [0.1, 1.0]}.
        shards: For test_time in a sweep, parts that each stream of test images is divided into; see
            `vlprompt.experiments.shards`.
        part: More learners in the same table with other settings: tables of `learners` (and `masked`, `joint`), and of
            `pseudo`, `shots`, `seeds`, `set` and `grid` where they differ.
    """

    protocol: str
    task: str
    learners: tuple[str, ...]  # or a list, as TOML gives it
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
    shards: int = 1
    part: tuple[dict[str, Any], ...] = ()

    def __post_init__(self) -> None:
        """Raise UsageError for mistakes that are visible before data or a model is opened."""
        if self.protocol not in OPTIONS:
            raise unknown("protocol", self.protocol, OPTIONS)
        options = OPTIONS[self.protocol]
        for key in sorted(OPTIONAL - options - {"shots", "shards"}):
            if getattr(self, key):
                able = [protocol for protocol, keys in OPTIONS.items() if key in keys]
                raise UsageError(f"{self.protocol} takes no {key}; {', '.join(able)} can use it.")
        if "targets" in options and not self.targets:
            raise UsageError(f"{self.protocol} needs targets.")
        if not all(isinstance(tried, list) for tried in self.grid.values()):
            raise UsageError(f"grid is {self.grid!r}; it must be a list of values for each setting.")
        self._check_shots()
        self._check_settings()
        self._check_shards()
        self._check_stream()
        self.parts()

    def _check_shots(self) -> None:
        several = self.protocol == FEW_SHOT
        none = "shots" not in OPTIONS[self.protocol]
        if self.shots is not None and (none or isinstance(self.shots, int) == several):
            needed = "left out" if none else "a list of numbers" if several else "one number"
            raise UsageError(f"shots is {self.shots!r}; for {self.protocol} it must be {needed}.")

    def _check_settings(self) -> None:
        for owner, changed in self.set.items():
            if not isinstance(changed, dict):
                raise UsageError(f"set.{owner} is {changed!r}; it must be a table, as coop.n_ctx = 4 makes one.")
        parse_specs([name for key in LEARNERS for name in getattr(self, key)], self.set)
        make_config(TrainConfig, self.training)

    def _check_shards(self) -> None:
        if self.shards < 1 or (self.shards > 1 and self.protocol != TEST_TIME):
            raise UsageError(f"shards is {self.shards}; it must be 1 or more, and more than 1 only for {TEST_TIME}.")
        online = [spec.kind.method() for spec in self.specs() if spec.online]
        if self.shards > 1 and online:
            raise UsageError(
                f"{online[0]} is online: its answer to an image depends on the images before it, so its stream cannot "
                "be divided into shards; give it a part of its own with shards = 1."
            )

    def _check_stream(self) -> None:
        for name, given in self.stream.items():
            if name not in STREAM:
                raise unknown("setting of a stream", name, STREAM)
            if type(given) is not STREAM[name]:
                raise UsageError(f"stream.{name} is {given!r}; it must be of type {STREAM[name].__name__}.")

    def specs(self, *keys: str) -> list[LearnerSpec]:
        """The learners named by `learners`, or by other fields; UsageError for an unknown learner or setting."""
        return [LearnerSpec.parse(name, self.set) for key in keys or ("learners",) for name in getattr(self, key)]

    def parts(self) -> list["Experiment"]:
        """This experiment's own learners and those of its parts, each as an experiment without parts.

        Raises:
            UsageError: A part is not a table, changes a field that it must not, or cannot run.
        """
        whole = replace(self, part=()) if self.part else self
        for part in self.part:
            if "learners" not in part or part.keys() - PART:
                raise UsageError(f"part is {part!r}; it must be a table of learners, and of {', '.join(PART[1:])}.")
        shared = {**vars(whole), "masked": (), "joint": ()}
        return [whole, *(make_config(Experiment, {**shared, **part}) for part in self.part)]

    @property
    def training(self) -> Mapping[str, Any]:
        """Training settings that replace those of the recipes."""
        training: Mapping[str, Any] = self.set.get("train", {})
        return training

    @property
    def of_texts(self) -> bool:
        """Whether its learners read texts."""
        return any(spec.kind.needs.input.of_texts for spec in self.specs())

    def open_backbone(self) -> Clip | Vit | LanguageModel:
        """The frozen model; raises VlpromptError where it is not on this machine."""
        name = expand(self.backbone)
        if any(LanguageModel in spec.kind.backbones for spec in self.specs()):
            return load_lm(name, precision=self.precision, device=self.device)
        return load_backbone(name, self.pretrained, precision=self.precision, device=self.device)

    def open_tasks(self) -> list[Task]:
        """The task and the targets; raises VlpromptError where one is not on this machine."""
        return [self._open(name) for name in (self.task, *self.targets)]

    def _open(self, name: str) -> Task:
        root = Path(expand(self.root))
        known = name.partition("/")[0] in descriptors.names()
        what, within = (name, root if self.root else None) if known else (str(root / name), None)
        if self.of_texts:
            task = catalog.open_texts(what, within)
            return set_aside(task, self.unlabelled) if self.unlabelled else task
        if self.protocol == ADAPTATION or self.stream.get("domains"):
            return catalog.open_domains(what, within)
        if not (known or (root / name).exists()):
            raise VlpromptError(f"no folder {root / name}, and no data set of that name.")
        task = catalog.open_task(what, within)
        return task.whole() if (self.protocol, name) == ("zero_shot", "digits") else task


def read(path: Path) -> Experiment:
    """Read an experiment.

    Raises:
        UsageError: One line that names the mistake and the nearest correct names.
    """
    with mistakes_in(path):
        experiment: Experiment = make_config(Experiment, toml(path))
        return experiment


def toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


@contextmanager
def mistakes_in(path: Path) -> Iterator[None]:
    """Turn errors about the content of a file into one line with the file's name.

    Raises:
        UsageError: There was an error.
    """
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{path.name}: {error}") from error
    except (OSError, ValueError, RecursionError) as error:  # the last one: lists that are nested too deeply
        raise UsageError(f"{path.name} is not TOML that can be read: {str(error).splitlines()[0]}.") from error
    except TypeError as error:  # a required key is missing
        raise UsageError(f"{path.name}: {str(error).replace('Experiment.__init__() ', '')}.") from error


def expand(text: str) -> str:
    """The text with the environment's values in place of its $VARIABLES.

    Raises:
        VlpromptError: A variable is not set.
    """
    try:
        return string.Template(text).substitute(os.environ)
    except (KeyError, ValueError) as error:
        raise VlpromptError(f"{text!r} names a variable that is not set ({error}).") from error
