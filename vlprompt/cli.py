"""The command line: flags in, tables out. What it does is in the protocols."""

import json
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tyro
from tyro.conf import OmitArgPrefixes, Positional

from vlprompt import demo as demonstration
from vlprompt import learners, results
from vlprompt.backbones import load_backbone, load_lm
from vlprompt.data import catalog
from vlprompt.data.domains import read_pair
from vlprompt.data.features import FeatureStore
from vlprompt.errors import UsageError, VlpromptError, VlpromptWarning
from vlprompt.grid import parse as parse_grid
from vlprompt.learners.base import PromptLearner, Reads
from vlprompt.protocols import (
    base_to_new,
    cross_dataset,
    domain_adaptation,
    domain_shift,
    few_shot,
    test_time,
    zero_shot,
)
from vlprompt.report import plots, tables
from vlprompt.report import published as published_numbers
from vlprompt.report.paper import beside
from vlprompt.runner import Entry
from vlprompt.settings import by_owner
from vlprompt.text_cli import SEEDS as TEXT_SEEDS
from vlprompt.text_cli import Texts, text_of
from vlprompt.where import Where, show


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
    show(zero_shot.run(where.bench(), task, where.entries(learners)), where, tables.few_shot_table)


def few_shot_(
    where: OmitArgPrefixes[Where],
    learners: tuple[str, ...] = ("zero_shot", "linear_probe", "coop"),
    shots: tuple[int, ...] = few_shot.SHOTS,
    seeds: tuple[int, ...] = few_shot.SEEDS,
    grid: tuple[str, ...] = (),
) -> None:
    """Train on K images a class, judge on the test split.

    Args:
        where: The model, the data and the folder of the run.
        learners: Rows of the table; a published setting follows a colon, as coop:cocoop-paper.
        shots: Images a class.
        seeds: Of the draw, the start and the order of training.
        grid: Training settings to search on images held out of training, as train.lr=0.1,1 train.weight_decay=0,0.01;
            what does best on the first seed's draw is used for all.
    """
    searched, task, bench = parse_grid(grid), where.open_task(), where.bench()
    found = few_shot.run(bench, task, where.entries(learners), shots, seeds, searched)
    show(found, where, tables.few_shot_table)


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
    show(base_to_new.run(bench, task, where.entries(learners), shots, seeds), where, tables.base_to_new_table)


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
    show(found, where, tables.transfer_table)


def domain_shift_(
    where: OmitArgPrefixes[Where],
    targets: tuple[str, ...] = (),
    learners: tuple[str, ...] = ("zero_shot", "coop:cocoop-paper"),
    shots: int = domain_shift.SHOTS,
    seeds: tuple[int, ...] = domain_shift.SEEDS,
) -> None:
    """Train on a source, judge on other versions of its classes.

    Args:
        where: The model, the task to train on and the folder of the run.
        targets: Tasks with the same classes or some of them: names or paths, as for --task. None: each domain of a task
            of several (pacs, office_home, a folder of domains), trained on the others.
        learners: Rows of the table; a published setting follows a colon, as coop:cocoop-paper.
        shots: Images a class.
        seeds: Of the draw, the start and the order of training.
    """
    source, bench = where.open_task(catalog.open_task if targets else catalog.open_domains), where.bench()
    others = [catalog.open_task(target, where.root) for target in targets]
    found = domain_shift.run(bench, source, others, where.entries(learners), shots, seeds)
    show(found, where, tables.BY_PROTOCOL["domain_shift" if targets else "leave_one_out"])


def adapt(
    where: OmitArgPrefixes[Where],
    learners: tuple[str, ...] = ("zero_shot", "coop", "dapl"),
    pseudo: tuple[str, ...] = (),
    pairs: tuple[str, ...] = (),
    held_out: bool = False,
    tau: float = domain_adaptation.TAU,
    seeds: tuple[int, ...] = domain_adaptation.SEEDS,
) -> None:
    """Learn from a labelled domain and another's images without labels, judge on the latter.

    Args:
        where: The model, a task of several domains (or a folder with a folder per domain) and the folder of the run.
        learners: Columns of the table; those that do not adapt learn from the source alone.
        pseudo: Columns that learn from the target's zero-shot pseudo-labels alone, as coop.
        pairs: SOURCE:TARGET or SOURCE+SOURCE:TARGET; none: every ordered pair of domains.
        held_out: Judge a test split of the target that was not adapted to, instead of all of its images for both.
        tau: The least confidence of a pseudo-label for --pseudo; DAPL's own is dapl.tau.
        seeds: Of the start and the order of training.
    """
    task, bench = where.open_task(catalog.open_domains), where.bench()
    rows = where.entries((*learners, *pseudo))
    found = domain_adaptation.run(
        bench,
        task,
        rows[: len(learners)],
        pseudo=rows[len(learners) :],
        pairs=[read_pair(pair) for pair in pairs],
        held_out=held_out,
        tau=tau,
        seeds=seeds,
    )
    show(found, where, tables.pairs_table)


def at_test_time(
    where: OmitArgPrefixes[Where],
    learners: tuple[str, ...] = ("zero_shot", "tpt", "mta", "zero", "tda"),
    shots: int = test_time.SHOTS,
    seeds: tuple[int, ...] = test_time.SEEDS,
) -> None:
    """Adapt to each test image, judge before and after.

    Args:
        where: The model, the data and the folder of the run.
        learners: Rows of the table; tpt+coop:cocoop-paper is tpt over a prompt that coop:cocoop-paper trains first.
        shots: Images a class to train on, where something is trained.
        seeds: Of the views, of the order of online methods, of the draw and of training.
    """
    task, bench = where.open_task(), where.bench()
    show(test_time.run(bench, task, where.entries(learners), shots, seeds), where, tables.stream_table)


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
    show(few_shot.run(bench, task, rows, shots, seeds), where, tables.few_shot_table)


def predict(
    prompt: Positional[Path],
    items: Positional[tuple[str, ...]],
    classes: tuple[str, ...] = (),
    adapt: str = "",
    set: tuple[str, ...] = (),  # noqa: A002
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
        adapt: Adapt to each image with this method (mta, zero, tda:tda-paper-shift); over a prompt that was trained if
            it can wrap one.
        set: Changed settings of it, as mta.views=32.
        backbone: The frozen model, where it is not found under the name it was trained with.
        pretrained: Its weights.
        precision: fp32 or bf16.
        device: cpu, cuda, ...
        json: Print one JSON object a line.
    """
    if not items:
        raise UsageError("nothing to name; give one or more image files, or texts, after the prompt's folder.")
    learner = _load(prompt, list(classes) or None, backbone, pretrained, precision=precision, device=device)
    if adapt:
        entry = Entry.parse(adapt, by_owner(set))
        if entry.over:
            raise UsageError(f"--adapt {adapt}: what is adapted is the prompt in {prompt}; give {entry.method} alone.")
        learner = entry.kind.over(learner, entry.config)
    texts = learner.reads is Reads.TEXT
    given: list[Any] = [text_of(item) for item in items] if texts else list(items)
    for item, answer in zip(items, learner.classify(given), strict=True):
        if json:
            print(_json({"text" if texts else "image": item, **asdict(answer)}))
        else:
            print(f"{item}: {answer.label} ({100 * answer.probability:.1f} %)")


def _load(
    prompt: Path, classes: list[str] | None, backbone: str, pretrained: str, *, precision: str, device: str
) -> PromptLearner[Any]:
    """A saved prompt on the backbone it was trained with, or the one that is named."""
    frozen: Any
    if learners.learner_class(learners.kept_in(prompt, "method")).reads is Reads.TEXT:
        frozen = load_lm(backbone or learners.kept_in(prompt, "backbone"), precision=precision, device=device)
    else:
        name, weights = (backbone, pretrained) if backbone else learners.backbone_of(prompt)
        frozen = load_backbone(name, weights, precision=precision, device=device)
    return learners.load(prompt, frozen, classes)


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
    for protocol, table in tables.BY_PROTOCOL.items():
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
    "adapt": adapt,
    "test-time": at_test_time,
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
