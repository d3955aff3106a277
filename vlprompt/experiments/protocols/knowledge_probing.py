"""Knowledge probing: facts without their object, P@1 over the vocabulary, one relation at a time. Petroni et al. 2019.

A relation is a task whose classes are its objects, each with itself as label word. As in the authors' code (LAMA,
evaluation_metrics.py) an object is right only if it scores higher than all other words of the vocabulary; the metrics
are `vocabulary_top1`, `vocabulary_top10` and `vocabulary_mrr`. `top1` compares the relation's objects only, as does the
training of a method. An object that the model's tokenizer splits does not fit into one blank: such objects and their
facts are left out, as by LAMA's authors, and counted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from vlprompt.cloze.parts.base import ClozeLearner
from vlprompt.data import feed
from vlprompt.data.images import Example
from vlprompt.data.task import Task
from vlprompt.errors import UsageError
from vlprompt.experiments.defaults import PROBING_SEEDS
from vlprompt.experiments.plan import Tasks
from vlprompt.experiments.results import ALL_SHOTS, Result
from vlprompt.experiments.runner import Runner
from vlprompt.experiments.spec import LearnerSpec
from vlprompt.learner import PromptLearner
from vlprompt.training.evaluate import Scores

RANKED = 1000  # a lower rank counts as 0 in the mean reciprocal rank (evaluation_metrics.py, topk)


def run(
    runner: Runner, tasks: Sequence[Task], specs: Sequence[LearnerSpec], seeds: Sequence[int] = PROBING_SEEDS
) -> Iterator[Result]:
    """One result per relation, spec and seed, as they are finished; a learner that does not train is evaluated once.

    Args:
        runner: The language model, and where results go.
        tasks: One relation each, with all its facts.
        specs: Learners on clozes; those that train use all training facts of the relation.
        seeds: Of the initialisation and the order of training.

    Raises:
        UsageError: A relation without facts that fit the model; before anything runs.
    """
    relations = [single_pieces(task, runner.backbone) for task in tasks]
    for task, _ in relations:
        runner.check(specs, task)
    own = ProbingRunner(**{each.name: getattr(runner, each.name) for each in fields(Runner)})
    for task, left_out in relations:
        for spec in specs:
            shots, notes = ALL_SHOTS * spec.trains, {"left_out": left_out, "ranked": True}
            for seed in seeds if spec.trains else (0,):
                found = own.run("knowledge_probing", spec, task, shots=shots, seed=seed, notes=notes)
                if "ranked" not in found.extra:  # of an older version, without ranks in the vocabulary
                    again = replace(own, fresh=True)
                    found = again.run("knowledge_probing", spec, task, shots=shots, seed=seed, notes=notes)
                yield found


@dataclass(frozen=True)
class ProbingRunner(Runner):
    """A runner that also ranks the answers in the whole vocabulary."""

    def evaluate(
        self, learner: PromptLearner[Any, Any], train: Task, test_tasks: Tasks, *, before: bool = False
    ) -> dict[str, Scores]:
        """Scores by the prefix of their metrics, those of the vocabulary among them."""
        scores = super().evaluate(learner, train, test_tasks, before=before)
        if isinstance(learner, ClozeLearner):
            for part, task in test_tasks.items():
                scores[part].metrics.update(self._ranked(learner, task))
        return scores

    @torch.no_grad()
    def _ranked(self, learner: ClozeLearner[Any], task: Task) -> dict[str, float]:
        """The metrics of the answers' ranks; none where the method reads no words."""
        ranks = []
        data = feed.test_batches(learner.needs, learner.backbone, task, task.test, self.store, workers=self.workers)
        for batch in data.epoch(0):
            scores = learner.vocabulary_scores(batch.to(learner.backbone.device))
            if scores is None:
                return {}
            pieces = torch.tensor([own[0][0] for own in learner.verbalizer.word_pieces])
            ranks.append(answer_ranks(scores.float().cpu(), pieces[batch.labels.cpu()]))
        return {f"vocabulary_{name}": float(each.mean()) for name, each in rank_metrics(torch.cat(ranks)).items()}


def answer_ranks(scores: Tensor, answers: Tensor, among: Tensor | None = None) -> Tensor:
    """(N,) ranks of the answers, from 1.

    Args:
        scores: (N, V) of the vocabulary.
        answers: (N,) ids of the right words.
        among: (W,) ids of the words that compete; None: all.
    """
    right = scores.gather(1, answers[:, None])
    rivals = scores if among is None else scores[:, among]
    return (rivals > right).sum(1) + 1


def rank_metrics(ranks: Tensor) -> dict[str, Tensor]:
    """P@1, P@10 and reciprocal rank, float64, of each of (N,) ranks."""
    exact = ranks.double()
    return {
        "top1": (ranks == 1).double(),
        "top10": (ranks <= 10).double(),
        "mrr": torch.where(ranks <= RANKED, 1 / exact, 0.0),
    }


def single_pieces(task: Task, lm: Any) -> tuple[Task, int]:
    """The task on objects that are one token of a language model, and how many of its test facts are left out.

    Raises:
        UsageError: Fewer than two objects are left, or no test fact.
    """
    unknown = lm.vocabulary.unknown
    pieces = [lm.vocabulary.pieces(" " + words[0]) for words in task.words]
    known = [label for label, found in enumerate(pieces) if len(found) == 1 and found[0] != unknown]
    number = {label: place for place, label in enumerate(known)}

    def of_known(examples: Sequence[Example]) -> tuple[Example, ...]:
        return tuple(replace(each, label=number[each.label]) for each in examples if each.label in number)

    test = of_known(task.test)
    if len(known) < 2 or not test:
        raise UsageError(f"{task.name}: {lm.name} knows {len(known)} of its {len(task.classes)} objects as one piece.")
    classes, words = tuple(task.classes[label] for label in known), tuple(task.words[label] for label in known)
    train, val = of_known(task.train), of_known(task.val)
    return replace(task, classes=classes, words=words, train=train, val=val, test=test), len(task.test) - len(test)
