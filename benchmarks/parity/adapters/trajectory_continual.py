"""L2P, DualPrompt and CODA-Prompt over three tasks, by the training loops of their repositories.

Their heads and pools have all classes and experts from the start, ours those of the tasks so far. So classes to come
score 0 here, and DualPrompt's experts to come, among which theirs chooses in tests, are added for the tests.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.parity.adapters.l2p import position
from benchmarks.parity.case import Case, CaseError
from benchmarks.parity.models import Models
from benchmarks.parity.training import Learner, OrderedBatches, trace
from vlprompt.data.batch import Batch
from vlprompt.data.images import Example
from vlprompt.data.task import Task
from vlprompt.learners import L2P, CODAPrompt, CODAPromptConfig, DualPrompt, DualPromptConfig, L2PConfig
from vlprompt.training.config import TrainConfig

METHOD = r"training trajectory: (l2p|dualprompt|coda-prompt).*"
CODA = ("prompts", "keys", "attention")
INPUTS = ("images", "labels", "test_images", "test_labels", "order", "g_prompt", "e_prompt", *CODA)


def replay(case: Case, models: Models) -> Mapping[str, Any]:
    """Loss and rate of every step, the scores after each task, and what is learned at the end."""
    kind = next(name for name in KINDS if name in case.method.lower())
    make, begin, tested, end = KINDS[kind]
    images, labels, order = case.tensor("images").float(), case.tensor("labels"), case.tensor("order")
    tests = _batch(case.tensor("test_images").float().flatten(0, 1), case.tensor("test_labels").flatten(), models)
    config = _config(case)
    count, each = len(images), int(case.hyper["classes_per_task"])
    names = [f"class {number}" for number in range(count * each)]
    learner: Any = make(case, models, names[:each])
    losses, rates, scores = [], [], []
    for task in range(count):
        if task:
            own = tuple(Example(number, label) for number, label in enumerate(labels[task].tolist()))
            learner.begin_task(Task("stored", tuple(names[: (task + 1) * each]), train=own, test=own))
        begin(case, learner, task)
        whole = _batch(images[task], labels[task], models)
        epochs = order[task].reshape(config.epochs, -1, order.shape[2])
        steps = trace(learner, OrderedBatches(labels[task], epochs, _parts(whole)), config)
        losses.append(torch.stack(steps.losses))
        rates.append(torch.tensor(steps.rates, dtype=torch.float64))
        found = tested(case, models, learner).eval().predict(tests)
        scores.append(F.pad(found, (0, len(names) - found.shape[1])))
    ends = {"end_head_weight": learner.head.weight, "end_head_bias": learner.head.bias, **end(case, models, learner)}
    return {"losses": torch.stack(losses), "rates": torch.stack(rates), "test_logits": torch.stack(scores), **ends}


def _batch(images: Tensor, labels: Tensor, models: Models) -> Batch:
    with torch.no_grad():
        return Batch(labels, torch.arange(len(images)), images=images, features=models.vit.encode_image(images))


def _parts(whole: Batch) -> Callable[[Tensor, int], Batch]:
    return lambda index, _: whole.part(index)


def _config(case: Case) -> TrainConfig:
    hyper = case.hyper
    if not str(hyper["optimizer"]).startswith("Adam"):
        raise CaseError(f"these methods train by Adam, not {hyper['optimizer']!r}")
    return TrainConfig(
        epochs=int(hyper["epochs"]),
        batch_size=int(hyper["batch_size"]),
        lr=float(hyper["lr"]),
        optimizer="adam",
        weight_decay=0.0,
        schedule="quarter-cosine" if "schedule" in hyper else "constant",
        warmup="none",
        clip_norm=float(hyper.get("clip_grad", 0.0)),
    )


def _put(case: Case, learner: Learner, tensors: Mapping[str, Tensor]) -> None:
    """Give some of the learner's tensors the case's values."""
    learner.restore({**learner.saved_tensors(), **tensors}, case.file)


def _l2p(case: Case, models: Models, names: list[str]) -> L2P:
    hyper = case.hyper
    config = L2PConfig(
        pool=int(hyper["pool_size"]),
        length=int(hyper["length"]),
        top=int(hyper["top_k"]),
        pull=float(hyper["pull_constraint_coeff"]),
        vote="batch" if hyper["batchwise_prompt"] else "image",
        prompt_mask=bool(hyper["use_prompt_mask"]),
        share=bool(hyper["shared_prompt_pool"]),
        class_mask=bool(hyper["train_mask"]),
    )
    learner = L2P(models.vit, names, config)
    _put(case, learner, {"pool": case.tensor("prompts") + position(models.vit), "keys": case.tensor("keys")})
    return learner


def _l2p_end(case: Case, models: Models, learner: L2P) -> dict[str, Tensor]:  # noqa: ARG001
    return {"end_prompts": learner.pool - position(models.vit), "end_keys": learner.keys}


def _dual(case: Case, models: Models, names: list[str]) -> DualPrompt:
    hyper = case.hyper
    config = DualPromptConfig(
        general_layers=tuple(hyper["g_layers"]),
        expert_layers=tuple(hyper["e_layers"]),
        general_length=int(hyper["g_prompt_length"]),
        expert_length=int(hyper["e_prompt_length"]),
        pull=float(hyper["pull_constraint_coeff"]),
        share=bool(hyper["shared_prompt_pool"]),
        class_mask=bool(hyper["train_mask"]),
        reference_quirks=True,
    )
    learner = DualPrompt(models.vit, names, config)
    first = case.tensor("e_prompt").flatten(-2)[:, :, 0]
    _put(case, learner, {"general": case.tensor("g_prompt").flatten(-2), "experts.0": first})
    return learner


def _dual_begin(case: Case, learner: DualPrompt, task: int) -> None:
    _put(case, learner, {f"keys.{task}": case.tensor("keys")[task][None]})


def _dual_tested(case: Case, models: Models, learner: DualPrompt) -> DualPrompt:
    """The learner with the experts to come."""
    other = DualPrompt(models.vit, learner.classes, learner.config)
    tensors = dict(learner.saved_tensors())
    for task in range(len(learner.experts), int(case.hyper["tasks"])):
        tensors[f"experts.{task}"] = case.tensor("e_prompt").flatten(-2)[:, :, task]
        tensors[f"keys.{task}"] = case.tensor("keys")[task][None]
    other.restore(tensors, case.file)
    return other


def _dual_end(case: Case, models: Models, learner: DualPrompt) -> dict[str, Tensor]:  # noqa: ARG001
    heads = case.tensor("g_prompt").shape[-2:]
    return {
        "end_keys": torch.cat(list(learner.keys)),
        "end_g_prompt": learner.general.unflatten(-1, heads),
        "end_e_prompt": torch.stack(list(learner.experts), dim=2).unflatten(-1, heads),
    }


def _coda(case: Case, models: Models, names: list[str]) -> CODAPrompt:
    hyper = case.hyper
    config = CODAPromptConfig(
        components=int(hyper["components_per_task"]),
        length=int(hyper["length"]),
        layers=tuple(hyper["layers"]),
        ortho=float(hyper["ortho_mu"]),
    )
    return CODAPrompt(models.vit, names, config)


def _coda_begin(case: Case, learner: Learner, task: int) -> None:
    _put(case, learner, {f"{name}.{task}": case.tensor(name)[task] for name in CODA})


def _coda_end(case: Case, models: Models, learner: Learner) -> dict[str, Tensor]:  # noqa: ARG001
    return {f"end_{name}": torch.cat(list(getattr(learner, name)), dim=1) for name in CODA}


def _nothing(case: Case, learner: Learner, task: int) -> None:
    """Nothing of the case enters when a task begins."""


def _as_it_is(case: Case, models: Models, learner: Learner) -> Learner:  # noqa: ARG001
    return learner


# How each method is made, begins a task, is tested, and what it has at the end.
Steps = tuple[Callable[..., Learner], Callable[..., None], Callable[..., Learner], Callable[..., dict[str, Tensor]]]
KINDS: dict[str, Steps] = {
    "l2p": (_l2p, _nothing, _as_it_is, _l2p_end),
    "dualprompt": (_dual, _dual_begin, _dual_tested, _dual_end),
    "coda-prompt": (_coda, _coda_begin, _as_it_is, _coda_end),
}
