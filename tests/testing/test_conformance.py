"""Every method passes every check of `vlprompt.testing`; and a few checks that need a model of a test's own."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

import vlprompt as vp
from vlprompt import methods
from vlprompt.config import make_config
from vlprompt.data import batch
from vlprompt.data.features import FeatureStore
from vlprompt.errors import UsageError, VlpromptError
from vlprompt.testing import samples
from vlprompt.testing.case import Case
from vlprompt.testing.conformance import CHECKS

pytestmark = pytest.mark.filterwarnings("ignore::vlprompt.errors.VlpromptWarning")  # words the tiny model never saw

OURS = (*vp.learners.FILES, *vp.cloze.FILES)


def is_text(method: str) -> bool:
    return methods.learner_class(method).needs.input.of_texts


@pytest.fixture(scope="module")
def make_backbone(make_lm: Callable[..., Any]) -> Callable[..., Any]:
    """A small model that a method works with; language models are a random BERT."""

    def make(method: str, precision: str = "fp32") -> Any:
        kind = methods.learner_class(method)
        if kind.backbones[0] is vp.LanguageModel:
            return make_lm("bert", precision=precision)
        return samples.backbone_for(kind, precision)

    return make


@pytest.fixture(scope="module")
def models() -> dict[Any, Any]:
    """Models that tests share, by what a method works with."""
    return {}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return FeatureStore(tmp_path_factory.mktemp("store"))


@pytest.fixture
def case(
    method: str, make_backbone: Callable[..., Any], models: dict[Any, Any], store: FeatureStore, tmp_path: Path
) -> Case:
    kind = methods.learner_class(method)
    if kind.backbones[0] not in models:
        models[kind.backbones[0]] = make_backbone(method)
    model = models[kind.backbones[0]]
    return Case(kind, model, samples.task_for(kind), samples.small_config(kind), store, tmp_path / "prompt")


@pytest.mark.parametrize("check", [name for name in CHECKS if name != "bfloat16"])
@pytest.mark.parametrize("method", OURS)
def test_every_method_passes(method: str, check: str, case: Case) -> None:
    CHECKS[check](case)


@pytest.mark.parametrize("method", OURS)
def test_bfloat16(method: str, case: Case, make_backbone: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlprompt.testing.checks._in_bfloat16", lambda _: make_backbone(method, "bf16"))
    CHECKS["bfloat16"](case)


@pytest.mark.parametrize("method", OURS)
def test_learned_tokens_are_as_wide_as_words_and_start_from_the_seed(method: str, case: Case) -> None:
    """`vlprompt show` compares them with the words of the vocabulary and with their start."""
    learner = case.build().eval()
    if not hasattr(learner, "soft_tokens"):
        return
    again = type(learner)(case.backbone, learner.classes, learner.config, seed=learner.seed).eval()
    for name, tokens in learner.soft_tokens().items():
        assert tokens.shape[-1] == case.backbone.word_table()[0].shape[1]
        assert torch.equal(tokens, again.soft_tokens()[name])


@pytest.mark.parametrize("method", OURS)
def test_every_published_setting_comes_back_from_plain_values(method: str) -> None:
    for variant in methods.variants(method).values():
        assert make_config(type(variant.config), asdict(variant.config)) == variant.config
        assert isinstance(variant.training(2, ""), vp.TrainConfig)
        assert variant.source


@pytest.mark.parametrize("method", OURS)
def test_a_prompt_of_another_backbone_is_refused(method: str, case: Case, make_backbone: Callable[..., Any]) -> None:
    case.trained(epochs=1).save(case.folder)
    assert case.backbone.fingerprint in (case.folder / "prompt.json").read_text()
    other = make_backbone(method)
    with torch.no_grad():
        next(other.model.parameters()).add_(1)
    with pytest.raises(VlpromptError, match="was trained with the backbone"):
        vp.load(case.folder, other)


@pytest.mark.parametrize("method", [name for name in OURS if not is_text(name)])
def test_a_step_and_a_prediction_stay_on_their_device_and_never_wait_for_it(
    method: str, case: Case, make_backbone: Callable[..., Any]
) -> None:
    """A tensor on "meta" has no numbers: reading one, or mixing it with one on the CPU, is an error there.

    Language models are left out, since transformers reads the attention mask in every forward pass.
    """
    if not case.steps:
        return
    own = replace(case, backbone=make_backbone(method))
    for device in ("cpu", "meta"):  # facts about a model that are computed once are computed on the CPU
        learner = own.build().train()
        batches = own.train_batches(learner, 6)
        with torch.random.fork_rng(devices=[]):
            learner.prepare(batches, None)
            own.backbone.to(device)
            learner.to(device)
            first = next(iter(batches.epoch(0)))
            optimizer = torch.optim.AdamW(learner.parameters())
            learner.backward(first.to(device))
            optimizer.step()
        learner.eval().predict(first.to(device))


def test_a_batch_without_features_names_the_module_that_makes_batches() -> None:
    with pytest.raises(UsageError, match=r"vlprompt\.data\.feed"):
        batch.features_of(batch.Batch(torch.zeros(1), torch.zeros(1)))
