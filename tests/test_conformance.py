"""Every learner, the same checks: whatever stands in vlprompt/learners or vlprompt/cloze is run through this file."""

import json
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

import vlprompt as vp
from vlprompt import feed, learners
from vlprompt.data.batch import Batch
from vlprompt.data.features import FeatureStore
from vlprompt.data.transforms import Preprocess
from vlprompt.errors import UsageError, VlpromptError
from vlprompt.learners.base import PromptLearner, Reads

pytestmark = pytest.mark.filterwarnings("ignore::vlprompt.errors.VlpromptWarning")  # words the tiny model never saw

METHODS = learners.names()
TRAINED = [name for name in METHODS if learners.learner_class(name).learns]
STEPPED = [name for name in TRAINED if learners.variant(name)[1].recipe(2, "").epochs > 0]


Model = Any  # a vp.Clip, vp.Vit or vp.LanguageModel


def small_vit(precision: str) -> vp.Vit:
    """A small random ViT."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 3}
        model = timm.create_model("vit_base_patch16_224", **sizes)
    for parameter in model.parameters():  # timm's start is so small that an image hardly shows in its features
        parameter.data *= 1 if parameter.ndim == 1 else 5
    return vp.Vit(model, Preprocess(32, (0.5,) * 3, (0.5,) * 3), name="small", precision=precision)


def reads_text(method: str) -> bool:
    return learners.learner_class(method).reads.of_texts


@pytest.fixture(scope="module")
def make_backbone(make_lm: Callable[..., Any]) -> Callable[..., Any]:
    """A backbone of one's own that goes with a method: the bundled CLIP, a small random ViT or a tiny random BERT."""

    def make(method: str, precision: str = "fp32") -> Model:
        kind = learners.learner_class(method).takes[0]
        if kind is vp.LanguageModel:
            return make_lm("bert", precision=precision)
        return vp.load_clip("tiny", precision=precision) if kind is vp.Clip else small_vit(precision)

    return make


@pytest.fixture(scope="module")
def kept() -> dict[Any, Model]:
    """Backbones that tests share, by what a method takes."""
    return {}


@pytest.fixture
def clip(method: str, make_backbone: Callable[..., Any], kept: dict[Any, Model]) -> Model:
    """The backbone that a method usually takes."""
    kind = learners.learner_class(method).takes[0]
    if kind not in kept:
        kept[kind] = make_backbone(method)
    return kept[kind]


@pytest.fixture
def task(method: str) -> vp.Task:
    """Two shots of digits and 60 test images, with labels and without; or sixteen opinions and a test split of 24."""
    if reads_text(method):
        return opinions()
    digits = vp.load_task("digits").few_shot(2, seed=1)
    test = digits.test[::15]
    unlabelled = tuple(replace(example, label=-1, domain=1) for example in test)
    return replace(digits, test=test, unlabelled=unlabelled, domains=("source", "target"))


def opinions() -> vp.Task:
    words = (("terrible", "bad", "awful", "dull"), ("great", "good", "lovely", "fine"))
    rows = tuple(
        vp.Example(vp.Text.of(text=f"the {noun} was {word} ." + " and i saw it" * (number % 3)), label)
        for number, noun in enumerate(("film", "story", "actor", "music", "probe"))
        for label, own in enumerate(words)
        for word in own
    )
    template = "{text} it was {mask} ."
    unlabelled = tuple(replace(row, label=-1) for row in rows[16:])
    split = (rows[:16], (), rows[16:], unlabelled)
    return vp.Task("opinions", ("no", "yes"), (template,), *split, words=(("dull",), ("lovely",)))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return FeatureStore(tmp_path_factory.mktemp("store"))


def build(method: str, clip: Model, task: vp.Task, seed: int = 1) -> PromptLearner:
    """The published setting, as deep as the small model's three layers allow, with few views, nothing to download.

    What trains models of its own before its first step does so in a few steps.
    """
    config = learners.variant(method)[1].config
    changes: dict[str, Any] = {field.name: 2 for field in fields(config) if field.name.startswith("depth")}
    shallow = {f.name: tuple(n for n in getattr(config, f.name) if n < 3) for f in fields(config) if "layers" in f.name}
    changes |= shallow
    changes |= {field.name: min(config.views, 12) for field in fields(config) if field.name == "views"}
    changes |= {field.name: 8 for field in fields(config) if field.name == "length" and reads_text(method)}
    changes |= {field.name: 4 for field in fields(config) if field.name == "steps"}
    changes |= {field.name: False for field in fields(config) if field.name == "pretrained"}
    return learners.learner_class(method).for_task(clip, task, replace(config, **changes), seed=seed)


def trained(
    method: str, clip: Model, task: vp.Task, store: FeatureStore, epochs: int = 3, most: float = 1
) -> PromptLearner:
    """A learner after a few epochs by its own recipe, at its learning rate or at the most that is given."""
    learner = build(method, clip, task)
    recipe = learners.variant(method)[1].recipe(2, task.name)
    if recipe.epochs:
        plain = {"warmup": "none", "schedule": "constant", "augment": "none"}
        recipe = replace(recipe, epochs=epochs, batch_size=10, lr=min(recipe.lr, most), **plain)
    vp.fit(learner, task, recipe, store=store)
    return learner


def whole_batch(learner: PromptLearner, task: vp.Task, store: FeatureStore) -> Batch:
    (batch,) = feed.judging(learner, task, task.test, store).epoch(0)
    return batch


@pytest.mark.parametrize("method", METHODS)
def test_scores_are_finite_and_float32(method: str, clip: Model, task: vp.Task, store: FeatureStore) -> None:
    learner = trained(method, clip, task, store, epochs=1)
    scores = learner.predict(whole_batch(learner, task, store))
    assert scores.shape == (len(task.test), len(task.classes))
    assert scores.dtype == torch.float32
    assert scores.isfinite().all()


@pytest.mark.parametrize("method", METHODS)
def test_bfloat16_gives_nearly_the_same_scores(
    method: str, clip: Model, task: vp.Task, tmp_path: Path, make_backbone: Callable[..., Any]
) -> None:
    half = make_backbone(method, precision="bf16")
    store = FeatureStore(tmp_path)
    # Small steps: a large one parts two trainings, and throws a prompt out of where random models answer steadily.
    exact, rough = (trained(method, c, task, store, epochs=1, most=0.003) for c in (clip, half))
    assert all(p.dtype == torch.float32 for p in rough.trainable().values()), "prompts stay in float32"
    assert rough.predict(whole_batch(rough, task, store)).isfinite().all()
    rough.restore({**exact.trainable(), **exact.found()}, "exact")  # what is chosen from a pool makes trainings diverge
    a = exact.predict(whole_batch(exact, task, store)).softmax(dim=1)
    b = rough.predict(whole_batch(rough, task, store)).softmax(dim=1)
    assert b.isfinite().all()
    best = a.topk(2, dim=1).values
    near = best[:, 0] - best[:, 1] < 0.05  # which of two that are level comes first is no difference
    assert ((a.argmax(dim=1) == b.argmax(dim=1)) | near).float().mean() > 0.8


@pytest.mark.parametrize("method", STEPPED)
def test_gradients_reach_what_is_learned_and_nothing_else(
    method: str, clip: Model, task: vp.Task, store: FeatureStore
) -> None:
    learner = build(method, clip, task)
    learner.train()
    batches = feed.training(learner, task, vp.TrainConfig(augment="none", batch_size=20), store)
    learner.prepare(batches, None)
    loss = learner.backward(next(iter(batches.epoch(0))))
    assert loss.ndim == 0
    assert loss.isfinite()
    for name, parameter in learner.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, f"{name} gets no gradient"
            assert parameter.grad.isfinite().all()
        else:
            assert parameter.grad is None, f"{name} is frozen but gets a gradient"


@pytest.mark.parametrize("method", STEPPED)
def test_training_lowers_the_loss_and_leaves_the_backbone_alone(
    method: str, clip: Model, task: vp.Task, store: FeatureStore
) -> None:
    before = {name: value.clone() for name, value in clip.model.state_dict().items()}
    learner = build(method, clip, task)
    recipe = learners.variant(method)[1].recipe(2, "")
    changes = {"epochs": 6, "warmup": "none", "schedule": "constant", "augment": "none", "batch_size": 20}
    recipe = replace(recipe, **changes, lr=min(recipe.lr, 0.01))  # rates that follow a warm-up are too high without it
    losses = vp.fit(learner, task, recipe, store=store).losses
    assert min(losses[1:]) < losses[0]
    after = clip.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before), "a frozen weight has changed"


@pytest.mark.parametrize("method", METHODS)
def test_saved_and_loaded_it_predicts_the_same(
    method: str, clip: Model, task: vp.Task, store: FeatureStore, tmp_path: Path
) -> None:
    learner = trained(method, clip, task, store, epochs=2)
    learner.save(tmp_path / "prompt")
    again = vp.load(tmp_path / "prompt", clip)
    assert again.config == learner.config
    assert again.trainable().keys() == learner.trainable().keys()
    batch = whole_batch(learner, task, store)
    assert torch.equal(again.predict(batch), learner.predict(batch))
    weights = (tmp_path / "prompt" / "prompt.safetensors").stat().st_size
    kept = {**learner.trainable(), **learner.found()}.values()
    learned = sum(tensor.numel() * tensor.element_size() for tensor in kept)
    assert weights < learned + 128 * len(kept) + 4096, "the file holds more than what was learned or found"


@pytest.mark.parametrize("method", METHODS)
def test_other_classes_work_or_are_refused_with_the_reason(
    method: str, clip: Model, task: vp.Task, store: FeatureStore
) -> None:
    learner = trained(method, clip, task, store, epochs=1)
    if learner.keeps_classes:
        with pytest.raises(UsageError, match=method):
            learner.set_classes(["zero", "circle", "star"])
        assert learner.classes == task.classes
    else:
        learner.set_classes(["maybe", "yes", "no"] if reads_text(method) else ["zero", "circle", "star"])
        assert learner.predict(whole_batch(learner, task, store)).shape == (len(task.test), 3)


@pytest.mark.parametrize("method", METHODS)
def test_a_prediction_does_not_depend_on_its_batch(
    method: str, clip: Model, task: vp.Task, store: FeatureStore
) -> None:
    learner = trained(method, clip, task, store, epochs=1)
    batch = whole_batch(learner, task, store)
    learner.forget()
    together = learner.predict(batch)
    # What is online depends on the images before it, so it gets them all, in order.
    every = list(range(len(batch)))
    parts = [every[:1], every[1:8], every[8:]] if learner.online else [[0], [5, 3, 1], every[7:20]]
    learner.forget()
    for rows in parts:
        assert torch.allclose(learner.predict(rows_of(batch, rows)), together[rows], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_a_stream_begins_afresh(method: str, clip: Model, task: vp.Task, store: FeatureStore) -> None:
    learner = build(method, clip, task)
    first, second = (vp.evaluate(learner, task, store=store).scores for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("method", METHODS)
def test_it_names_what_is_in_ones_own_items(method: str, clip: Model, task: vp.Task, store: FeatureStore) -> None:
    """The same answers for files as through the feature store, which knows images by content."""
    learner = trained(method, clip, task, store, epochs=1)
    items = [example.item if reads_text(method) else task.images.open(example.item) for example in task.test[:5]]
    answers = learner.classify(items, batch_size=2)
    few = replace(task, test=task.test[:5])
    scores = vp.evaluate(learner, few, store=store).scores.softmax(dim=1)
    found = torch.tensor([[answer.probabilities[name] for name in task.classes] for answer in answers])
    assert torch.allclose(found, scores, atol=1e-3)


def rows_of(batch: Batch, rows: list[int]) -> Batch:
    held: dict[str, Any] = {name: x[rows] for name, x in vars(batch).items() if isinstance(x, torch.Tensor)}
    if batch.texts is not None:
        held["texts"] = tuple(batch.texts[row] for row in rows)
    return replace(batch, **held)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_bytes(method: str, clip: Model, task: vp.Task, store: FeatureStore) -> None:
    torch.manual_seed(7)
    first = trained(method, clip, task, store, epochs=2).trainable()
    torch.manual_seed(8)
    before = torch.random.get_rng_state()
    second = trained(method, clip, task, store, epochs=2).trainable()
    assert torch.equal(before, torch.random.get_rng_state()), "the global random state was touched"
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("method", METHODS)
def test_learned_tokens_are_as_wide_as_words_and_known_by_their_start(method: str, clip: Model, task: vp.Task) -> None:
    learner = build(method, clip, task).eval()
    again = type(learner)(clip, learner.classes, learner.config, seed=learner.seed).eval()
    for name, tokens in learner.soft_tokens().items():
        assert tokens.shape[-1] == clip.word_table()[0].shape[1]
        assert torch.equal(tokens, again.soft_tokens()[name]), "what `vlprompt show` compares with"


@pytest.mark.parametrize("method", METHODS)
def test_the_configuration_survives_json_and_refuses_unknown_keys(method: str) -> None:
    for variant in learners.variants(method).values():
        kind = type(variant.config)
        assert learners.make_config(kind, json.loads(json.dumps(asdict(variant.config)))) == variant.config
        field = next(iter(asdict(variant.config)), None)
        if field:
            with pytest.raises(UsageError, match=f"did you mean '{field}'"):
                learners.make_config(kind, {field + "x": 1})


@pytest.mark.parametrize("method", METHODS)
def test_a_checkpoint_of_another_backbone_is_refused(
    method: str,
    clip: Model,
    task: vp.Task,
    store: FeatureStore,
    tmp_path: Path,
    make_backbone: Callable[..., Any],
) -> None:
    trained(method, clip, task, store, epochs=1).save(tmp_path)
    text = (tmp_path / "prompt.json").read_text()
    assert clip.fingerprint in text
    other = make_backbone(method)
    with torch.no_grad():
        next(other.model.parameters()).add_(1)
    with pytest.raises(VlpromptError, match="was trained with the backbone"):
        vp.load(tmp_path, other)


def test_features_are_asked_for_by_name() -> None:
    with pytest.raises(UsageError, match=r"vlprompt\.feed"):
        learners.base.features_of(Batch(torch.zeros(1), torch.zeros(1)))
    assert {learners.learner_class(name).reads for name in METHODS} <= set(Reads)


@pytest.mark.parametrize("method", STEPPED)
def test_a_batch_may_be_shared_between_processes(method: str, clip: Model, task: vp.Task, store: FeatureStore) -> None:
    """Its gradient is the mean of its parts' by their sizes, or the method says why not."""
    learner = trained(method, clip, task, store, epochs=1, most=0.003).eval()
    recipe = replace(learners.variant(method)[1].recipe(2, task.name), batch_size=9, augment="none")
    batch = next(iter(feed.training(learner, task, recipe, store).epoch(0)))

    def gradients(part: Batch) -> dict[str, torch.Tensor]:
        learner.zero_grad(set_to_none=True)
        learner.backward(part)
        return {name: p.grad.clone() for name, p in learner.trainable().items() if p.grad is not None}

    whole, first, second = (gradients(batch.part(torch.arange(a, b))) for a, b in ((0, 9), (0, 5), (5, 9)))
    if learner.keeps_whole_batches:
        assert whole.keys() == first.keys()
        return
    most = max(float(gradient.abs().max()) for gradient in whole.values())
    apart = max(float((whole[name] - (5 * first[name] + 4 * second[name]) / 9).abs().max()) for name in whole)
    assert apart <= 1e-4 * most


@pytest.mark.parametrize("method", [name for name in STEPPED if not reads_text(name)])
def test_a_step_and_an_answer_stay_on_their_device_and_never_wait_for_it(
    method: str, make_backbone: Callable[..., Any], task: vp.Task, store: FeatureStore
) -> None:
    """A tensor on "meta" has no numbers: to look at one, as to mix it with one of the CPU, is an error there.

    Language models are left out, since transformers looks at the attention mask in every forward.
    """
    backbone = make_backbone(method)
    for device in ("cpu", "meta"):  # what is found out once about a model is found out on the CPU
        learner = build(method, backbone, task).train()
        batches = feed.training(learner, task, vp.TrainConfig(batch_size=6, augment="none"), store)
        with torch.random.fork_rng(devices=[]):
            learner.prepare(batches, None)
            backbone.to(device)
            learner.to(device)
            batch = next(iter(batches.epoch(0)))
            optimizer = torch.optim.AdamW(learner.parameters())
            learner.backward(batch.to(device))
            optimizer.step()
        learner.eval().predict(batch.to(device))
