"""Read a sweep file, which lists values on many axes, and divide it into single runs.

It is an experiment file (see `experiment.py`) in which `protocol`, `task` and `backbone` may be lists, `shots` too for
every protocol, and `[vary]` holds settings with several values each. Each table `[[part]]` is one more grid: the keys
above all tables, and its own instead of some.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

from vlprompt import methods
from vlprompt.config import make_config
from vlprompt.data.domains import all_pairs
from vlprompt.errors import UsageError, VlpromptError, unknown
from vlprompt.experiments.defaults import FEW_SHOT_SHOTS, SEEDS
from vlprompt.experiments.shards import Shard
from vlprompt.experiments.spec import LearnerSpec, owners
from vlprompt.experiments.sweep.experiment import (
    ADAPTATION,
    FEW_SHOT,
    LEARNERS,
    OPTIONAL,
    OPTIONS,
    TEST_TIME,
    Experiment,
    mistakes_in,
    toml,
)

T = TypeVar("T")
MOST_RUNS = 30_000  # of a sweep; more are a mistake, and making them would fill the memory
AXES = ("backbone", "task", "protocol")  # outermost first: neighbours share a model, then data


@dataclass(frozen=True)
class Unit:
    """One run, or a shard of one: what a worker does at a time.

    Attributes:
        experiment: With one learner, one number of shots and one seed. Only a search over training settings stays
            together, since its runs depend on one another.
        shard: The part of the stream to evaluate, where there are several.
    """

    experiment: Experiment
    shard: Shard | None = None

    @property
    def identity(self) -> str:
        """Text that is equal for equal units."""
        return json.dumps(asdict(self), sort_keys=True)

    @property
    def label(self) -> str:
        """The run in a few words."""
        own = self.experiment
        counts = [own.shots] if isinstance(own.shots, int) else own.shots or ()
        words = [own.protocol, *own.pairs, own.task]
        for key, what in zip(LEARNERS, ("", " on pseudo-labels", " masked", " jointly"), strict=True):
            words += [f"{spec.label}{what}" for spec in own.specs(key)]
        words += [f"{count} shot{'s' * (count > 1)}" for count in counts] + [f"seed {seed}" for seed in own.seeds]
        words += [f"{name}={value}" for name, value in own.training.items()]
        words += [f"shard {self.shard.number + 1} of {self.shard.count}"] if self.shard else []
        return " ".join(words)


def read_sweep(path: Path) -> list[Experiment]:
    """The experiments of a sweep file.

    Raises:
        UsageError: One line that names the mistake and the nearest correct names.
    """
    with mistakes_in(path):
        common = toml(path)
        parts = common.pop("part", [])
        if not (isinstance(parts, list) and all(isinstance(part, dict) for part in parts)):
            raise UsageError("part must be tables, each under a line [[part]].")
        whole = [common] if common.keys() >= {"protocol", "task", "learners"} or not parts else []
        merged = [*whole, *(_merged(common, part) for part in parts)]
        everybody = {owner for part in merged for owner in _owners(part)}
        grids = (_without(part, everybody - _owners(part)) for part in merged)
        return list(_limited(each for own in grids for each in _experiments(own)))


def units(experiments: Sequence[Experiment]) -> list[Unit]:
    """The single runs of some experiments, each once; UsageError where there are more than `MOST_RUNS`."""
    found = _limited(unit for experiment in experiments for unit in _units(experiment))
    return list({unit.identity: unit for unit in found}.values())


def _limited(found: Iterable[T]) -> Iterator[T]:
    """What is found, up to `MOST_RUNS`; UsageError where there is more."""
    for number, each in enumerate(found):
        if number == MOST_RUNS:
            raise UsageError(f"a sweep has at most {MOST_RUNS} runs; this one has more: divide it into several files.")
        yield each


def _merged(common: Mapping[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
    """The common keys, replaced by those of a part; settings are replaced owner by owner."""
    both = {**common, **part}
    for key in ("set", "vary"):
        if isinstance(common.get(key), dict) and isinstance(part.get(key), dict):
            both[key] = {**common[key], **part[key]}
    return both


def _owners(part: Mapping[str, Any]) -> set[str]:
    """What settings may call the methods of a part, which need not exist."""
    names = [name for key in LEARNERS for learner in part.get(key, []) for name in str(learner).split("+")]
    return {owner for name in names for owner in owners(methods.split_name(name)[0])}


def _without(part: Mapping[str, Any], others: set[str]) -> dict[str, Any]:
    """A part without the settings of methods that only other parts have."""
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
        if protocol not in OPTIONS:
            raise unknown("protocol", protocol, OPTIONS)
    for key in sorted(OPTIONAL & given.keys()):
        if not any(key in OPTIONS[protocol] for protocol in protocols):
            raise UsageError(f"{key} is given, and {', '.join(protocols)} cannot use it.")
    for backbone, task, protocol in product(*(_several(given, axis) for axis in AXES)):
        own = {key: value for key, value in given.items() if key not in OPTIONAL or key in OPTIONS[protocol]}
        place = {"backbone": backbone, "task": task, "protocol": protocol}
        for shots, settings in product(_shots(own, protocol), varied):
            yield make_config(Experiment, {**own, **shots, **place, "set": _changed(own.get("set", {}), settings)})


def _several(given: Mapping[str, Any], axis: str) -> list[Any]:
    """The values on an axis; UsageError where there are none."""
    value = given.get(axis, "tiny" if axis == "backbone" else [])
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(each, str) for each in values):
        raise UsageError(f"{axis} is {value!r}; it must be a name or a list of names.")
    return values


def _shots(own: Mapping[str, Any], protocol: str) -> list[dict[str, Any]]:
    """Shots in the form that a protocol needs: all in one list, or one number at a time."""
    if "shots" not in own:
        return [{}]
    values = own["shots"] if isinstance(own["shots"], list) else [own["shots"]]
    return [{"shots": values}] if protocol == FEW_SHOT else [{"shots": value} for value in values]


def _varied(vary: object) -> Iterator[dict[str, dict[str, Any]]]:
    """Every combination of the values under `[vary]`, as settings by owner.

    Raises:
        UsageError: It is not a table of tables of lists.
    """
    if not isinstance(vary, dict) or not all(isinstance(own, dict) for own in vary.values()):
        raise UsageError("vary must be a table of settings, as coop.n_ctx = [4, 16] makes one.")
    axes = [(owner, name, values) for owner, own in vary.items() for name, values in own.items()]
    if wrong := [f"{owner}.{name}" for owner, name, values in axes if not (isinstance(values, list) and values)]:
        raise UsageError(f"vary.{wrong[0]} must be a list of values.")
    if (points := math.prod(len(values) for _, _, values in axes)) > MOST_RUNS:
        raise UsageError(f"vary has {points} combinations; a sweep has at most {MOST_RUNS} runs.")
    for point in product(*(values for _, _, values in axes)):
        settings: dict[str, dict[str, Any]] = {}
        for (owner, name, _), value in zip(axes, point, strict=True):
            settings.setdefault(owner, {})[name] = value
        yield settings


def _changed(fixed: Mapping[str, Any], settings: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Settings by owner, some of them changed."""
    return {**fixed, **{owner: {**fixed.get(owner, {}), **own} for owner, own in settings.items()}}


def _units(experiment: Experiment) -> Iterator[Unit]:
    """The single runs of one experiment."""
    for whole in _pairs(experiment):
        none = {**vars(whole), **dict.fromkeys(LEARNERS, ())}
        for key, name in [(each, name) for each in LEARNERS for name in getattr(whole, each)]:
            row = make_config(Experiment, {**none, key: (name,), "set": _needed(whole.set, name)})
            for single in _single(row):
                count = single.shards
                yield from (Unit(single, Shard(i, count)) for i in range(count)) if count > 1 else (Unit(single),)


def _pairs(experiment: Experiment) -> list[Experiment]:
    """One experiment per pair of domains for domain adaptation; all others unchanged."""
    if experiment.protocol != ADAPTATION:
        return [experiment]
    pairs = experiment.pairs
    if not pairs:
        try:
            pairs = tuple(f"{'+'.join(sources)}:{target}" for sources, target in all_pairs(experiment.open_tasks()[0]))
        except VlpromptError:
            return [experiment]  # the run fails with the same error, which is then reported
    return [replace(experiment, pairs=(pair,)) for pair in pairs]


def _needed(settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The settings that make a difference to one learner."""
    spec = LearnerSpec.parse(name, settings)
    own = {owner for part in spec.parts for owner in owners(part.method)} | ({"train"} if spec.trains else set())
    return {owner: changed for owner, changed in settings.items() if owner in own}


def _single(experiment: Experiment) -> Iterator[Experiment]:
    """The experiment of one learner, divided by shots and seeds; what is not random runs once."""
    (spec,) = experiment.specs(*LEARNERS)
    options = OPTIONS[experiment.protocol]
    shots = experiment.shots or (FEW_SHOT_SHOTS if experiment.protocol == FEW_SHOT else None)
    counts: list[Any] = [shots] if shots is None or isinstance(shots, int) else [(count,) for count in shots]
    seeds = tuple(experiment.seeds or (SEEDS if "seeds" in options else ()))
    if not spec.trains:
        counts = [None]
    if not (spec.trains or (experiment.protocol == TEST_TIME and spec.adapts)):
        seeds = ()
    together = [seeds] if experiment.grid or not seeds else [(seed,) for seed in seeds]
    for count, own in product(counts, together):
        yield replace(experiment, shots=count, seeds=own)
