"""A sweep file says what to run on many axes at once; this cuts it into single runs.

It is an experiment's file (see `experiment.py`) in which `protocol`, `task` and `backbone` may be lists, `shots` too
for every protocol, and `[vary]` holds settings with several values each. Each table `[[part]]` makes one more grid, of
what stands above all of them and of what it says instead.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import product
from pathlib import Path
from typing import Any

from vlprompt.data.domains import all_pairs
from vlprompt.errors import UsageError, VlpromptError, unknown
from vlprompt.learners import make_config
from vlprompt.shares import Share
from vlprompt.sweep.experiment import ADAPTATION, FEW_SHOT, OWN, TAKES, TEST_TIME, Experiment, mistakes_in, toml
from vlprompt.sweep.running import SEEDS, SHOTS

AXES = ("backbone", "task", "protocol")  # outermost first: neighbours share a model, then data


@dataclass(frozen=True)
class Unit:
    """One run, or a share of one: what a worker does at a time.

    Attributes:
        experiment: Cut down to one learner, one number of shots and one seed. A search over training settings is the
            exception: its runs go by one another's results, so they stay together.
        share: The part of the stream to judge, where there are several.
    """

    experiment: Experiment
    share: Share | None = None

    @property
    def identity(self) -> str:
        """What equal units share."""
        return json.dumps(asdict(self), sort_keys=True)

    @property
    def label(self) -> str:
        """The run in a few words."""
        about = self.experiment
        counts = [about.shots] if isinstance(about.shots, int) else about.shots or ()
        words = [about.protocol, *about.pairs, about.task, *(entry.label for entry in about.entries())]
        words += [f"{entry.label} on pseudo-labels" for entry in about.entries(about.pseudo) if about.pseudo]
        words += [f"{count} shot{'s' * (count > 1)}" for count in counts] + [f"seed {seed}" for seed in about.seeds]
        words += [f"{name}={value}" for name, value in about.training.items()]
        words += [f"share {self.share.number + 1} of {self.share.count}"] if self.share else []
        return " ".join(words)


def read_sweep(path: Path) -> list[Experiment]:
    """The experiments of a sweep's file.

    Raises:
        UsageError: One line for what is wrong with it, the nearest names first.
    """
    with mistakes_in(path):
        common = toml(path)
        parts = common.pop("part", [])
        if not (isinstance(parts, list) and all(isinstance(part, dict) for part in parts)):
            raise UsageError("part must be tables, each under a line [[part]].")
        whole = [common] if common.keys() >= {"protocol", "task", "learners"} or not parts else []
        merged = [*whole, *(_merged(common, part) for part in parts)]
        everybody = {method for part in merged for method in _methods(part)}
        return [each for part in merged for each in _experiments(_fitting(part, everybody))]


def units(experiments: Sequence[Experiment]) -> list[Unit]:
    """The single runs of some experiments, each once."""
    found = [unit for experiment in experiments for unit in _units(experiment)]
    return list({unit.identity: unit for unit in found}.values())


def _merged(common: Mapping[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
    """What is common, with what a part says instead; settings are replaced owner by owner."""
    both = {**common, **part}
    for key in ("set", "vary"):
        if isinstance(common.get(key), dict) and isinstance(part.get(key), dict):
            both[key] = {**common[key], **part[key]}
    return both


def _methods(part: Mapping[str, Any]) -> set[str]:
    """The methods that a part names, whether or not there are such."""
    rows = [str(row) for key in ("learners", "pseudo") for row in part.get(key, [])]
    return {method.partition(":")[0] for row in rows for method in row.split("+")}


def _fitting(part: Mapping[str, Any], everybody: set[str]) -> dict[str, Any]:
    """A part without the settings of methods that only other parts have."""
    others = everybody - _methods(part)
    owned = {key: part[key] for key in ("set", "vary") if isinstance(part.get(key), dict)}
    return {**part, **{key: {o: own for o, own in table.items() if o not in others} for key, table in owned.items()}}


def _experiments(given: dict[str, Any]) -> Iterator[Experiment]:
    """The experiments of one grid."""
    known = {field.name for field in fields(Experiment)} - {"part"} | {"vary"}
    for key in given:
        if key not in known:
            raise unknown("key of a sweep", key, known)
    varied = list(_varied(given.pop("vary", {})))
    protocols = _several(given, "protocol")
    for protocol in protocols:
        if protocol not in TAKES:
            raise unknown("protocol", protocol, TAKES)
    for key in sorted(OWN & given.keys()):
        if not any(key in TAKES[protocol] for protocol in protocols):
            raise UsageError(f"{key} is given, and {', '.join(protocols)} cannot use it.")
    for backbone, task, protocol in product(*(_several(given, axis) for axis in AXES)):
        own = {key: value for key, value in given.items() if key not in OWN or key in TAKES[protocol]}
        place = {"backbone": backbone, "task": task, "protocol": protocol}
        for shots, settings in product(_shots(own, protocol), varied):
            yield make_config(Experiment, {**own, **shots, **place, "set": _with(own.get("set", {}), settings)})


def _several(given: Mapping[str, Any], axis: str) -> list[Any]:
    """The values on an axis.

    Raises:
        UsageError: There are none.
    """
    value = given.get(axis, "tiny" if axis == "backbone" else [])
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(each, str) for each in values):
        raise UsageError(f"{axis} is {value!r}; it must be a name or a list of names.")
    return values


def _shots(own: Mapping[str, Any], protocol: str) -> list[dict[str, Any]]:
    """Shots as a protocol takes them: all in one list, or one number at a time."""
    if "shots" not in own:
        return [{}]
    values = own["shots"] if isinstance(own["shots"], list) else [own["shots"]]
    return [{"shots": values}] if protocol == FEW_SHOT else [{"shots": value} for value in values]


def _varied(vary: object) -> Iterator[dict[str, dict[str, Any]]]:
    """Every combination of the values under `[vary]`, as settings by owner.

    Raises:
        UsageError: It is not made of lists of values.
    """
    owners = vary.items() if isinstance(vary, dict) else ()
    axes = [(owner, name, values) for owner, own in owners if isinstance(own, dict) for name, values in own.items()]
    if not isinstance(vary, dict) or not all(isinstance(own, dict) for own in vary.values()):
        raise UsageError("vary must be a table of settings, as coop.n_ctx = [4, 16] makes one.")
    if wrong := [f"{owner}.{name}" for owner, name, values in axes if not (isinstance(values, list) and values)]:
        raise UsageError(f"vary.{wrong[0]} must be a list of values.")
    for point in product(*(values for _, _, values in axes)):
        settings: dict[str, dict[str, Any]] = {}
        for (owner, name, _), value in zip(axes, point, strict=True):
            settings.setdefault(owner, {})[name] = value
        yield settings


def _with(fixed: Mapping[str, Any], settings: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Settings by owner, some of them changed."""
    return {**fixed, **{owner: {**fixed.get(owner, {}), **own} for owner, own in settings.items()}}


def _units(experiment: Experiment) -> Iterator[Unit]:
    """The single runs of one experiment."""
    for whole in _pairs(experiment):
        rows = [replace(whole, learners=(name,), pseudo=(), set=_needed(whole, name)) for name in whole.learners]
        rows += [replace(whole, learners=(), pseudo=(name,), set=_needed(whole, name)) for name in whole.pseudo]
        for cut in (each for row in rows for each in _cut(row)):
            shares = [Share(number, cut.shares) for number in range(cut.shares)] if cut.shares > 1 else [None]
            yield from (Unit(cut, share) for share in shares)


def _pairs(experiment: Experiment) -> list[Experiment]:
    """An adaptation, a pair of domains at a time; all others as they are."""
    if experiment.protocol != ADAPTATION:
        return [experiment]
    pairs = experiment.pairs
    if not pairs:
        try:
            pairs = tuple(f"{'+'.join(sources)}:{target}" for sources, target in all_pairs(experiment.open_tasks()[0]))
        except VlpromptError:
            return [experiment]  # whoever runs it meets the same error and tells of it
    return [replace(experiment, pairs=(pair,)) for pair in pairs]


def _needed(experiment: Experiment, name: str) -> dict[str, Any]:
    """The settings that make a difference to one learner."""
    (entry,) = experiment.entries([name])
    owners = {part.method for part in entry.parts} | ({"train"} if entry.learns else set())
    return {owner: own for owner, own in experiment.set.items() if owner in owners}


def _cut(experiment: Experiment) -> Iterator[Experiment]:
    """The experiment of one learner, one number of shots and one seed at a time; what is not random once."""
    (entry,) = experiment.entries([*experiment.learners, *experiment.pseudo])
    shots = experiment.shots or SHOTS.get(experiment.protocol)
    counts: list[Any] = [shots] if shots is None or isinstance(shots, int) else [(count,) for count in shots]
    seeds = tuple(experiment.seeds or SEEDS.get(experiment.protocol, ()))
    if not entry.learns:
        counts = [None]
    if not (entry.learns or (experiment.protocol == TEST_TIME and entry.adapts)):
        seeds = ()
    together = [seeds] if experiment.grid or not seeds else [(seed,) for seed in seeds]
    for count, own in product(counts, together):
        yield replace(experiment, shots=count, seeds=own)
