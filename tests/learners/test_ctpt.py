"""C-TPT: the effect of the dispersion; its equations are tested with TPT's."""

import pytest
import torch

from tests.prompts.tuning import FAST, batch_of_views
from vlprompt.backbones.clip import Clip
from vlprompt.errors import UsageError
from vlprompt.learners import CTPT, TPT, CTPTConfig


def test_the_dispersion_grows_with_its_weight(small: Clip, names: tuple[str, ...]) -> None:
    batch = batch_of_views(4, FAST.views, small.embed_dim)
    assert batch.views is not None
    spread = {}
    for strength in (0.0, 50.0):
        learner = CTPT(small, names, CTPTConfig(**vars(FAST), strength=strength))
        text = small.encode_text(learner.inner.context_layout().fill(learner.tune(batch.views)))
        unit = torch.nn.functional.normalize(text, dim=-1)
        spread[strength] = (unit - unit.mean(dim=1, keepdim=True)).norm(dim=-1).mean()
    assert spread[50.0] > spread[0.0] * 1.001
    assert torch.equal(
        CTPT(small, names, CTPTConfig(**vars(FAST), strength=0)).predict(batch), TPT(small, names, FAST).predict(batch)
    )


def test_values_are_checked() -> None:
    with pytest.raises(UsageError, match="strength is -1"):
        CTPTConfig(strength=-1)
