"""A task of three domains, a sequence of tasks and learners for it, and a record of what is trained."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch

import vlprompt as vp
from tests.experiments.conftest import MakeRunner
from tests.learners.vits import small_vit
from vlprompt.experiments import runner as runners
from vlprompt.experiments.protocols import continual
from vlprompt.experiments.results import Result
from vlprompt.experiments.runner import Runner
from vlprompt.experiments.spec import LearnerSpec
from vlprompt.learner import PromptLearner

DOMAINS = ("printed", "scanned", "drawn")
POOLS = ("l2p", "dual_prompt", "coda_prompt")
SETTINGS: dict[str, dict[str, Any]] = {
    "l2p": {"pool": 6, "length": 2, "top": 2, "prompt_mask": True, "share": True},
    "dual_prompt": {"general_layers": [0], "expert_layers": [1, 2], "general_length": 2, "expert_length": 2},
    "coda_prompt": {"components": 2, "length": 4, "layers": [0, 2]},
    "vpt": {"n_prompts": 2, "dropout": 0.3},
}
QUICK = {"epochs": 2, "batch_size": 8, "lr": 0.02, "warmup": "none"}


@pytest.fixture(scope="module")
def domains() -> vp.Task:
    """A few digits, divided into three domains; 2 of each class and domain in every split."""
    digits = vp.load_task("digits")
    drawn = list(enumerate(digits.few_shot(18, seed=1).train))  # 18 of each class in a row
    parts = [tuple(replace(e, domain=i // 2 % 3) for i, e in drawn if i // 6 % 3 == part) for part in range(3)]
    return replace(digits, train=parts[0], val=parts[1], test=parts[2], domains=DOMAINS)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, vp.Task]]:
    """The methods and tasks that are trained from here on."""
    found: list[tuple[str, vp.Task]] = []
    fit = runners.fit

    def recorded(learner: PromptLearner[Any, Any], task: vp.Task, *others: object, **more: object) -> object:
        found.append((learner.method(), task))
        return fit(learner, task, *others, **more)

    monkeypatch.setattr(runners, "fit", recorded)
    return found


@pytest.fixture(scope="module")
def ten() -> vp.Task:
    """Eight digits of each class to train on and four to evaluate on."""
    digits = vp.load_task("digits").few_shot(8, seed=1)
    test = tuple(e for label in range(10) for e in [e for e in digits.test if e.label == label][:4])
    return replace(digits, val=(), test=test)


@pytest.fixture(scope="module")
def vit() -> vp.Vit:
    return small_vit(torch.float32)


@pytest.fixture
def sequential(make_runner: MakeRunner, vit: vp.Vit) -> MakeRunner:
    """`make_runner` with a small ViT and short training."""
    return partial(_sequential, make_runner, vit)


def _sequential(make: MakeRunner, vit: vp.Vit, name: str = "out", backbone: Any = None, **training: Any) -> Runner:
    return make(name, backbone or vit, **{**QUICK, **training})


def specs(*names: str) -> list[LearnerSpec]:
    return [LearnerSpec.parse(name, SETTINGS) for name in names]


def one(runner: Runner, task: vp.Task, *names: str, **options: Any) -> Result:
    """The result of one continual run."""
    (found,) = continual.run(runner, task, specs(*names), **{"seeds": (3,), **options})
    return found
