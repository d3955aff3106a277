"""Task sequences: the examples of each stage, and their order."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlprompt.data.images import Example
from vlprompt.data.incremental import class_incremental, domain_incremental, sample_test
from vlprompt.data.task import Task
from vlprompt.errors import UsageError


def task(classes: int = 6, domains: tuple[str, ...] = (), each: int = 3) -> Task:
    """`each` examples of every class (and domain) in every split, their items all different."""
    count = max(len(domains), 1)
    cells = [(label, domain) for label in range(classes) for domain in range(count) for _ in range(each)]
    splits = {
        split: tuple(Example(1000 * number + i, label, domain) for i, (label, domain) in enumerate(cells))
        for number, split in enumerate(("train", "val", "test"))
    }
    return Task("toy", tuple(f"class {i}" for i in range(classes)), domains=domains, dataset="cifar10", **splits)  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 9), st.data())
def test_every_class_has_one_stage_and_no_example_is_lost(classes: int, data: st.DataObject) -> None:
    whole = task(classes)
    count, seed = data.draw(st.integers(2, classes)), data.draw(st.none() | st.integers(0, 99))
    sequence = class_incremental(whole, count, seed)
    sizes = [len(part) for part in sequence.added]
    assert sum(sizes) == classes
    assert max(sizes) - min(sizes) <= 1
    assert sizes == sorted(sizes, reverse=True)
    seen: tuple[str, ...] = ()
    for stage, part in zip(sequence.stages, sequence.added, strict=True):
        seen += part
        assert stage.classes == seen, "earlier classes have the same labels"
        for split in ("train", "val", "test"):
            own = getattr(stage, split)
            assert {stage.classes[e.label] for e in own} == set(part)
            truth = {e.item: whole.classes[e.label] for e in getattr(whole, split)}
            assert all(truth[e.item] == stage.classes[e.label] for e in own)
    for split in ("train", "val", "test"):
        items = [e.item for stage in sequence.stages for e in getattr(stage, split)]
        assert sorted(items) == sorted(e.item for e in getattr(whole, split))  # type: ignore[type-var]
    assert {e.item for e in sequence.joint().train} == {e.item for e in whole.train}
    assert sequence.joint().classes == seen
    assert {stage.dataset for stage in (*sequence.stages, sequence.joint())} == {whole.dataset}


def test_the_order_depends_on_the_seed_only() -> None:
    whole = task(10)
    state = random.getstate()
    orders = {seed: class_incremental(whole, 5, seed).added for seed in (1, 2, 3)}
    assert random.getstate() == state, "the global random state is not changed"
    assert len(set(orders.values())) == 3
    assert orders[2] == class_incremental(whole, 5, 2).added
    assert class_incremental(whole, 5, None).added[0] == ("class 0", "class 1")
    hashes = {stage.split_hash for seed in (1, 2) for stage in class_incremental(whole, 5, seed).stages}
    assert len(hashes) == 10, "another order is another split"


def test_test_tasks_after_a_stage() -> None:
    sequence = class_incremental(task(6), 3, 4)
    tests = sequence.test_tasks(1)
    assert list(tests) == ["task1", "task2"]
    for part, stage in zip(tests.values(), sequence.stages, strict=False):
        assert part.test == stage.test
        assert part.classes == sequence.stages[1].classes, "with all classes so far, in the learner's order"
        assert not part.train
    assert len(set(tests["task1"].test) & set(tests["task2"].test)) == 0


def test_each_domain_is_a_stage() -> None:
    names = ("photo", "sketch", "clipart")
    whole = task(4, names)
    orders = {domain_incremental(whole, seed).added for seed in range(8)}
    assert len(orders) > 1
    sequence = domain_incremental(whole, None)
    assert sequence.added == (("photo",), ("sketch",), ("clipart",))
    assert not sequence.common_test
    for number, stage in enumerate(sequence.stages):
        assert stage.classes == whole.classes
        assert {e.domain for split in (stage.train, stage.val, stage.test) for e in split} == {number}
    assert list(sequence.test_tasks(2)) == ["task1", "task2", "task3"]


def test_a_common_test_set_is_one_test_task() -> None:
    """CORe50 has eight sessions for training and three others for testing."""
    whole = task(4, ("s1", "s2", "s3"))
    core = replace(
        whole,
        train=tuple(e for e in whole.train if e.domain < 2),
        test=tuple(e for e in whole.test if e.domain == 2),
    )
    sequence = domain_incremental(core, 1)
    assert len(sequence.stages) == 2
    assert sequence.common_test
    assert {part: each.test for part, each in sequence.test_tasks(1).items()} == {"all": core.test}
    assert sequence.joint().test == core.test
    assert len(sequence.joint().train) == len(core.train)


def test_fewer_test_examples_are_drawn_of_each_class_and_domain() -> None:
    whole = task(3, ("a", "b"), each=5)
    few = sample_test(whole, 2, seed=1)
    assert sorted((e.label, e.domain) for e in few.test) == sorted([(c, d) for c in range(3) for d in range(2)] * 2)
    assert few.train == whole.train
    assert few.test != sample_test(whole, 2, seed=2).test
    assert sample_test(whole, 9, seed=1).test == whole.test
    with pytest.raises(UsageError, match="1 or more, got 0"):
        sample_test(whole, 0, seed=1)


def test_impossible_sequences_are_refused() -> None:
    whole = task(4)
    for stages in (1, 5):
        with pytest.raises(UsageError, match=f"4 classes; {stages} tasks were requested, give 2 to 4"):
            class_incremental(whole, stages, 1)
    with pytest.raises(UsageError, match="no domains to learn one after another"):
        domain_incremental(whole, 1)
    some_unlabelled = replace(whole, test=tuple(replace(e, label=-1) if e.label == 3 else e for e in whole.test))
    with pytest.raises(UsageError, match=r"task 2 of toy/2-tasks \(class 2, class 3\) has no labelled test examples"):
        class_incremental(replace(whole, test=tuple(e for e in whole.test if e.label < 2)), 2, None)
    class_incremental(some_unlabelled, 2, None)
    two = task(2, ("a", "b"))
    bare = replace(two, train=tuple(replace(e, label=-1) if e.domain else e for e in two.train))
    with pytest.raises(UsageError, match=r"task 2 of toy/domains \(b\) has unlabelled training examples"):
        domain_incremental(bare, None)
    half = replace(two, test=tuple(e for e in two.test if e.domain == 0))
    with pytest.raises(UsageError, match=r"\(b\) has no labelled test examples"):
        domain_incremental(half, None)
