"""Domain adaptation: what each learner trains on, names of results, targets without labels, and what is refused."""

from dataclasses import replace

import pytest

import vlprompt as vp
from tests.experiments.conftest import MakeRunner
from vlprompt.errors import UsageError, VlpromptWarning
from vlprompt.experiments.protocols import domain_adaptation, domain_shift
from vlprompt.experiments.results import ALL_SHOTS
from vlprompt.experiments.runner import Runner
from vlprompt.experiments.spec import LearnerSpec
from vlprompt.report import tables

SETTINGS = {"dapl": {"n_ctx": 2, "n_domain_ctx": 2, "domain_words": "", "tau": 0.2}, "coop": {"n_ctx": 2}}
PAIR = (("printed",), "drawn")
Trained = list[tuple[str, vp.Task]]


@pytest.fixture
def runner(make_runner: MakeRunner) -> Runner:
    return make_runner(epochs=1, batch_size=10)


def specs(*names: str) -> list[LearnerSpec]:
    return [LearnerSpec.parse(name, SETTINGS) for name in names]


def items(examples: tuple[vp.Example, ...]) -> set[object]:
    return {example.item for example in examples}


def test_baselines_train_on_the_source_or_on_pseudo_labels_and_all_are_evaluated_alike(
    runner: Runner, domains: vp.Task, trained: Trained
) -> None:
    rows, pseudo = specs("zero_shot", "coop", "dapl"), specs("coop")
    found = list(domain_adaptation.run(runner, domains, rows, pseudo=pseudo, pairs=[PAIR], tau=0.8, seeds=[4]))
    assert [result.learner for result in found] == ["zero_shot", "coop", "dapl", "coop"]
    assert [(result.shots, result.seed) for result in found] == [(0, 0), (ALL_SHOTS, 4), (ALL_SHOTS, 4), (ALL_SHOTS, 4)]
    assert {result.task for result in found} == {"digits/transductive/printed:drawn"}
    assert len({result.key for result in found}) == 4
    assert "labels=pseudo" in found[3].variant
    assert found[2].config["domains"] == ["printed", "drawn"]
    every = domains.train + domains.val + domains.test
    target = {e.item for e in every if e.domain == 2}
    assert {result.examples for result in found} == {len(every) // 3}
    (_, zero), (_, source), (_, both), (_, guessed) = trained
    assert items(source.train) & target == set() == items(zero.train) & target
    assert items(both.unlabelled) == target
    assert items(guessed.train) < target
    truth = {e.item: e.label for e in every}
    assert any(example.label != truth[example.item] for example in guessed.train), "labels are guessed, not known"


def test_held_out_is_another_result(runner: Runner, domains: vp.Task, trained: Trained) -> None:
    options = {"pairs": [(("printed", "scanned"), "drawn")], "seeds": [1]}
    (seen,) = domain_adaptation.run(runner, domains, specs("dapl"), **options)
    (unseen,) = domain_adaptation.run(runner, domains, specs("dapl"), held_out=True, **options)
    assert unseen.task == "digits/held-out/printed+scanned:drawn"
    assert (seen.examples, unseen.examples) == (60, 20)
    assert not items(trained[1][1].unlabelled) & items(trained[1][1].test)
    prompts = list((runner.out / "prompts").rglob("prompt.safetensors"))
    assert len(prompts) == 2, "neither prompt replaces the other"


def test_a_target_without_labels_is_predicted(runner: Runner, domains: vp.Task) -> None:
    hidden = {
        part: tuple(replace(e, label=-1) if e.domain == 2 else e for e in getattr(domains, part))
        for part in ("train", "val", "test")
    }
    blind = replace(domains, **hidden)
    with pytest.warns(VlpromptWarning, match=r"printed:drawn: no test image has a label.*predictions are in .*csv"):
        (found,) = domain_adaptation.run(runner, blind, specs("zero_shot"), pairs=[PAIR])
    assert found.metrics == {}
    (file,) = (runner.out / "predictions").rglob("*.csv")
    lines = file.read_text().splitlines()
    assert lines[0] == "image,class,probability"
    assert len(lines) == 1 + 60
    assert all(line.split(",")[1] in domains.classes and 0 < float(line.split(",")[2]) <= 1 for line in lines[1:])
    assert "no test example has a label" in tables.pairs_table([found])
    with pytest.warns(VlpromptWarning):
        every = list(domain_adaptation.run(runner, blind, specs("zero_shot")))
    assert len(every) == 4, "a domain without labels is no source"


def test_a_tau_that_selects_nothing(runner: Runner, domains: vp.Task) -> None:
    with pytest.raises(UsageError, match=r"tau 1 selects none of the 60 images .*confidence is 0\.\d+\); lower tau"):
        list(domain_adaptation.run(runner, domains, [], pseudo=specs("coop"), pairs=[PAIR], tau=1.0))
    (dapl,) = specs("dapl")
    strict = replace(dapl, config=replace(dapl.config, tau=1.0))
    with pytest.warns(VlpromptWarning, match="tau 1 "):
        (found,) = domain_adaptation.run(runner, domains, [strict], pairs=[PAIR], seeds=[1])
    assert found.metrics["top1"] >= 0


def test_learners_that_need_unlabelled_images_are_refused_without_any(runner: Runner, domains: vp.Task) -> None:
    with pytest.raises(UsageError, match="unlabelled images of a target domain"):
        list(domain_shift.run(runner, domains, [], specs("dapl")))
    with pytest.raises(UsageError, match="unlabelled images of a target domain"):
        list(domain_adaptation.run(runner, domains, [], pseudo=specs("dapl")))
    assert not runner.results_file.exists()
