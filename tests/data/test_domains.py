"""Tasks of several domains: which examples they have, and errors of one line for impossible ones."""

from dataclasses import replace

import pytest

from vlprompt.data.domains import adaptation, all_pairs, leave_out, read_pair
from vlprompt.data.images import Example
from vlprompt.data.task import Task
from vlprompt.errors import UsageError, VlpromptError

DOMAINS = ("art", "photo", "sketch")


def examples(first: int, domains: int = 3, classes: int = 2) -> tuple[Example, ...]:
    """Two of each class and domain, each with a number of its own from `first` on."""
    places = [(domain, label) for domain in range(domains) for label in range(classes) for _ in range(2)]
    return tuple(Example(first + number, label, domain) for number, (domain, label) in enumerate(places))


@pytest.fixture
def task() -> Task:
    return Task(
        "things", ("cat", "dog"), train=examples(0), val=examples(100), test=examples(200), domains=DOMAINS
    )  # fmt: skip


def items(made: tuple[Example, ...]) -> set[object]:
    return {example.item for example in made}


def of(task: Task, *domains: str) -> set[object]:
    every = task.train + task.val + task.test
    return {example.item for example in every if DOMAINS[example.domain] in domains}


def test_transductive_adapts_to_its_test_images(task: Task) -> None:
    made = adaptation(task, ("sketch",), "art")
    assert made.domains == ("sketch", "art")
    assert items(made.train) == of(task, "sketch")
    assert items(made.unlabelled) == items(made.test) == of(task, "art")
    assert {example.label for example in made.unlabelled} == {-1}
    assert {example.label for example in made.test} == {0, 1}
    assert [{e.domain for e in part} for part in (made.train, made.unlabelled, made.test)] == [{0}, {1}, {1}]
    assert (made.name, made.test_name, made.val) == ("things/transductive/sketch:art", "transductive", ())
    named = replace(task, dataset="office31")
    assert adaptation(named, ("sketch",), "art").dataset == leave_out(named, "art").dataset == "office31"


def test_held_out_adapts_to_no_test_image(task: Task) -> None:
    made = adaptation(task, ("art", "photo"), "sketch", held_out=True)
    assert made.domains == ("art", "photo", "sketch")
    assert items(made.test) == of(replace(task, train=(), val=()), "sketch")
    assert items(made.unlabelled) == of(replace(task, test=()), "sketch")
    assert items(made.train) == of(replace(task, test=()), "art", "photo")
    assert not items(made.test) & (items(made.train) | items(made.unlabelled))
    assert {example.domain for example in made.train} == {0, 1}
    assert (made.name, made.test_name) == ("things/held-out/art+photo:sketch", "held-out")
    assert made.split_hash != adaptation(task, ("photo", "art"), "sketch", held_out=True).split_hash


def test_a_left_out_domain_is_tested_whole(task: Task) -> None:
    made = leave_out(task, "photo")
    assert items(made.train) == of(replace(task, val=(), test=()), "art", "sketch")
    assert items(made.val) == of(replace(task, train=(), test=()), "art", "sketch")
    assert items(made.test) == of(task, "photo")
    assert made.domains == ("art", "sketch", "photo")
    assert {example.domain for example in made.few_shot(2, 1).train} <= {0, 1}


def test_all_ordered_pairs(task: Task) -> None:
    pairs = all_pairs(task)
    assert len(pairs) == len(set(pairs)) == 6
    hidden = tuple(replace(e, label=-1) if e.domain == 1 else e for e in task.train)
    assert all(sources != ("photo",) for sources, _ in all_pairs(replace(task, train=hidden)))
    assert len(all_pairs(replace(task, train=hidden))) == 4
    assert read_pair("art+photo:sketch") == (("art", "photo"), "sketch")


def test_the_split_hash_covers_domains_and_unlabelled_examples(task: Task) -> None:
    moved = replace(task, train=tuple(replace(example, domain=0) for example in task.train))
    other = replace(task, unlabelled=(Example(999, -1),))
    assert len({each.split_hash for each in (task, moved, other, replace(task, domains=("a", "b", "c")))}) == 4


@pytest.mark.parametrize(
    ("change", "pair", "error"),
    [
        ({}, "art:skecth", r"unknown domain of things 'skecth'; did you mean 'sketch'"),
        ({}, "art:art", r"art:art names a domain twice"),
        ({}, "art", r"pair 'art' is not of the form SOURCE:TARGET"),
        ({}, "art+:photo", r"is not of the form"),
        ({"domains": ()}, "art:photo", r"things has fewer than two domains"),
        ({"domains": (*DOMAINS, "clipart")}, "art:clipart", r"'clipart' of things has no images to adapt to"),
        ({"domains": (*DOMAINS, "clipart")}, "clipart:art", r"'clipart' of things has no images to learn from"),
    ],
)
def test_impossible_pairs_are_refused(task: Task, change: dict[str, tuple[str, ...]], pair: str, error: str) -> None:
    if not change.get("domains", DOMAINS):
        parts = {part: tuple(replace(e, domain=0) for e in getattr(task, part)) for part in ("train", "val", "test")}
        change = {**parts, **change}
    with pytest.raises(UsageError, match=error) as caught:
        adaptation(replace(task, **change), *read_pair(pair))
    assert "\n" not in str(caught.value)


def test_sources_need_labels_and_targets_do_not(task: Task) -> None:
    hidden = replace(task, train=tuple(replace(e, label=-1) if e.domain == 0 else e for e in task.train))
    assert {example.label for example in adaptation(hidden, ("photo",), "art").unlabelled} == {-1}
    with pytest.raises(UsageError, match="art of things has images without labels"):
        adaptation(hidden, ("art",), "photo")
    all_hidden = replace(task, train=tuple(replace(e, label=-1) for e in task.train))
    with pytest.raises(UsageError, match="no domain of things has labels"):
        all_pairs(all_hidden)
    with pytest.raises(VlpromptError, match="unlabelled of task 'things' has label 0; it must be -1"):
        replace(task, unlabelled=task.train)


def test_a_target_may_lack_classes_and_may_not_have_more(task: Task) -> None:
    few = replace(task, **{part: tuple(e for e in getattr(task, part) if e.domain != 1 or e.label == 0)
                           for part in ("train", "val", "test")})  # fmt: skip
    assert {example.label for example in adaptation(few, ("art",), "photo").test} == {0}
    with pytest.raises(UsageError, match=r"classes that no source has \(dog\)"):
        adaptation(few, ("photo",), "art")


def test_a_held_out_target_needs_a_test_split(task: Task) -> None:
    untested = replace(task, test=tuple(e for e in task.test if e.domain != 2))
    with pytest.raises(UsageError, match="'sketch' of things has no images to test on"):
        adaptation(untested, ("art",), "sketch", held_out=True)


def test_domain_numbers_are_those_of_domains(task: Task) -> None:
    with pytest.raises(VlpromptError, match="has domain 3; there are 3"):
        replace(task, val=(Example(1, 0, 3),))
