"""What the commands share: the model, the data and the folder of a run, and how results are shown."""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from vlprompt import learners, parallel, results
from vlprompt.backbones import LanguageModel, load_backbone, load_lm
from vlprompt.data import catalog
from vlprompt.data.features import FeatureStore
from vlprompt.data.task import Task
from vlprompt.errors import UsageError
from vlprompt.learners.base import PromptLearner
from vlprompt.results import Result
from vlprompt.runner import Bench, Entry
from vlprompt.settings import by_owner


@dataclass(frozen=True)
class Where:
    """The model, the data and the folder of a run.

    Attributes:
        task: A data set (`vlprompt list`), a folder with a folder of images per class, or a CSV file.
        root: The folder that holds the data set.
        template: Words around a class name instead of the data set's own, with {} for the name.
        backbone: tiny, a model of open_clip (ViT-B-16), timm:NAME, local-dir:PATH or hf-hub:ORG/REPO.
        pretrained: Weights of a model of open_clip or timm (openai, laion2b_s34b_b88k, augreg_in21k, ...).
        precision: fp32 or bf16.
        device: cpu, cuda, cuda:1, mps.
        out: Folder for results and prompts; runs that have a result there are not run again.
        augment: paper, none or cached:K, instead of what the method's recipe says.
        set: Changed settings, as coop.n_ctx=4 or train.epochs=10.
        workers: Processes that decode images.
        fresh: Run again what already has a result.
        json: Print result lines instead of tables.
    """

    task: str = "digits"
    root: Path | None = None
    template: str = ""
    backbone: str = "tiny"
    pretrained: str = ""
    precision: str = "fp32"
    device: str = "cpu"
    out: Path = Path("runs")
    augment: str = ""
    set: tuple[str, ...] = ()
    workers: int = 0
    fresh: bool = False
    json: bool = False

    def open_task(self, opened: Callable[[str, Path | None], Task] = catalog.open_task) -> Task:
        """The task, with its template replaced where one is given."""
        task = opened(self.task, self.root)
        return replace(task, templates=(self.template,)) if self.template else task

    def bench(self) -> Bench:
        """The backbone and where results go."""
        backbone = load_backbone(self.backbone, self.pretrained, precision=self.precision, device=self.device)
        training = {**by_owner(self.set).get("train", {}), **({"augment": self.augment} if self.augment else {})}
        store, team = FeatureStore(), parallel.started()
        return Bench(backbone, self.out, store, training, self.workers, self.fresh, quiet=self.json, team=team)

    def entries(self, names: Sequence[str]) -> list[Entry]:
        """The rows of a table, from "coop" and "coop:cocoop-paper"."""
        settings = by_owner(self.set)
        entries = [Entry.parse(name, settings) for name in names]
        used = {part.method for entry in entries for part in entry.parts} | {"train"}
        for owner in settings.keys() - used:
            raise UsageError(f"--set {owner}.…: {owner} is not among the learners of this run; known: {sorted(used)}.")
        return entries


class Kept(Protocol):
    """What `show` asks of a run's settings."""

    @property
    def json(self) -> bool:
        """Print result lines instead of tables."""

    @property
    def out(self) -> Path:
        """The folder of the run."""


def show(found: Iterable[Result], where: Kept, table: Callable[[Sequence[Result]], str]) -> list[Result]:
    """Print result lines as they come, or a table at the end."""
    kept = []
    for result in found:
        kept.append(result)
        if where.json:
            print(result.to_json(), flush=True)
        elif sys.stderr.isatty() or len(kept) % 5 == 0:
            top = "  ".join(f"{k} {100 * v:.1f}" for k, v in result.metrics.items() if "top1" in k or "harmonic" in k)
            shots = "all" if result.shots == results.ALL_SHOTS else result.shots
            line = f"{result.task} {result.learner} {result.variant} {shots} shots seed {result.seed}: {top}"
            if waiting := result.extra.get("waiting_for_data"):
                line += f" ({waiting:.0%} of the training waited for data)"
            print(line.replace("  ", " "), file=sys.stderr)
    if not where.json:
        print(table(kept))
        print(f"\nresults in {where.out / 'results.jsonl'}, prompts under {where.out / 'prompts'}")
    return kept


def load_prompt(
    prompt: Path,
    classes: list[str] | None = None,
    backbone: str = "",
    pretrained: str = "",
    *,
    precision: str = "fp32",
    device: str = "cpu",
) -> PromptLearner[Any]:
    """A saved prompt on the backbone it was trained with, or on the one that is named."""
    frozen: Any
    if LanguageModel in learners.learner_class(learners.kept_in(prompt, "method")).takes:
        frozen = load_lm(backbone or learners.kept_in(prompt, "backbone"), precision=precision, device=device)
    else:
        name, weights = (backbone, pretrained) if backbone else learners.backbone_of(prompt)
        frozen = load_backbone(name, weights, precision=precision, device=device)
    return learners.load(prompt, frozen, classes)


def as_json(value: Any) -> str:
    """One line of JSON; what JSON does not know, such as a path, as text."""
    return json.dumps(value, default=str)
