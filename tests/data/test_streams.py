"""Streams: what is in a stage, in which order, and that nothing else is."""

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlprompt.data import Example, Task
from vlprompt.data.streams import few_judged, in_stages, over_domains
from vlprompt.errors import UsageError


def task(classes: int = 6, domains: tuple[str, ...] = (), each: int = 3) -> Task:
    """`each` examples of every class (and domain) in every split, their items all different."""
    count = max(len(domains), 1)
    cells = [(label, domain) for label in range(classes) for domain in range(count) for _ in range(each)]
    splits = {
        split: tuple(Example(1000 * number + i, label, domain) for i, (label, domain) in enumerate(cells))
        for number, split in enumerate(("train", "val", "test"))
    }
    return Task("toy", tuple(f"class {i}" for i in range(classes)), domains=domains, **splits)  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 9), st.data())
def test_every_class_has_its_stage_and_nothing_is_lost(classes: int, data: st.DataObject) -> None:
    whole = task(classes)
    count, seed = data.draw(st.integers(2, classes)), data.draw(st.none() | st.integers(0, 99))
    stream = in_stages(whole, count, seed)
    sizes = [len(part) for part in stream.parts]
    assert sum(sizes) == classes
    assert max(sizes) - min(sizes) <= 1
    assert sizes == sorted(sizes, reverse=True)
    seen: tuple[str, ...] = ()
    for stage, part in zip(stream.stages, stream.parts, strict=True):
        seen += part
        assert stage.classes == seen, "a head grows: the classes before keep their places"
        for split in ("train", "val", "test"):
            own = getattr(stage, split)
            assert {stage.classes[e.label] for e in own} == set(part)
            truth = {e.item: whole.classes[e.label] for e in getattr(whole, split)}
            assert all(truth[e.item] == stage.classes[e.label] for e in own)
    for split in ("train", "val", "test"):
        items = [e.item for stage in stream.stages for e in getattr(stage, split)]
        assert sorted(items) == sorted(e.item for e in getattr(whole, split))  # type: ignore[type-var]
    assert {e.item for e in stream.joint().train} == {e.item for e in whole.train}
    assert stream.joint().classes == seen


def test_the_order_is_the_seeds_alone() -> None:
    whole = task(10)
    state = random.getstate()
    orders = {seed: in_stages(whole, 5, seed).parts for seed in (1, 2, 3)}
    assert random.getstate() == state, "global random state is left alone"
    assert len(set(orders.values())) == 3
    assert orders[2] == in_stages(whole, 5, 2).parts
    assert in_stages(whole, 5, None).parts[0] == ("class 0", "class 1")
    hashes = {stage.split_hash for seed in (1, 2) for stage in in_stages(whole, 5, seed).stages}
    assert len(hashes) == 10, "another order is another split"


def test_what_is_judged_after_a_stage() -> None:
    stream = in_stages(task(6), 3, 4)
    judged = stream.judged(1)
    assert list(judged) == ["task1", "task2"]
    for part, stage in zip(judged.values(), stream.stages, strict=False):
        assert part.test == stage.test
        assert part.classes == stream.stages[1].classes, "among all classes so far, in the learner's order"
        assert not part.train
    assert len(set(judged["task1"].test) & set(judged["task2"].test)) == 0


def test_domains_one_after_another() -> None:
    names = ("photo", "sketch", "clipart")
    whole = task(4, names)
    orders = {over_domains(whole, seed).parts for seed in range(8)}
    assert len(orders) > 1
    stream = over_domains(whole, None)
    assert stream.parts == (("photo",), ("sketch",), ("clipart",))
    assert not stream.common
    for number, stage in enumerate(stream.stages):
        assert stage.classes == whole.classes
        assert {e.domain for split in (stage.train, stage.val, stage.test) for e in split} == {number}
    assert list(stream.judged(2)) == ["task1", "task2", "task3"]


def test_a_common_test_set_is_judged_once() -> None:
    """CORe50 learns from eight sessions and is judged on three others."""
    whole = task(4, ("s1", "s2", "s3"))
    core = replace(
        whole,
        train=tuple(e for e in whole.train if e.domain < 2),
        test=tuple(e for e in whole.test if e.domain == 2),
    )
    stream = over_domains(core, 1)
    assert len(stream.stages) == 2
    assert stream.common
    assert {part: each.test for part, each in stream.judged(1).items()} == {"all": core.test}
    assert stream.joint().test == core.test
    assert len(stream.joint().train) == len(core.train)


def test_fewer_test_examples_are_drawn_of_each_class_and_domain() -> None:
    whole = task(3, ("a", "b"), each=5)
    few = few_judged(whole, 2, seed=1)
    assert sorted((e.label, e.domain) for e in few.test) == sorted([(c, d) for c in range(3) for d in range(2)] * 2)
    assert few.train == whole.train
    assert few.test != few_judged(whole, 2, seed=2).test
    assert few_judged(whole, 9, seed=1).test == whole.test
    with pytest.raises(UsageError, match="1 or more, 0 was given"):
        few_judged(whole, 0, seed=1)


def test_streams_that_cannot_be() -> None:
    whole = task(4)
    for stages in (1, 5):
        with pytest.raises(UsageError, match=f"4 classes; {stages} tasks were asked for, give 2 to 4"):
            in_stages(whole, stages, 1)
    with pytest.raises(UsageError, match="no domains to learn one after another"):
        over_domains(whole, 1)
    untold = replace(whole, test=tuple(replace(e, label=-1) if e.label == 3 else e for e in whole.test))
    with pytest.raises(UsageError, match=r"task 2 of toy/2-tasks \(class 2, class 3\) has nothing"):
        in_stages(replace(whole, test=tuple(e for e in whole.test if e.label < 2)), 2, None)
    in_stages(untold, 2, None)
    two = task(2, ("a", "b"))
    bare = replace(two, train=tuple(replace(e, label=-1) if e.domain else e for e in two.train))
    with pytest.raises(UsageError, match=r"task 2 of toy/domains \(b\) has images without labels to learn from"):
        over_domains(bare, None)
    half = replace(two, test=tuple(e for e in two.test if e.domain == 0))
    with pytest.raises(UsageError, match=r"\(b\) has nothing with a label to be judged on"):
        over_domains(half, None)
