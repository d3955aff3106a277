"""The scores of an image do not depend on the other images of its batch: alone, by sevens, 64 at once."""

from typing import Any

import pytest
import torch

import vlprompt as vp
from tests.learners.conftest import random_clip
from tests.learners.vits import NAMES, batch_for, small_vit, stirred, task
from vlprompt import methods
from vlprompt.config import make_config
from vlprompt.data.batch import Batch

VISION: dict[str, dict[str, Any]] = {
    "vpt (deep)": {"n_prompts": 3},
    "vpt (shallow)": {"n_prompts": 3, "depth": 1},
    "full": {},
    "linear": {},
    "partial": {"k": 1},
    "mlp": {"k": 3},
    "side": {"pretrained": False},
    "bias": {},
    "norm": {},
    "adapter": {"reduction": 4},
    "lora": {"rank": 2},
    "l2p": {"pool": 6, "length": 3, "top": 2},
    "dual_prompt": {"general_layers": [0], "expert_layers": [1, 2], "general_length": 2, "expert_length": 2},
    "dual_prompt (layer keys)": {"general_layers": [0], "expert_layers": [1, 2], "layer_keys": True},
    "coda_prompt": {"components": 3, "length": 4, "layers": [0, 2]},
}
TASKS = ("l2p", "dual_prompt", "coda_prompt")
SIZES = (1, 7, 64)


def grown(name: str, backbone: Any, **changes: Any) -> Any:
    """A learner with every tensor stirred; of the continual methods, at its second task."""
    method = name.partition(" ")[0]
    kind = methods.learner_class(method)
    config = make_config(kind.Config, {**VISION[name], **changes})
    learner: Any = kind(backbone, NAMES[:3] if method in TASKS else NAMES, config)
    if method in TASKS:
        learner.begin_task(task(NAMES, 3, 4))
    stirred(learner).eval()
    if hasattr(learner, "head"):  # center the scores, so that answers differ
        with torch.no_grad():
            learner.head.bias -= learner.predict(batch_for(backbone, 64)).mean(dim=0)
    return learner


def check(learner: Any, batch: Batch) -> None:
    """Scores of 64 images agree for all batch sizes; the images differ in their answers, or the test shows nothing."""
    whole = learner.predict(batch)
    assert len(set(whole.argmax(dim=1).tolist())) > 1
    for size in SIZES:
        parts = []
        for first in range(0, len(batch), size):
            rows = slice(first, first + size)
            held = {name: each[rows] for name, each in vars(batch).items() if isinstance(each, torch.Tensor)}
            parts.append(learner.predict(Batch(**held)))
        found = torch.cat(parts)
        assert torch.allclose(found, whole, rtol=1e-9, atol=1e-9), f"batches of {size}"
        assert torch.equal(found.argmax(dim=1), whole.argmax(dim=1)), f"batches of {size}"


@pytest.fixture(scope="module")
def vit() -> vp.Vit:
    return small_vit()


@pytest.mark.parametrize("name", VISION)
def test_on_a_vit(name: str, vit: vp.Vit) -> None:
    check(grown(name, vit), batch_for(vit, 64))


@pytest.mark.parametrize("name", ["vpt (deep)", "vpt (shallow)", "linear", "mlp", *TASKS])
def test_on_the_image_tower_of_a_clip(name: str) -> None:
    clip = random_clip()
    layers = {"dual_prompt": {"expert_layers": [1]}, "coda_prompt": {"layers": [0, 1]}}
    batch = batch_for(clip, 64)  # type: ignore[arg-type]
    check(grown(name, clip, **layers.get(name, {})), batch)


def test_the_check_sees_a_vote_and_a_reshape(vit: vp.Vit) -> None:
    """The faults of published code that it is meant to detect."""
    for name, change in (("l2p", {"vote": "batch"}), ("dual_prompt", {"reference_quirks": True})):
        with pytest.raises(AssertionError, match="batches of"):
            check(grown(name, vit, **change), batch_for(vit, 64))
