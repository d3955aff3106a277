"""LAMA's precision at 1: facebookresearch/LAMA, lama/evaluation_metrics.py."""

from collections.abc import Mapping
from typing import Any

import torch

from benchmarks.parity.case import Case
from benchmarks.parity.models import Models
from vlprompt.cloze import HardPrompt, HardPromptConfig
from vlprompt.data.batch import Batch
from vlprompt.experiments.protocols.knowledge_probing import answer_ranks, rank_metrics

METHOD = r"LAMA P@1 \(.*\)"
INPUTS = ("subset",)


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """Metrics of each fact over the vocabulary and a part of it, and whether it is right among the objects."""
    lm, facts = models.lm(case.backbone), case.hyper["facts"]
    objects = list(dict.fromkeys(thing for _, thing in facts))
    template = str(case.hyper["template"]).replace("[X]", "{subject}").replace("[Y]", "{mask}")
    learner = HardPrompt(lm, objects, HardPromptConfig(template))
    batch = Batch.of_texts([{"subject": subject} for subject, _ in facts])
    labels = torch.tensor([objects.index(thing) for _, thing in facts])
    answers = torch.tensor([own[0][0] for own in learner.verbalizer.word_pieces])[labels]
    with torch.no_grad():
        scores = learner.vocabulary_scores(batch)
    assert scores is not None
    every = rank_metrics(answer_ranks(scores, answers))
    return {
        "p1": every["top1"],
        "p10": every["top10"],
        "mrr": every["mrr"],
        "p1_subset": rank_metrics(answer_ranks(scores, answers, case.tensor("subset")))["top1"],
        "log_prob": scores.double().log_softmax(1).gather(1, answers[:, None])[:, 0],
        "closed": (learner.predict(batch).argmax(1) == labels).double(),
    }
