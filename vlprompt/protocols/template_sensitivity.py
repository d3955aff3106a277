"""Template sensitivity: every template with every set of label words. Gao et al., ACL 2021 (arXiv:2012.15723), table 2.

A cloze stands or falls with its wording: swapped label words turn answers round, words that have nothing to do with the
task guess. One row of results for each pair says how much of an accuracy is the wording's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace

from vlprompt.data.task import Task
from vlprompt.errors import UsageError
from vlprompt.learners import make_config
from vlprompt.results import Result
from vlprompt.runner import Bench, Entry

PROTOCOL = "template_sensitivity"
SHOTS = 16
SEEDS = (13, 21, 42, 87, 100)  # LM-BFF's (tools/generate_k_shot_data.py)
Words = tuple[tuple[str, ...], ...]  # label words of each class


def run(
    bench: Bench,
    task: Task,
    entries: Sequence[Entry],
    templates: Sequence[str] = (),
    words: Sequence[Words] = (),
    shots: int = SHOTS,
    seeds: Sequence[int] = SEEDS,
) -> Iterator[Result]:
    """One result per entry, template, words and seed, as they come; an entry that does not train is judged once.

    Args:
        bench: Where and on which language model.
        task: Of texts.
        entries: Learners of clozes.
        templates: To try; without any, the task's.
        words: Sets of label words to try, each with words for every class; without any, the task's and their reverse.
        shots: Texts a class to train on.
        seeds: Of the draw, the start and the order of training.

    Raises:
        UsageError: An entry that has no template, or a template or words that the model cannot use; before anything
            runs.
    """
    sets = list(words) or list(dict.fromkeys([task.words, task.words[::-1]]))
    pairs = [(template, own) for template in templates or task.templates for own in sets]
    cells = [worded(entry, template, own) for entry in entries for template, own in pairs]
    for cell in cells:
        bench.check(cell, task, {"": task})
    for cell in cells:
        if not cell.learns:
            yield bench.run(PROTOCOL, cell, task, {"": task}, shots=0, seed=0)
            continue
        for seed in seeds:
            drawn = task.few_shot(shots, seed)
            yield bench.run(PROTOCOL, cell, drawn, {"": drawn}, shots=shots, seed=seed)


def worded(entry: Entry, template: str, words: Words) -> Entry:
    """An entry with another template and other label words.

    Raises:
        UsageError: The method has none.
    """
    known = {each.name for each in fields(entry.config)}
    if not {"template", "words"} <= known:
        raise UsageError(f"{entry.method} has no template and label words; template sensitivity is for clozes.")
    config = make_config(type(entry.config), {**vars(entry.config), "template": template, "words": words})
    said = {"template": template, "words": "/".join(",".join(own) for own in words)}
    return replace(entry, config=config, changed={**entry.changed, **said})
