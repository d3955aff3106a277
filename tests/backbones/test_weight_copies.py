"""Trainable copies of frozen weights, and which weights each method copies."""

import copy

import pytest
import torch

import vlprompt as vp
from tests.learners.vits import NAMES, batch_for, small_vit, stirred
from vlprompt.backbones.weight_copies import WeightCopies, biases, norms
from vlprompt.errors import UsageError
from vlprompt.learners import Bias, Full, Norm, Partial, PartialConfig


def test_copies_replace_the_weights_and_the_model_does_not_change() -> None:
    """As if the weights had been written into a copy of the model."""
    vit = small_vit()
    before = {name: value.clone() for name, value in vit.model.state_dict().items()}
    copies = WeightCopies(vit, vit.model.parameters())
    stirred(copies)
    other = copy.deepcopy(vit.model)
    other.load_state_dict({name.replace("-", "."): value.detach() for name, value in copies.copies.items()})
    images = batch_for(vit).images
    assert torch.allclose(copies.encode_image(vit, images), other(images), rtol=1e-12, atol=1e-12)
    assert all(torch.equal(before[name], value) for name, value in vit.model.state_dict().items())


def test_all_biases_and_nothing_else() -> None:
    vit = small_vit(init_values=0.1)
    names = {name for name, each in vit.model.named_parameters() if any(each is bias for bias in biases(vit.model))}
    assert names == {name for name, _ in vit.model.named_parameters() if name.endswith("bias")}


def test_all_norms_and_nothing_else() -> None:
    vit = small_vit(qk_norm=True)
    names = {name for name, each in vit.model.named_parameters() if any(each is norm for norm in norms(vit.model))}
    assert names == {name for name, _ in vit.model.named_parameters() if "norm" in name}
    assert len(names) == 2 * (3 * 4 + 1)


@pytest.mark.parametrize("k", [1, 3])
def test_partial_is_the_last_layers_and_the_final_norm(k: int) -> None:
    vit = small_vit()
    learner = Partial(vit, NAMES, PartialConfig(k=k))
    names = {name.split(".")[-1].replace("-", ".") for name in learner.trainable() if name.startswith("weights")}
    layers = tuple(f"blocks.{i}." for i in range(3 - k, 3))
    assert names == {name for name, _ in vit.model.named_parameters() if name.startswith((*layers, "norm."))}
    with pytest.raises(UsageError, match="has 3 layers"):
        Partial(vit, NAMES, PartialConfig(k=4))


@pytest.mark.parametrize("kind", [Full, Bias, Norm, Partial])
def test_at_first_the_features_are_the_frozen_models(kind: type) -> None:
    vit = small_vit(torch.float32)
    learner, batch = kind(vit, NAMES), batch_for(vit)
    assert torch.allclose(learner(batch), learner.head(batch.features), atol=1e-5)


def test_learners_of_one_backbone_do_not_affect_each_other() -> None:
    vit = small_vit(torch.float32)
    first, second, batch = Full(vit, NAMES), vp.learners.Adapter(vit, NAMES), batch_for(vit)
    before = second.predict(batch)
    with torch.no_grad():
        for parameter in first.trainable().values():
            parameter.add_(1.0)
    assert torch.equal(second.predict(batch), before)
    assert torch.equal(vit.encode_image(batch.images), batch.features)
