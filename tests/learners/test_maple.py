"""MaPLe: a plain restatement of its two towers, how it starts, and the official numbers."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.parity.__main__ import run
from vlprompt.backbones.clip import Clip
from vlprompt.data.batch import Batch
from vlprompt.errors import UsageError
from vlprompt.learners import maple
from vlprompt.learners.maple import MaPLe, MaPLeConfig

SMALL = MaPLeConfig(depth=2)  # the small model has two layers in each tower


def plain_text(clip: Clip, texts: list[str], prompts: Tensor) -> Tensor:
    """(J, n, D) prompts behind start-of-text before the first layers of open_clip's own transformer."""
    model, ids, n = clip.model, clip.tokenizer(texts), prompts.shape[1]
    x = model.token_embedding(ids)
    x = torch.cat([x[:, :1], prompts[0].expand(len(ids), -1, -1), x[:, 1 + n :]], dim=1) + model.positional_embedding
    for layer, block in enumerate(model.transformer.resblocks):
        if 0 < layer < len(prompts):
            x = torch.cat([x[:, :1], prompts[layer].expand(len(ids), -1, -1), x[:, 1 + n :]], dim=1)
        x = block(x, attn_mask=model.attn_mask)
    return model.ln_final(x)[torch.arange(len(ids)), ids.argmax(dim=1)] @ model.text_projection


def plain_image(clip: Clip, images: Tensor, prompts: list[Tensor]) -> Tensor:
    """(n, D) prompts behind the patches before the first layers, the first of them before ln_pre."""
    visual, n = clip.model.visual, len(prompts[0])
    x = visual.conv1(images).flatten(2).mT
    x = torch.cat([visual.class_embedding.expand(len(x), 1, -1), x], dim=1) + visual.positional_embedding
    x = visual.ln_pre(torch.cat([x, prompts[0].expand(len(x), -1, -1)], dim=1))
    for layer, block in enumerate(visual.transformer.resblocks):
        if 0 < layer < len(prompts):
            x = torch.cat([x[:, :-n], prompts[layer].expand(len(x), -1, -1)], dim=1)
        x = block(x)
    return visual.ln_post(x[:, 0]) @ visual.proj


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize(("words", "rest"), [("a photo of a", "of a "), ("", "")])
def test_scores_are_those_of_a_plain_restatement(
    small: Clip,
    names: tuple[str, ...],
    batch: Batch,
    stir: Callable[[nn.Module], None],
    depth: int,
    words: str,
    rest: str,
) -> None:
    learner = MaPLe(small, names, MaPLeConfig(depth=depth, words=words), seed=1)
    stir(learner)
    texts = [f"x x {rest}{name.replace('_', ' ')}." for name in names]
    text = F.normalize(plain_text(small, texts, learner.prompts), dim=-1)
    coupled = [F.linear(p, f.weight, f.bias) for p, f in zip(learner.prompts, learner.couplings, strict=True)]
    image = F.normalize(plain_image(small, batch.images, coupled), dim=-1)
    wanted = small.logit_scale * image @ text.T
    assert torch.allclose(learner(batch), wanted, atol=1e-9)
    own, plain = (
        torch.autograd.grad(F.cross_entropy(scores, batch.labels), list(learner.trainable().values()))
        for scores in (learner(batch), wanted)
    )
    for a, b in zip(own, plain, strict=True):
        assert torch.allclose(a, b, atol=1e-9)
        assert a.any()


def test_it_starts_from_the_first_words_and_noise(single: Clip, names: tuple[str, ...]) -> None:
    learner = MaPLe(single, names, SMALL, seed=3)
    wanted = single.embed_tokens(torch.tensor(single.tokenizer.pieces("a photo")))
    assert torch.equal(learner.prompts[0], wanted)
    assert 0 < float(learner.prompts[1].detach().std()) < 0.04
    assert learner.prompts.shape == (2, 2, 24)
    assert [coupling.weight.shape for coupling in learner.couplings] == [(32, 24), (32, 24)]
    hand_written = single.encode_texts([f"a photo of a {name.replace('_', ' ')}." for name in names])
    shallow = MaPLe(single, names, MaPLeConfig(depth=1), seed=3)
    assert torch.allclose(shallow.text()[0], hand_written, atol=1e-4)


def test_the_couplings_of_deeper_layers_start_equal(
    make_small: Callable[..., Clip], names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = make_small(vision={"image_size": 16, "layers": 4, "width": 32, "head_width": 16, "patch_size": 8})
    with pytest.raises(UsageError, match="depth is 3, the text tower has 2 layers"):
        MaPLe(deep, names, MaPLeConfig(depth=3))
    monkeypatch.setattr(Clip, "text_layers", 3)
    first, second, third = (coupling.weight.detach() for coupling in MaPLe(deep, names, MaPLeConfig(depth=3)).couplings)
    assert torch.equal(second, third)
    assert not torch.equal(first, second)
    bound = 24**-0.5  # torch's own start of a linear layer
    assert 0.9 * bound < float(first.abs().max()) <= bound


def test_new_classes_use_the_same_prompts(small: Clip, names: tuple[str, ...], batch: Batch) -> None:
    learner, other = MaPLe(small, names, SMALL, seed=1), MaPLe(small, ["train", "old cat"], SMALL, seed=1)
    learner.set_classes(["train", "old cat"])
    assert torch.equal(learner.predict(batch), other.predict(batch))


def test_text_is_encoded_once_for_an_evaluation(
    small: Clip, names: tuple[str, ...], batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner, calls = MaPLe(small, names, SMALL), []
    encode = Clip.encode_text
    monkeypatch.setattr(Clip, "encode_text", lambda self, prompt: calls.append(1) or encode(self, prompt))
    for _ in range(3):
        learner.predict(batch)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"depth": 9}, "depth is 9, the text tower has 2 layers; give at most 2"),
        ({"depth": 2, "n_ctx": 5}, "5 learned tokens cannot start from 'a photo of a', which has 4"),
        ({"depth": 2, "n_ctx": 1, "words": "unbelievabilities"}, "whole words"),
    ],
)
def test_what_cannot_work_is_refused(
    small: Clip, names: tuple[str, ...], config: dict[str, object], reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        MaPLe(small, names, MaPLeConfig(**config))


def test_values_are_checked(small: Clip, names: tuple[str, ...]) -> None:
    for values in ({"n_ctx": 0}, {"depth": 0}):
        with pytest.raises(UsageError, match="is 0; it must be a whole number, 1 or more"):
            MaPLeConfig(**values)
    with pytest.raises(UsageError, match="reads images"):
        MaPLe(small, names, SMALL)(Batch(torch.zeros(1), torch.zeros(1)))


def test_the_recipes_are_the_published_ones() -> None:
    ours, other = (maple.VARIANTS[name] for name in ("maple-paper", "maple-cross-dataset"))
    assert ours.config == MaPLeConfig(n_ctx=2, depth=9, words="a photo of a")
    assert (other.config.depth, other.config.n_ctx) == (3, 2)
    recipes = [variant.training(16) for variant in (ours, other)]
    assert [(r.epochs, r.lr) for r in recipes] == [(5, 0.0035), (2, 0.0026)]
    assert {(r.batch_size, r.weight_decay, r.warmup_lr) for r in recipes} == {(4, 5e-4, 1e-5)}


def test_the_official_numbers_come_out(shared: Path) -> None:
    rows = run(shared / "goldens" / "clip", shared / "goldens", "maple")
    assert [(row.file, row.problem) for row in rows if row.status != "pass"] == []
    assert len(rows) >= 2
    compared = {each.name for row in rows for each in row.differences}
    assert compared >= {"logits", "loss", "loss_steps", "logits_final", "grad.prompt_learner.compound_prompts_text.0"}
    assert compared >= {"step2.prompt_learner.compound_prompt_projections.0.weight", "init.prompt_learner.ctx"}
