"""DAPL: its prompts and its loss written out, and what happens without a pseudo-label."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vlprompt as vp
from vlprompt.backbones.clip import Clip
from vlprompt.data.batch import Batch
from vlprompt.data.batches import feature_batches
from vlprompt.data.images import Example
from vlprompt.data.task import Task
from vlprompt.errors import UsageError, VlpromptWarning
from vlprompt.learners import dapl
from vlprompt.learners.dapl import DAPL, DAPLConfig
from vlprompt.training.config import TrainConfig
from vlprompt.training.fit import fit
from vlprompt.training.optimizer import rate_at

DOMAINS = ("art", "clip_art", "real_world")  # of one token and of several
SMALL = DAPLConfig(n_ctx=2, n_domain_ctx=3, domains=DOMAINS, tau=0.3)
Stir = Callable[[nn.Module], None]


@pytest.fixture
def both(small: Clip, batch: Batch) -> Batch:
    """Twelve examples of two sources, and nine without labels beside them."""
    features = torch.randn(9, small.embed_dim, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    target = Batch(torch.full((9,), -1), torch.arange(9), features=features)
    return replace(batch, domains=torch.arange(12) % 2, unlabelled=target)


def text_by_hand(clip: Clip, learner: DAPL, words: str) -> Tensor:
    """(G, C, E) normalised, every position of every prompt through open_clip's own blocks."""
    model, found = clip.model, []
    for number, domain in enumerate(learner.domains):
        texts = ["x x x x x " + words.format(name=name.replace("_", " "), domain=domain) for name in learner.classes]
        ids = clip.tokenizer(texts)
        x = clip.embed_tokens(ids).clone()
        x[:, 1:3], x[:, 3:6] = learner.context, learner.domain_context[number]
        x = model.transformer(x + model.positional_embedding, attn_mask=model.attn_mask)
        read = model.ln_final(x)[torch.arange(len(ids)), ids.argmax(dim=-1)]
        found.append(F.normalize(read @ model.text_projection, dim=-1))
    return torch.stack(found)


def head(clip: Clip, names: tuple[str, ...]) -> Tensor:
    """(C, E), the frozen zero-shot head."""
    texts = clip.tokenizer([f"a photo of a {name.replace('_', ' ')}." for name in names])
    return F.normalize(clip.model.encode_text(texts), dim=-1)


@pytest.mark.parametrize("specific", [False, True])
@pytest.mark.parametrize("denominator", ["domain", "joint"])
def test_the_loss_written_out(
    small: Clip, names: tuple[str, ...], both: Batch, stir: Stir, specific: bool, denominator: str
) -> None:
    config = replace(SMALL, class_specific=specific, denominator=denominator, temperature=2.0, weight=0.7)
    learner = DAPL(small, names, config)
    stir(learner)
    text = torch.stack([text_of(small, learner, number) for number in range(3)])

    def probability(feature: Tensor, domain: int, label: int) -> Tensor:
        weights = (small.logit_scale * text @ F.normalize(feature, dim=0)).exp()  # (G, C)
        return weights[domain, label] / (weights.sum() if denominator == "joint" else weights[domain].sum())

    assert both.features is not None
    rows = zip(both.features, both.domains.tolist(), both.labels.tolist(), strict=True)
    on_source = -torch.stack([probability(*row).log() for row in rows]).mean()
    kept = []
    for feature in both.unlabelled.features:
        guess = (small.logit_scale * head(small, names) @ F.normalize(feature, dim=0) / 2.0).softmax(dim=0)
        if guess.max() >= 0.3:
            kept.append(-probability(feature, 2, int(guess.argmax())).log())
    assert 0 < len(kept) < 9, "the threshold divides the target"
    wanted = on_source + 0.7 * torch.stack(kept).mean()
    assert torch.allclose(learner.loss(both), wanted, rtol=1e-9)


def text_of(clip: Clip, learner: DAPL, number: int) -> Tensor:
    """(C, E) of one domain, its name with spaces."""
    domain = learner.domains[number].replace("_", " ")
    return text_by_hand(clip, learner, f"{{name}}, a {domain} image.")[number]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (SMALL, None),
        (replace(SMALL, domain_words=""), "{name}."),
        (replace(SMALL, domain_words=" in {} style"), "{name} in {domain} style."),
        (replace(SMALL, reference_quirks=True), "{name} , a {domain} image.."),
    ],
)
def test_the_words_of_the_prompts(
    small: Clip, names: tuple[str, ...], stir: Stir, config: DAPLConfig, words: str | None
) -> None:
    if words and "style" in words:
        config = replace(config, domains=("art", "photo", "clip"))
    learner = DAPL(small, names, config)
    stir(learner)
    wanted = (
        text_by_hand(small, learner, words) if words else torch.stack([text_of(small, learner, n) for n in range(3)])
    )
    assert torch.allclose(F.normalize(learner.text(), dim=-1), wanted, atol=1e-9)


def test_the_targets_prompts_classify(small: Clip, names: tuple[str, ...], both: Batch, stir: Stir) -> None:
    learner = DAPL(small, names, SMALL)
    stir(learner)
    wanted = small.logit_scale * F.normalize(both.features, dim=-1) @ F.normalize(learner.text()[-1], dim=-1).T
    assert torch.allclose(learner.predict(both), wanted)
    assert not torch.allclose(learner.predict(both), small.scores(both.features, learner.text()[0]))


def test_all_domains_are_encoded_at_once(
    small: Clip, names: tuple[str, ...], both: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner, shapes = DAPL(small, names, SMALL), []
    encode = small.encode_text

    def noted(prompt: object) -> Tensor:
        shapes.append(prompt.prefix.shape[:2])
        return encode(prompt)

    monkeypatch.setattr(small, "encode_text", noted)
    learner.backward(both)
    assert shapes == [(3, 6)], "one call, a variant for each domain, start-of-text and the context in the prefix"


def test_without_a_pseudo_label_it_learns_from_the_source(
    small: Clip, names: tuple[str, ...], both: Batch, stir: Stir
) -> None:
    learner = DAPL(small, names, replace(SMALL, tau=1.0))
    stir(learner)
    on_source, on_target = learner.losses(both)
    assert on_target == 0
    assert torch.equal(learner.backward(both), on_source.detach())
    assert learner.context.grad.abs().max() > 0
    assert not learner.domain_context.grad[2].any(), "the target has no effect"


def test_the_released_code_skips_such_a_step(small: Clip, names: tuple[str, ...], both: Batch, stir: Stir) -> None:
    learner = DAPL(small, names, replace(SMALL, tau=1.0, reference_quirks=True))
    stir(learner)
    before = {name: value.clone() for name, value in learner.trainable().items()}
    optimizer = torch.optim.SGD(learner.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    assert learner.backward(both).isfinite()
    optimizer.step()
    assert all(torch.equal(before[name], value) for name, value in learner.trainable().items())
    learner = DAPL(small, names, replace(SMALL, reference_quirks=True))
    learner.backward(both)
    assert learner.context.grad is not None, "with a pseudo-label the step counts"


def test_a_tau_that_selects_nothing_is_warned_about_once(single: Clip, names: tuple[str, ...], both: Batch) -> None:
    source = feature_batches(both.features.float(), both.labels, batch_size=4, seed=1)
    target = feature_batches(both.unlabelled.features.float(), both.unlabelled.labels, batch_size=4, seed=2)
    data, config = source.beside(target, both.domains), TrainConfig(epochs=2, batch_size=4)
    with pytest.warns(
        VlpromptWarning, match=r"tau 1 left no pseudo-label .*from the source only.*lower dapl.tau"
    ) as warned:
        report = fit(DAPL(single, names, replace(SMALL, tau=1.0)), data, config)
    assert len(warned) == 1
    assert all(loss > 0 for loss in report.losses)
    fit(DAPL(single, names, SMALL), data, config)  # a warning would be an error


def test_batches_without_unlabelled_examples_are_refused(small: Clip, names: tuple[str, ...], batch: Batch) -> None:
    with pytest.raises(UsageError, match="learns from unlabelled examples"):
        DAPL(small, names, SMALL).loss(batch)


def test_domains_and_templates_of_the_task_are_used(small: Clip, names: tuple[str, ...], tmp_path: Path) -> None:
    task = Task("things", names, templates=("art of the {}.",), train=(Example(1, 0, 1),), domains=DOMAINS)
    learner = DAPL.for_task(small, task, DAPLConfig(n_ctx=2, n_domain_ctx=2))
    assert learner.domains == DOMAINS
    assert learner.domain_context.shape == (3, 2, small.text_width)
    assert not torch.allclose(learner.frozen, DAPL(small, names, SMALL).frozen)
    learner.save(tmp_path)
    again = vp.load(tmp_path, small)
    assert again.domains == DOMAINS
    assert torch.equal(again.text(), learner.text())
    assert DAPL(small, names, DAPLConfig(n_ctx=2, n_domain_ctx=2)).domains == ("source", "target")


def test_seeds_give_different_starts_and_all_contexts_differ(small: Clip, names: tuple[str, ...]) -> None:
    one, two = (DAPL(small, names, replace(SMALL, n_ctx=3), seed=seed) for seed in (1, 2))
    assert not torch.allclose(one.context, two.context)
    assert not torch.allclose(one.context, one.domain_context[0])


def test_settings() -> None:
    assert (dapl.RECIPE.epochs, dapl.RECIPE.lr, dapl.RECIPE.batch_size) == (25, 0.003, 32)
    rates = [rate_at(dapl.RELEASED_RECIPE, epoch, step, 20) for epoch in range(6) for step in range(20)]
    wanted = [1e-5] + [1.5e-3 * (1 + float(torch.cos(torch.tensor(torch.pi * i / 25)))) for i in range(119)]
    assert rates == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"tau": 1.5}, "tau is 1.5; it must be a number, from 0 to 1"),
        ({"tau": float("nan")}, "tau is nan"),
        ({"temperature": 0.0}, "temperature is 0.0; it must be a number, above 0"),
        ({"n_domain_ctx": 0}, "n_domain_ctx is 0"),
        ({"denominator": "both"}, "unknown DAPLConfig.denominator 'both'"),
        ({"domain_words": ", an image"}, "domain_words is ', an image'; it must be text, empty, or with {} once"),
        ({"domains": ("art",)}, "give a source and a target"),
        ({"templates": ("a photo",)}, "exactly once"),
    ],
)
def test_values_are_checked(changed: dict[str, object], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        DAPLConfig(**changed)
