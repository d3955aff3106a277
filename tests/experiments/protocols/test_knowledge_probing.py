"""Knowledge probing: P@1 against a plain computation, split objects left out, equal weight for every relation."""

import statistics
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from vlprompt.backbones.lm import LanguageModel
from vlprompt.data.features import FeatureStore
from vlprompt.data.images import Example
from vlprompt.data.task import Task
from vlprompt.data.texts import Text
from vlprompt.errors import UsageError
from vlprompt.experiments.protocols import knowledge_probing
from vlprompt.experiments.runner import Runner
from vlprompt.experiments.spec import LearnerSpec
from vlprompt.report.probing import probing_table

Make = Callable[[str], LanguageModel]
OBJECTS = ("bad", "great", "greatly", "zebra", "saw")  # a tiny BERT splits the third and the fourth


def relation(name: str, facts: list[tuple[str, int]], objects: tuple[str, ...] = OBJECTS) -> Task:
    rows = tuple(Example(Text.of(sub_label=subject), answer) for subject, answer in facts)
    words = tuple((each,) for each in objects)
    return Task(f"lama/{name}", objects, ("the {sub_label} was {mask} .",), rows, (), rows, words=words)


@pytest.fixture
def tasks() -> list[Task]:
    first = [("film", 0), ("story", 1), ("actor", 2), ("music", 4), ("it", 3)]
    return [relation("P1", first), relation("P2", [("film", 1), ("music", 1)], ("bad", "great"))]


def test_precision_at_one_over_the_objects_that_are_one_piece(tasks: list[Task], tiny_lm: Make, tmp_path: Path) -> None:
    lm = tiny_lm("bert")
    runner = Runner(lm, tmp_path, FeatureStore(tmp_path), quiet=True)
    found = list(knowledge_probing.run(runner, tasks, [LearnerSpec.parse("hard_prompt")]))
    assert [(r.task, r.classes, r.examples, r.extra["left_out"]) for r in found] == [
        ("lama/P1", 3, 3, 2),
        ("lama/P2", 2, 2, 0),
    ]
    hits = []
    for subject, answer in (("film", "bad"), ("story", "great"), ("music", "saw")):
        words = lm.vocabulary.pieces(f"the {subject} was")
        ids = [*lm.vocabulary.lead, *words, lm.vocabulary.blank, *lm.vocabulary.pieces(" ."), *lm.vocabulary.tail]
        with torch.no_grad():
            logits = lm.model(input_ids=torch.tensor([ids])).logits[0, len(lm.vocabulary.lead) + len(words)]
        hits.append(max(("bad", "great", "saw"), key=lambda w: float(logits[lm.vocabulary.pieces(w)[0]])) == answer)
    assert found[0].metrics["top1"] == pytest.approx(statistics.fmean(hits))
    table = probing_table(found, "markdown")
    mean = 100 * statistics.fmean(r.metrics["top1"] for r in found)
    assert f"| hard_prompt | {mean:.1f} |" in table
    assert "2 facts" in table
    assert "| learner | mean | P1 | P2 |" in table


def test_a_learner_trains_on_all_facts_of_its_relation(tasks: list[Task], tiny_lm: Make, tmp_path: Path) -> None:
    runner = Runner(tiny_lm("bert"), tmp_path, FeatureStore(tmp_path), {"epochs": 2, "batch_size": 2}, quiet=True)
    spec = LearnerSpec.parse("prompt_tuning", {"prompt_tuning": {"length": 2}})
    found = list(knowledge_probing.run(runner, tasks, [spec], seeds=(1, 2)))
    assert [(r.task, r.shots, r.seed) for r in found] == [
        ("lama/P1", -1, 1),
        ("lama/P1", -1, 2),
        ("lama/P2", -1, 1),
        ("lama/P2", -1, 2),
    ]
    assert all(r.trainable_parameters == 64 for r in found)


def test_a_relation_without_objects_of_one_piece_is_refused(tiny_lm: Make, tmp_path: Path) -> None:
    runner = Runner(tiny_lm("bert"), tmp_path, FeatureStore(tmp_path), quiet=True)
    odd = relation("P3", [("film", 0)], ("greatly", "zebra"))
    with pytest.raises(UsageError, match="lama/P3: tiny bert knows 0 of its 2 objects as one piece"):
        list(knowledge_probing.run(runner, [odd], [LearnerSpec.parse("hard_prompt")]))
