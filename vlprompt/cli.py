"""The command line: flags in, tables out. What it does is in the protocols."""

import json
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import tyro
from tyro.conf import OmitArgPrefixes, Positional

from vlprompt import demo as demonstration
from vlprompt import learners, results
from vlprompt.backbones import load_clip, load_lm
from vlprompt.data import catalog
from vlprompt.data.features import FeatureStore
from vlprompt.data.task import Task
from vlprompt.errors import UsageError, VlpromptError, VlpromptWarning
from vlprompt.learners.base import Reads
from vlprompt.protocols import base_to_new, cross_dataset, domain_shift, few_shot, zero_shot
from vlprompt.report import plots, tables
from vlprompt.report import published as published_numbers
from vlprompt.report.paper import beside
from vlprompt.results import Result
from vlprompt.runner import Bench, Entry
from vlprompt.settings import by_owner
from vlprompt.text_cli import SEEDS as TEXT_SEEDS
from vlprompt.text_cli import Texts, text_of


@dataclass(frozen=True)
class Where:
    """The model, the data and the folder of a run.

    Attributes:
        task: A data set (`vlprompt list`), a folder with a folder of images per class, or a CSV file.
        root: The folder that holds the data set.
        template: Words around a class name instead of the data set's own, with {} for the name.
        backbone: tiny, a model of open_clip (ViT-B-16), local-dir:PATH or hf-hub:ORG/REPO.
        pretrained: Weights of a model of open_clip (openai, laion2b_s34b_b88k, ...).
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

    def open_task(self) -> Task:
        """The task, with its template replaced where one is given."""
        task = catalog.open_task(self.task, self.root)
        return replace(task, templates=(self.template,)) if self.template else task

    def bench(self) -> Bench:
        """The backbone and where results go."""
        backbone = load_clip(self.backbone, self.pretrained, precision=self.precision, device=self.device)
        training = {**by_owner(self.set).get("train", {}), **({"augment": self.augment} if self.augment else {})}
        return Bench(backbone, self.out, FeatureStore(), training, self.workers, self.fresh, quiet=self.json)

    def entries(self, names: Sequence[str]) -> list[Entry]:
        """The rows of a table, from "coop" and "coop:cocoop-paper"."""
        settings = by_owner(self.set)
        entries = [Entry.parse(name, settings) for name in names]
        used = {entry.method for entry in entries} | {"train"}
        for owner in settings.keys() - used:
            raise UsageError(f"--set {owner}.…: {owner} is not among the learners of this run; known: {sorted(used)}.")
        return entries


def _show(found: Iterable[Result], where: Where | Texts, table: Callable[[Sequence[Result]], str]) -> list[Result]:
    """Print result lines as they come, or a table at the end."""
    kept = []
    for result in found:
        kept.append(result)
        if where.json:
            print(result.to_json(), flush=True)
        elif sys.stderr.isatty() or len(kept) % 5 == 0:
            top = "  ".join(f"{k} {100 * v:.1f}" for k, v in result.metrics.items() if "top1" in k or "harmonic" in k)
            line = f"{result.learner} {result.variant} {result.shots} shots seed {result.seed}: {top}"
            print(line.replace("  ", " "), file=sys.stderr)
    if not where.json:
        print(table(kept))
        print(f"\nresults in {where.out / 'results.jsonl'}, prompts under {where.out / 'prompts'}")
    return kept


def demo(out: Path = Path("runs/demo"), seeds: tuple[int, ...] = (1, 2, 3), fresh: bool = False) -> None:
    """Watch a frozen CLIP learn a prompt: zero-shot, linear probe and CoOp on handwritten digits.

    Args:
        out: Folder for results, the plot and prompts.
        seeds: Of the few-shot draws.
        fresh: Run again what already has a result.
    """
    demonstration.run(out, seeds, fresh=fresh)


def list_(json: bool = False) -> None:
    """List learners with their published settings, data sets and protocols.

    Args:
        json: Print one JSON object.
    """
    found: dict[str, dict[str, Any]] = {
        "learners": {name: {v: x.source for v, x in learners.variants(name).items()} for name in learners.names()},
        "data sets": {name: _summary(catalog.describe(name)) for name in catalog.names()},
    }
    if json:
        print(_json(found))
        return
    for title, rows in found.items():
        print(title)
        for name, about in rows.items():
            lines = [about] if isinstance(about, str) else [f"{v}: {source}" for v, source in about.items()]
            for number, line in enumerate(lines):
                print(f"  {name if not number else '':<18} {line}")


def zero_shot_(where: OmitArgPrefixes[Where], learners: tuple[str, ...] = ("zero_shot",)) -> None:
    """Judge class names in templates; nothing is trained.

    Args:
        where: The model, the data and the folder of the run.
        learners: Rows: zero_shot (the data set's template), zero_shot:ensemble (with the seven of ImageNet).
    """
    task = where.open_task()
    task = task.whole() if where.task == "digits" else task
    _show(zero_shot.run(where.bench(), task, where.entries(learners)), where, tables.few_shot_table)


def few_shot_(
    where: OmitArgPrefixes[Where],
    learners: tuple[str, ...] = ("zero_shot", "linear_probe", "coop"),
    shots: tuple[int, ...] = few_shot.SHOTS,
    seeds: tuple[int, ...] = few_shot.SEEDS,
) -> None:
    """Train on K images a class, judge on the test split.

    Args:
        where: The model, the data and the folder of the run.
        learners: Rows of the table; a published setting follows a colon, as coop:cocoop-paper.
        shots: Images a class.
        seeds: Of the draw, the start and the order of training.
    """
    task, bench = where.open_task(), where.bench()
    _show(few_shot.run(bench, task, where.entries(learners), shots, seeds), where, tables.few_shot_table)


def base_to_new_(
    where: OmitArgPrefixes[Where],
    learners: tuple[str, ...] = ("zero_shot", "coop:cocoop-paper"),
    shots: int = base_to_new.SHOTS,
    seeds: tuple[int, ...] = base_to_new.SEEDS,
) -> None:
    """Train on half of the classes, judge on both halves.

    Args:
        where: The model, the data and the folder of the run.
        learners: Rows of the table; a published setting follows a colon, as coop:cocoop-paper.
        shots: Images a class.
        seeds: Of the draw, the start and the order of training.
    """
    task, bench = where.open_task(), where.bench()
    _show(base_to_new.run(bench, task, where.entries(learners), shots, seeds), where, tables.base_to_new_table)


def cross_dataset_(
    where: OmitArgPrefixes[Where],
    targets: tuple[str, ...],
    learners: tuple[str, ...] = ("zero_shot", "coop:cocoop-paper"),
    shots: int = cross_dataset.SHOTS,
    seeds: tuple[int, ...] = cross_dataset.SEEDS,
) -> None:
    """Train on one task, judge on others with their own classes and templates.

    Args:
        where: The model, the task to train on and the folder of the run.
        targets: Tasks to judge on: names or paths, as for --task.
        learners: Rows of the table; a published setting follows a colon, as coop:cocoop-paper.
        shots: Images a class.
        seeds: Of the draw, the start and the order of training.
    """
    source, bench = where.open_task(), where.bench()
    others = [catalog.open_task(target, where.root) for target in targets]
    found = cross_dataset.run(bench, source, others, where.entries(learners), shots, seeds)
    _show(found, where, tables.transfer_table)


def domain_shift_(
    where: OmitArgPrefixes[Where],
    targets: tuple[str, ...],
    learners: tuple[str, ...] = ("zero_shot", "coop:cocoop-paper"),
    shots: int = domain_shift.SHOTS,
    seeds: tuple[int, ...] = domain_shift.SEEDS,
) -> None:
    """Train on a source, judge on other versions of its classes.

    Args:
        where: The model, the task to train on and the folder of the run.
        targets: Tasks with the same classes or some of them: names or paths, as for --task.
        learners: Rows of the table; a published setting follows a colon, as coop:cocoop-paper.
        shots: Images a class.
        seeds: Of the draw, the start and the order of training.
    """
    source, bench = where.open_task(), where.bench()
    others = [catalog.open_task(target, where.root) for target in targets]
    found = domain_shift.run(bench, source, others, where.entries(learners), shots, seeds)
    _show(found, where, partial(tables.transfer_table, protocol="domain_shift"))


def cloze(
    where: OmitArgPrefixes[Texts],
    learners: tuple[str, ...] = ("hard_prompt", "prompt_oriented_fine_tuning"),
    shots: tuple[int, ...] = (16,),
    seeds: tuple[int, ...] = TEXT_SEEDS,
) -> None:
    """Tell texts apart by the word that a language model fills a blank with: train on K a class, judge on test.

    Args:
        where: The language model, the texts and the folder of the run.
        learners: Rows of the table; a published setting follows a colon, as hard_prompt:calibrated.
        shots: Texts a class.
        seeds: Of the draw, the start and the order of training.
    """
    rows = Where(set=where.set).entries(learners)
    task, bench = where.open_task(), where.bench()
    _show(few_shot.run(bench, task, rows, shots, seeds), where, tables.few_shot_table)


def predict(
    prompt: Positional[Path],
    items: Positional[tuple[str, ...]],
    classes: tuple[str, ...] = (),
    backbone: str = "",
    pretrained: str = "",
    precision: str = "fp32",
    device: str = "cpu",
    json: bool = False,
) -> None:
    """Name what is in some images, or what some texts are, with a saved prompt.

    Args:
        prompt: The folder that holds prompt.safetensors.
        items: Image files; or texts, those of several fields as JSON objects.
        classes: Other class names than those it was trained with.
        backbone: The frozen model, where it is not found under the name it was trained with.
        pretrained: Its weights.
        precision: fp32 or bf16.
        device: cpu, cuda, ...
        json: Print one JSON object a line.
    """
    if not items:
        raise UsageError("nothing to name; give one or more image files, or texts, after the prompt's folder.")
    texts = learners.learner_class(learners.kept_in(prompt, "method")).reads is Reads.TEXT
    frozen: Any
    if texts:
        frozen = load_lm(backbone or learners.kept_in(prompt, "backbone"), precision=precision, device=device)
    else:
        name, weights = (backbone, pretrained) if backbone else learners.backbone_of(prompt)
        frozen = load_clip(name, weights, precision=precision, device=device)
    learner = learners.load(prompt, frozen, list(classes) or None)
    given: list[Any] = [text_of(item) for item in items] if texts else list(items)
    for item, answer in zip(items, learner.classify(given), strict=True):
        if json:
            print(_json({"text" if texts else "image": item, **asdict(answer)}))
        else:
            print(f"{item}: {answer.label} ({100 * answer.probability:.1f} %)")


def report(
    results_file: Positional[Path] = Path("runs/results.jsonl"),
    form: str = "terminal",
    plot: Path | None = None,
    paper: Path | None = None,
) -> None:
    """Print tables of earlier results.

    Args:
        results_file: A results.jsonl.
        form: terminal, markdown or latex.
        plot: Also draw accuracy by shots into this PNG file.
        paper: Also set ours beside the published numbers in this file (benchmarks/paper.toml).
    """
    published = published_numbers.read_paper(paper) if paper else ()
    found = results.read(results_file)
    for protocol, table in (
        ("zero_shot", tables.few_shot_table),
        ("few_shot", tables.few_shot_table),
        ("base_to_new", tables.base_to_new_table),
        ("cross_dataset", tables.transfer_table),
        ("domain_shift", partial(tables.transfer_table, protocol="domain_shift")),
    ):
        chosen = [result for result in found if result.protocol == protocol]
        if chosen:
            print(table(chosen, form), end="\n\n")
    if paper is not None:
        nothing = f"{paper} has no numbers of the protocols, tasks, methods and shots in {results_file}"
        print(beside(found, published, form) or nothing, end="\n\n")
    if plot is not None:
        plots.accuracy_by_shots([result for result in found if result.protocol == "few_shot"], plot)
        print(f"plot in {plot}")


def cache(clear: bool = False) -> None:
    """Look at the store of image features, or empty it.

    Args:
        clear: Delete everything in it.
    """
    store = FeatureStore()
    if clear:
        store.clear()
    print(_json(store.info()))


COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "list": list_,
    "zero-shot": zero_shot_,
    "few-shot": few_shot_,
    "base-to-new": base_to_new_,
    "cross-dataset": cross_dataset_,
    "domain-shift": domain_shift_,
    "cloze": cloze,
    "predict": predict,
    "report": report,
    "cache": cache,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; exits with 0 when done, 1 when it failed, 2 on wrong usage, 130 on Ctrl-C."""
    warnings.showwarning = _warning_line  # type: ignore[assignment]
    try:
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS, prog="vlprompt", args=arguments, description="Prompt learning for frozen vision-language models."
        )
    except UsageError as error:
        _stop(str(error), 2)
    except VlpromptError as error:
        _stop(str(error), 1)
    except KeyboardInterrupt:
        _stop("stopped; the same command goes on from where it was", 130)
    except BrokenPipeError:  # the reader of our output has gone, as with `| head`
        sys.stderr.close()
        sys.exit(0)


def _stop(message: str, code: int) -> None:
    print(f"vlprompt: {message}", file=sys.stderr)
    sys.exit(code)


def _warning_line(message: Warning | str, category: type[Warning], *_: Any) -> None:
    """Our own warnings as one line; those of libraries are not the user's business here."""
    if issubclass(category, VlpromptWarning):
        print(f"vlprompt: warning: {message}", file=sys.stderr)


def _summary(known: catalog.Descriptor) -> str:
    sizes = ", ".join(f"{size:,} {split}" for split, size in known.sizes.items())
    return f"{known.title}: {known.classes} classes; {sizes}"


def _json(value: Any) -> str:
    return json.dumps(value, default=str)
