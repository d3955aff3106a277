"""CLIP-Adapter: its equation written out, and its sizes."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from vlprompt.backbones.clip import Clip
from vlprompt.data.batch import Batch
from vlprompt.errors import UsageError
from vlprompt.learners.clip_adapter import CLIPAdapter, CLIPAdapterConfig


def test_the_equation_written_out(
    small: Clip, names: tuple[str, ...], batch: Batch, stir: Callable[[nn.Module], None]
) -> None:
    learner = CLIPAdapter(small, names, CLIPAdapterConfig(ratio=0.3))
    stir(learner)
    down, up = (layer.weight for layer in learner.adapter if isinstance(layer, nn.Linear))
    f = batch.features
    adapted = 0.3 * (up @ (down @ f.T).clamp(min=0)).clamp(min=0).T + 0.7 * f
    text = small.model.encode_text(small.tokenizer([f"a photo of a {name.replace('_', ' ')}." for name in names]))
    adapted, text = (x / x.norm(dim=-1, keepdim=True) for x in (adapted, text))
    assert torch.allclose(learner(batch), small.logit_scale * adapted @ text.T, atol=1e-9)


def test_sizes_follow_the_model_and_there_are_no_biases(small: Clip, names: tuple[str, ...]) -> None:
    learner = CLIPAdapter(small, names)
    shapes = {name: tuple(p.shape) for name, p in learner.trainable().items()}
    assert shapes == {"adapter.0.weight": (8, 32), "adapter.2.weight": (32, 8)}


def test_the_start_depends_on_the_seed_and_the_global_state_stays(small: Clip, names: tuple[str, ...]) -> None:
    state = torch.random.get_rng_state()
    a, b, c = (CLIPAdapter(small, names, seed=seed).adapter[0].weight for seed in (1, 1, 2))
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_new_names_get_their_own_text(small: Clip, names: tuple[str, ...], batch: Batch) -> None:
    learner = CLIPAdapter(small, names).double()
    before = learner.predict(batch)
    learner.set_classes([names[4], names[1]])
    assert torch.allclose(learner.predict(batch), before[:, [4, 1]])


@pytest.mark.parametrize("ratio", [0.0, 1.1, float("nan")])
def test_a_ratio_out_of_range_is_refused(ratio: float) -> None:
    with pytest.raises(UsageError, match="ratio"):
        CLIPAdapterConfig(ratio=ratio)
