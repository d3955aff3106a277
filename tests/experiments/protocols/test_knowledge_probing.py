"""Knowledge probing: P@1 against a plain computation, split objects left out, equal weight for every relation."""

import statistics
from collections.abc import Callable
from dataclasses import replace
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
    hits, first = [], []
    for subject, answer in (("film", "bad"), ("story", "great"), ("music", "saw")):
        words = lm.vocabulary.pieces(f"the {subject} was")
        ids = [*lm.vocabulary.lead, *words, lm.vocabulary.blank, *lm.vocabulary.pieces(" ."), *lm.vocabulary.tail]
        with torch.no_grad():
            logits = lm.model(input_ids=torch.tensor([ids])).logits[0, len(lm.vocabulary.lead) + len(words)]
        first.append(int(logits.argmax()) == lm.vocabulary.pieces(answer)[0])
        hits.append(max(("bad", "great", "saw"), key=lambda w: float(logits[lm.vocabulary.pieces(w)[0]])) == answer)
    assert found[0].metrics["top1"] == pytest.approx(statistics.fmean(hits))
    assert found[0].metrics["vocabulary_top1"] == pytest.approx(statistics.fmean(first))
    assert found[0].metrics["vocabulary_mrr"] < 1
    table = probing_table(found, "markdown")
    mean, objects = (100 * statistics.fmean(r.metrics[name] for r in found) for name in ("vocabulary_top1", "top1"))
    assert f"| hard_prompt | {mean:.1f} |" in table
    assert f"| {objects:.1f} |\n" in f"{table}\n"
    assert "2 facts" in table
    assert "| learner | mean | P1 | P2 | among objects |" in table


def test_ranks_are_over_the_vocabulary_or_some_of_its_words() -> None:
    scores, answers = torch.tensor([[0.1, 0.4, 0.3, 0.2], [0.4, 0.1, 0.2, 0.3]]), torch.tensor([2, 1])
    ranks = knowledge_probing.answer_ranks(scores, answers)
    assert ranks.tolist() == [2, 4]
    assert knowledge_probing.answer_ranks(scores, answers, torch.tensor([0, 1, 2])).tolist() == [2, 3]
    assert knowledge_probing.answer_ranks(scores, answers, torch.tensor([2, 3])).tolist() == [1, 3]
    metrics = {name: each.tolist() for name, each in knowledge_probing.rank_metrics(torch.tensor([1, 4, 1001])).items()}
    assert metrics == {"top1": [1, 0, 0], "top10": [1, 1, 0], "mrr": [1, 0.25, 0]}


@pytest.mark.parametrize("learner", ["prompt_tuning", "prefix_tuning", "in_context", "autoprompt", "soft_verbalizer"])
def test_every_method_that_reads_a_word_ranks_the_vocabulary(
    learner: str, tasks: list[Task], tiny_lm: Make, tmp_path: Path
) -> None:
    runner = Runner(tiny_lm("bert"), tmp_path, FeatureStore(tmp_path), {"epochs": 2}, quiet=True)
    spec = LearnerSpec.parse(learner, {name: {"length": 2} for name in ("prompt_tuning", "autoprompt")})
    (found,) = knowledge_probing.run(runner, tasks[1:], [spec], seeds=(1,))
    assert ("vocabulary_top1" in found.metrics) is (learner != "soft_verbalizer")
    assert "top1" in found.metrics


def test_a_result_without_ranks_is_computed_again(tasks: list[Task], tiny_lm: Make, tmp_path: Path) -> None:
    runner, spec = (
        Runner(tiny_lm("bert"), tmp_path, FeatureStore(tmp_path), quiet=True),
        LearnerSpec.parse("hard_prompt"),
    )
    (found,) = knowledge_probing.run(runner, tasks[1:], [spec])
    old = replace(found, metrics={"top1": found.metrics["top1"]}, extra={"left_out": 0})
    runner.results_file.write_text(old.to_json() + "\n")
    assert "| – | – |" in probing_table([old], "markdown")
    for _ in range(2):
        (again,) = knowledge_probing.run(runner, tasks[1:], [spec])
        assert again.metrics == found.metrics
    assert len(runner.results_file.read_text().splitlines()) == 2


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
