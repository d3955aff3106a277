"""The checks. Each takes a `Case`, and its assertion messages say what a learner does wrong."""

import json
from dataclasses import asdict, fields, replace
from typing import Any

import torch
from torch import Tensor

from vlprompt import methods
from vlprompt.backbones import Clip, LanguageModel, load_clip, load_lm
from vlprompt.config import make_config
from vlprompt.data.batch import Batch
from vlprompt.errors import UsageError
from vlprompt.learner import PromptLearner
from vlprompt.testing import samples
from vlprompt.testing.case import Case
from vlprompt.training.evaluate import Online, evaluate

NEAR = 1e-4  # relative and absolute, between a prediction alone and in a batch
CLOSE_CALL = 0.05  # two classes whose probabilities differ by less may change places in bfloat16


def check_config_is_plain_values(case: Case) -> None:
    """The config comes back equal from JSON, as a saved prompt stores it, and refuses unknown fields."""
    kind = type(case.config)
    try:
        text = json.dumps(asdict(case.config))
    except (TypeError, ValueError) as error:
        raise AssertionError(f"the config cannot be stored as JSON ({error}); use numbers, texts and tuples") from error
    assert make_config(kind, json.loads(text)) == case.config, "the config is another one after a JSON round trip"
    for name in [field.name for field in fields(case.config)][:1]:
        try:
            make_config(kind, {f"{name}x": 1})
        except UsageError:
            return
        raise AssertionError("an unknown config field is accepted")


def check_scores(case: Case) -> None:
    """Scores are (B, C), float32 and finite."""
    learner = case.trained(epochs=1)
    batch = case.test_batch(learner)
    _reset(learner)
    scores = learner.predict(batch)
    wanted = (len(batch), len(case.task.classes))
    assert tuple(scores.shape) == wanted, f"scores have shape {tuple(scores.shape)}; (B, C) is {wanted} here"
    assert scores.dtype == torch.float32, f"scores are {scores.dtype}; they must be torch.float32"
    assert scores.isfinite().all(), "some scores are NaN or infinite"
    assert not scores.requires_grad, "predict records gradients; decorate it with @torch.no_grad()"


def check_gradients(case: Case) -> None:
    """Every trainable parameter gets a finite gradient, and no frozen one gets any."""
    if not case.steps:
        return
    learner = case.build().train()
    batches = case.train_batches(learner, 20)
    learner.prepare(batches, None)
    loss = learner.backward(next(iter(batches.epoch(0))))
    assert loss.ndim == 0, f"backward returns a tensor of shape {tuple(loss.shape)}; the loss is a scalar"
    assert loss.isfinite(), f"the loss is {float(loss)} before the first step"
    for name, parameter in learner.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, f"parameter {name} is trainable but gets no gradient"
            assert parameter.grad.isfinite().all(), f"the gradient of {name} is not finite"
        else:
            assert parameter.grad is None, f"parameter {name} is frozen but gets a gradient"


def check_training(case: Case) -> None:
    """Training lowers the loss and leaves the frozen model unchanged."""
    if not case.steps:
        return
    before = {name: value.clone() for name, value in case.backbone.state_dict().items()}
    learner = case.build()
    losses = case.fit(learner, 6, largest_rate=0.01, batch_size=20).losses
    after = case.backbone.state_dict()
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert not changed, f"training changes {changed[0]} of the frozen model"
    lowest = min(losses[1:])
    assert lowest < losses[0], f"the loss does not fall in six epochs: {losses[0]:.4g} at first, then {lowest:.4g}"


def check_save_and_load(case: Case) -> None:
    """A saved prompt predicts the same, and holds nothing but what belongs to the learner."""
    learner = case.trained()
    learner.save(case.folder)
    again = methods.load(case.folder, case.backbone, learner=case.kind)
    assert again.config == learner.config, "the config of the loaded learner differs"
    batch = case.test_batch(learner)
    _reset(learner)
    same = torch.equal(again.predict(batch), learner.predict(batch))
    assert same, "the loaded learner predicts something else; tensors to save are parameters or persistent buffers"
    held = learner.saved_tensors().values()
    size = (case.folder / "prompt.safetensors").stat().st_size
    most = sum(tensor.numel() * tensor.element_size() for tensor in held) + 128 * len(held) + 4096
    assert size < most, f"the file has {size} bytes, the learner's tensors {most}"


def check_same_seed(case: Case) -> None:
    """The same seed gives the same bytes, and global random state is neither read nor changed."""
    torch.manual_seed(7)
    first = case.trained().saved_tensors()
    torch.manual_seed(8)
    before = torch.random.get_rng_state()
    second = case.trained().saved_tensors()
    assert torch.equal(before, torch.random.get_rng_state()), "building or training changes torch's global random state"
    apart = [name for name in first if not torch.equal(first[name], second[name])]
    assert not apart, f"{apart[0]} differs between two trainings of one seed; use the seed, not global state"


def check_batch_independence(case: Case) -> None:
    """A prediction does not depend on the other examples of its batch; an online method's only on earlier ones."""
    learner = case.trained(epochs=1)
    batch = case.test_batch(learner)
    _reset(learner)
    together = learner.predict(batch)
    every = list(range(len(batch)))
    online = isinstance(learner, Online)
    parts = [every[:1], every[1:8], every[8:]] if online else [every[:1], [5, 3, 1], every[7:20]]
    _reset(learner)
    for rows in parts:
        alone = learner.predict(batch.part(torch.tensor(rows)))
        assert alone.shape == together[rows].shape, "the number of scores does not follow the batch"
        same = torch.allclose(alone, together[rows], rtol=NEAR, atol=NEAR)
        assert same, "a prediction depends on the other examples of its batch"


def check_streams(case: Case) -> None:
    """Two evaluations of one test set give the same scores."""
    learner = case.build()
    first, second = (evaluate(learner, case.task, store=case.store).scores for _ in range(2))
    same = torch.equal(first, second)
    assert same, "a second evaluation gives other scores; a method with a state between test images needs reset()"


def check_classify(case: Case) -> None:
    """`classify` on loose items answers as `evaluate` does on the task."""
    learner = case.trained(epochs=1)
    texts = learner.needs.input.of_texts
    examples = case.task.test[:5]
    _reset(learner)
    items = [each.item if texts else case.task.images.open(each.item) for each in examples]
    answers = learner.classify(items, batch_size=2)
    scores = evaluate(learner, replace(case.task, test=examples), store=case.store).scores.softmax(dim=1)
    found = torch.tensor([[answer.probabilities[name] for name in case.task.classes] for answer in answers])
    assert torch.allclose(found, scores, atol=1e-3), "classify and evaluate give different probabilities"


def check_other_classes(case: Case) -> None:
    """Class names can be changed after training, or the learner gives the reason why not."""
    learner = case.trained(epochs=1)
    names = ["maybe", "yes", "no"] if learner.needs.input.of_texts else ["zero", "circle", "star"]
    try:
        learner.set_classes(names)
    except UsageError:
        assert learner.why_classes_fixed, "set_classes fails, and why_classes_fixed is empty"
        assert learner.classes == case.task.classes, "set_classes fails but has changed the classes"
        return
    assert not learner.why_classes_fixed, "why_classes_fixed has a reason, but set_classes works"
    scores = learner.predict(case.test_batch(learner))
    count = scores.shape[1]
    assert count == 3, f"{count} scores for 3 new classes; override rebuild, or give the reason in why_classes_fixed"


def check_parts_of_a_batch(case: Case) -> None:
    """A batch's gradient is the mean of its parts' gradients, or the learner gives the reason why not."""
    if not case.steps:
        return
    learner = case.trained(epochs=1, largest_rate=0.003)
    batch = next(iter(case.train_batches(learner, 9).epoch(0)))
    whole, first, second = (_gradients(learner, batch.part(torch.arange(a, b))) for a, b in ((0, 9), (0, 5), (5, 9)))
    if learner.needs.why_not_distributed or not whole:
        return
    largest = max(float(gradient.abs().max()) for gradient in whole.values())
    apart = max(float((whole[name] - (5 * first[name] + 4 * second[name]) / 9).abs().max()) for name in whole)
    assert apart <= 1e-4 * largest, (
        "a batch's gradient is not the mean of its parts' gradients; give the reason in needs.why_not_distributed"
    )


def check_bfloat16(case: Case) -> None:
    """With a model in bfloat16 prompts stay in float32, and nearly all answers are the same."""
    half = _in_bfloat16(case.backbone)
    if half is None:
        return
    exact = case.trained(epochs=1, largest_rate=0.003)
    other = replace(case, backbone=half)
    rough = other.trained(epochs=1, largest_rate=0.003)
    narrow = [name for name, each in rough.trainable().items() if each.dtype != torch.float32]
    assert not narrow, f"parameter {narrow[0]} is not float32"
    # What a method chooses (from a pool, say) makes two trainings differ, so both answer with the same prompt.
    rough.restore({name: each.detach().clone() for name, each in exact.saved_tensors().items()}, "the float32 learner")
    for learner in (exact, rough):
        _reset(learner)
    a, b = (each.predict(own.test_batch(each)).softmax(dim=1) for each, own in ((exact, case), (rough, other)))
    assert b.isfinite().all(), "scores are not finite in bfloat16"
    best = a.topk(2, dim=1).values
    near = best[:, 0] - best[:, 1] < CLOSE_CALL
    agree = ((a.argmax(dim=1) == b.argmax(dim=1)) | near).float().mean()
    assert agree > 0.8, f"only {agree:.0%} of the answers agree between float32 and bfloat16"


def _reset(learner: PromptLearner[Any, Any]) -> None:
    """Begin a new stream of test images."""
    if isinstance(learner, Online):
        learner.reset()


def _gradients(learner: PromptLearner[Any, Any], batch: Batch) -> dict[str, Tensor]:
    learner.zero_grad(set_to_none=True)
    learner.backward(batch)
    return {name: p.grad.clone() for name, p in learner.trainable().items() if p.grad is not None}


def _in_bfloat16(backbone: Any) -> Any:
    """The same small model in bfloat16; None where it is not one of `samples`."""
    if backbone.name == "small":
        return samples.small_vit("bf16")
    bundled = isinstance(backbone, Clip | LanguageModel) and "tiny" in backbone.name
    return (load_clip if isinstance(backbone, Clip) else load_lm)("tiny", precision="bf16") if bundled else None
