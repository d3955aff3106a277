"""Knowledge probing: P@1 by a plain computation, objects of several pieces left out, relations count the same."""

import statistics
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from vlprompt.backbones.lm import LanguageModel
from vlprompt.data import Example, Task, Text
from vlprompt.data.features import FeatureStore
from vlprompt.errors import UsageError
from vlprompt.protocols import knowledge_probing as protocol
from vlprompt.report.probing import probing_table
from vlprompt.runner import Bench, Entry

Make = Callable[[str], LanguageModel]
OBJECTS = ("bad", "great", "greatly", "zebra", "saw")  # the third and fourth are several pieces for a tiny BERT


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
    bench = Bench(lm, tmp_path, FeatureStore(tmp_path), quiet=True)
    found = list(protocol.run(bench, tasks, [Entry.parse("hard_prompt")]))
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
    assert "(2 facts)" in table
    assert "| learner | mean | P1 | P2 |" in table


def test_what_trains_sees_all_facts_of_its_relation(tasks: list[Task], tiny_lm: Make, tmp_path: Path) -> None:
    bench = Bench(tiny_lm("bert"), tmp_path, FeatureStore(tmp_path), {"epochs": 2, "batch_size": 2}, quiet=True)
    entry = Entry.parse("prompt_tuning", {"prompt_tuning": {"length": 2}})
    found = list(protocol.run(bench, tasks, [entry], seeds=(1, 2)))
    assert [(r.task, r.shots, r.seed) for r in found] == [("lama/P1", -1, 1), ("lama/P1", -1, 2), ("lama/P2", -1, 1),
                                                          ("lama/P2", -1, 2)]  # fmt: skip
    assert all(r.trainable_parameters == 64 for r in found)


def test_a_relation_that_nothing_can_be_asked_of_is_refused(tiny_lm: Make, tmp_path: Path) -> None:
    bench = Bench(tiny_lm("bert"), tmp_path, FeatureStore(tmp_path), quiet=True)
    odd = relation("P3", [("film", 0)], ("greatly", "zebra"))
    with pytest.raises(UsageError, match="lama/P3: tiny bert knows 0 of its 2 objects as one piece"):
        list(protocol.run(bench, [odd], [Entry.parse("hard_prompt")]))
