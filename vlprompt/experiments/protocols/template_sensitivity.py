"""Template sensitivity: every template with every set of label words. Gao et al., ACL 2021 (arXiv:2012.15723), table 2.

The accuracy of a cloze depends on its wording: swapped label words invert the answers, unrelated words give answers by
chance. One result for each template and set of words shows how much of an accuracy is due to the wording.
"""

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace

from vlprompt.config import make_config
from vlprompt.data.task import Task
from vlprompt.errors import UsageError
from vlprompt.experiments.defaults import SHOTS, TEXT_SEEDS
from vlprompt.experiments.results import Result
from vlprompt.experiments.runner import Runner
from vlprompt.experiments.spec import LearnerSpec

Words = tuple[tuple[str, ...], ...]  # label words of each class


def run(
    runner: Runner,
    task: Task,
    specs: Sequence[LearnerSpec],
    templates: Sequence[str] = (),
    words: Sequence[Words] = (),
    shots: int = SHOTS,
    seeds: Sequence[int] = TEXT_SEEDS,
) -> Iterator[Result]:
    """One result per spec, template, words and seed, as they are finished; what does not train is evaluated once.

    Args:
        runner: The language model, and where results go.
        task: Of texts.
        specs: Learners on clozes.
        templates: To try; none: the task's.
        words: Sets of label words to try, each with words for every class; none: the task's, and those in reverse.
        shots: Texts per class to train on.
        seeds: Of the draw, the initialisation and the order of training.

    Raises:
        UsageError: A learner without a template, or a template or words that the model cannot use; before anything
            runs.
    """
    sets = list(words) or list(dict.fromkeys([task.words, task.words[::-1]]))
    pairs = [(template, own) for template in templates or task.templates for own in sets]
    cells = [worded(spec, template, own) for spec in specs for template, own in pairs]
    runner.check(cells, task)
    for cell in cells:
        for drawn, count, seed in cell.draws(task, shots, seeds):
            yield runner.run("template_sensitivity", cell, drawn, shots=count, seed=seed)


def worded(spec: LearnerSpec, template: str, words: Words) -> LearnerSpec:
    """A spec with another template and other label words.

    Raises:
        UsageError: The method has none.
    """
    if not {"template", "words"} <= {each.name for each in fields(spec.config)}:
        raise UsageError(f"{spec.kind.method()} has no template and label words; template sensitivity is for clozes.")
    config = make_config(spec.kind.Config, {**vars(spec.config), "template": template, "words": words})
    label = {"template": template, "words": "/".join(",".join(own) for own in words)}
    return replace(spec, config=config, changed={**spec.changed, **label})
