"""KgCoOp: its loss written out, and its effect on the prompts."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vlprompt.backbones.clip import Clip
from vlprompt.data.batch import Batch
from vlprompt.data.batches import feature_batches
from vlprompt.data.task import Task
from vlprompt.errors import UsageError
from vlprompt.learners import kgcoop
from vlprompt.learners.kgcoop import KgCoOp, KgCoOpConfig
from vlprompt.training.config import TrainConfig
from vlprompt.training.fit import fit

TEMPLATES = ("a photo of a {}, a type of thing.", "art of the {}.")


def test_the_loss_written_out(
    small: Clip, names: tuple[str, ...], batch: Batch, stir: Callable[[nn.Module], None]
) -> None:
    learner = KgCoOp(small, names, KgCoOpConfig(templates=TEMPLATES))
    stir(learner)
    prompted = F.normalize(small.encode_text(learner.layout.fill(learner.context[None]))[0], dim=-1)
    each = []
    for template in TEMPLATES:
        texts = small.tokenizer([template.format(name.replace("_", " ")) for name in names])
        each.append(F.normalize(small.model.encode_text(texts), dim=-1))
    frozen = F.normalize(sum(each) / len(each), dim=-1)
    probability = (small.logit_scale * F.normalize(batch.features, dim=-1) @ prompted.T).softmax(dim=-1)
    own = -probability[torch.arange(12), batch.labels].log().mean()
    code = own + 8 * (1 - (prompted * frozen).sum(dim=-1).mean())
    assert torch.allclose(learner.loss(batch), code, atol=1e-9)
    paper = own + 4 * (prompted - frozen).square().sum(dim=-1).mean()  # eq. 4 on normalised features at half the lambda
    assert torch.allclose(learner.loss(batch), paper, atol=1e-9)
    assert code - own > 1e-3, "there is no distance to measure"


def test_at_the_hand_written_prompt_there_is_no_penalty(small: Clip, names: tuple[str, ...], batch: Batch) -> None:
    learner = KgCoOp(small, names)
    assert torch.allclose(learner.loss(batch), F.cross_entropy(learner(batch), batch.labels), atol=1e-6)


def test_with_a_larger_weight_the_prompts_stay_nearer(small: Clip, names: tuple[str, ...], batch: Batch) -> None:
    batches = feature_batches(batch.features, batch.labels, batch_size=12, seed=0)
    settings = TrainConfig(epochs=5, lr=0.002, warmup="none", schedule="constant")
    distances = []
    for weight in (0.0, 8.0, 40.0):
        learner = KgCoOp(small, names, KgCoOpConfig(weight=weight))
        fit(learner, batches, settings)
        with torch.no_grad():
            distances.append(float(1 - F.cosine_similarity(learner.text()[0], learner.frozen, dim=-1).mean()))
    assert distances[0] > 1.02 * distances[1] > 1.02 * distances[2]


def test_the_hand_written_prompts_are_the_tasks(small: Clip, names: tuple[str, ...]) -> None:
    task = Task("things", names, templates=TEMPLATES)
    learner = KgCoOp.for_task(small, task, KgCoOpConfig())
    assert learner.config.templates == TEMPLATES
    assert not torch.allclose(learner.frozen, KgCoOp(small, names).frozen)
    own = KgCoOp.for_task(small, task, KgCoOpConfig(templates=("{}.",)))
    assert own.config.templates == ("{}.",)


def test_new_names_have_hand_written_prompts_of_their_own(small: Clip, names: tuple[str, ...]) -> None:
    learner = KgCoOp(small, names)
    rows = learner.frozen
    learner.set_classes([names[3], names[0]])
    assert torch.allclose(learner.frozen, rows[[3, 0]])
    assert "frozen" not in learner.trainable()


def test_settings() -> None:
    assert (kgcoop.RECIPE.epochs, kgcoop.RECIPE.batch_size) == (100, 128)
    with pytest.raises(UsageError, match=r"KgCoOpConfig.weight is -1.0; it must be a number, 0 or more"):
        KgCoOpConfig(weight=-1)
    with pytest.raises(UsageError, match=r"'a photo'.*exactly once"):
        KgCoOpConfig(templates=("a photo",))
