"""The cosine protocol: which learners offer it, and that its members give the scores of `forward`."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import vlprompt as vp
from vlprompt import methods
from vlprompt.backbones.clip import Clip
from vlprompt.config import make_config
from vlprompt.data.batch import Batch
from vlprompt.prompts.cosine import Cosine

OFFERS: dict[str, dict[str, Any]] = {
    "coop": {},
    "kgcoop": {},
    "prograd": {},
    "maple": {"depth": 2},
    "ivlp": {"depth_text": 2, "depth_vision": 2},
    "promptsrc": {"depth_text": 2, "depth_vision": 2},
    "dapl": {"n_ctx": 2, "n_domain_ctx": 2},
    "clip_adapter": {},
    "clip_lora": {},
    "zero_shot": {},
    "mta": {},
    "tda": {},
    "zero": {},
}


def built(name: str, clip: Clip, names: tuple[str, ...]) -> Any:
    kind = methods.learner_class(name)
    return kind(clip, names, make_config(kind.Config, OFFERS.get(name, {})))


@pytest.mark.parametrize("name", OFFERS)
def test_its_members_give_the_scores(
    name: str, small: Clip, names: tuple[str, ...], batch: Batch, stir: Callable[[nn.Module], None]
) -> None:
    learner = built(name, small, names)
    stir(learner.eval())
    assert isinstance(learner, Cosine)
    with_views = Batch(batch.labels, batch.index, batch.images, batch.features, views=batch.features[:, None])
    images, classes = learner.image_features(with_views), learner.class_features()
    assert images.shape == (12, 32)
    assert classes.shape == (5, 32)
    wanted = learner.scale() * F.normalize(images, dim=-1) @ F.normalize(classes, dim=-1).T
    assert torch.allclose(learner(with_views), wanted, atol=1e-9)


def test_its_members_are_found_statically(small: Clip, names: tuple[str, ...]) -> None:
    """As Python 3.12 and newer look up the members of a protocol."""
    learner = built("coop", small, names)
    for member in ("image_features", "class_features", "scale"):
        assert callable(inspect.getattr_static(learner, member))


@pytest.mark.parametrize("name", ["cocoop", "tip_adapter", "tip_adapter_f", "linear_probe", "tpt"])
def test_other_scores_do_not_offer_it(name: str, small: Clip, names: tuple[str, ...]) -> None:
    assert not isinstance(built(name, small, names), Cosine)


def test_class_features_are_computed_again_for_other_classes_and_prompts() -> None:
    learner = vp.learners.CoOp(vp.load_clip("tiny"), ["circle", "star"])
    with torch.no_grad():
        first = learner.class_features()
        assert learner.class_features().data_ptr() == first.data_ptr()
        learner.context.add_(torch.linspace(-1, 1, first.shape[1])[: learner.context.shape[1]])
        assert not torch.allclose(learner.class_features(), first)
        learner.set_classes(["star", "seven", "circle"])
        assert learner.class_features().shape[0] == 3
