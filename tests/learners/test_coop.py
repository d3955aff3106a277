"""CoOp: the start of its context, and its class names."""

import pytest
import torch

import vlprompt as vp
from vlprompt.errors import UsageError, VlpromptWarning
from vlprompt.learners import CoOp, CoOpConfig, coop


@pytest.fixture(scope="module")
def clip() -> vp.Clip:
    return vp.load_clip("tiny")


NAMES = ["circle", "seven", "letter a"]


def test_words_give_the_hand_written_prompt(clip: vp.Clip) -> None:
    learner = CoOp(clip, NAMES, CoOpConfig(words="a photo of a"))
    assert learner.context.shape == (4, clip.text_width)
    wanted = clip.encode_texts([f"a photo of a {name}." for name in NAMES])
    assert torch.allclose(learner.text()[0], wanted, atol=1e-4)


def test_a_class_specific_context_can_start_from_words(clip: vp.Clip) -> None:
    learner = CoOp(clip, NAMES, CoOpConfig(words="a photo of a", class_specific=True))
    assert learner.context.shape == (3, 4, clip.text_width)
    shared = CoOp(clip, NAMES, CoOpConfig(words="a photo of a"))
    assert torch.allclose(learner.text(), shared.text(), atol=1e-4)
    with torch.no_grad():
        learner.context[1] += torch.linspace(-1, 1, clip.text_width)  # a constant would be lost in the LayerNorm
    moved = (learner.text() - shared.text()).norm(dim=-1)[0]
    assert moved[1] > 1e-2
    assert max(moved[0], moved[2]) < 1e-3, "the context of one class must not touch another"


@pytest.mark.parametrize(("position", "sentence"), [("middle", "a photo {} of a."), ("front", "{} a photo of a.")])
def test_the_name_can_be_in_the_middle_or_in_front(clip: vp.Clip, position: str, sentence: str) -> None:
    learner = CoOp(clip, NAMES, CoOpConfig(words="a photo of a", position=position))
    wanted = clip.encode_texts([sentence.format(name) for name in NAMES])
    assert torch.allclose(learner.text()[0], wanted, atol=1e-4)


def test_words_of_several_tokens_are_counted_as_tokens(clip: vp.Clip) -> None:
    word = "unbelievabilities"
    with pytest.warns(VlpromptWarning, match="not trained on"):
        learner = CoOp(vp.load_clip("tiny"), NAMES, CoOpConfig(words=word))
    assert len(learner.context) == len(clip.tokenizer.pieces(word)) > 1


def test_the_noise_depends_on_the_seed(clip: vp.Clip) -> None:
    a, b, c = (CoOp(clip, NAMES, seed=seed).context for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert abs(float(a.detach().std()) - 0.02) < 0.003


def test_the_recipes_are_the_published_ones() -> None:
    assert [coop.recipe(shots).epochs for shots in (1, 2, 4, 8, 16)] == [50, 100, 100, 200, 200]
    assert coop.recipe(16, "imagenet").epochs == 50
    ours = coop.recipe(16)
    assert (ours.batch_size, ours.lr, ours.optimizer, ours.momentum, ours.weight_decay) == (32, 0.002, "sgd", 0.9, 5e-4)
    assert (ours.warmup, ours.warmup_epochs, ours.warmup_lr, ours.schedule) == ("constant", 1, 1e-5, "cosine")
    assert coop.VARIANTS["cocoop-paper"].config == CoOpConfig(n_ctx=4, words="a photo of a")


def test_the_classes_of_a_class_specific_context_are_fixed(clip: vp.Clip) -> None:
    learner = CoOp(clip, NAMES, CoOpConfig(n_ctx=2, class_specific=True))
    with pytest.raises(UsageError, match="class-specific"):
        learner.set_classes(["star"])


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ([], "one or more"),
        (["cat", " "], "class 1 has an empty name"),
        ("cat", "list of names"),
    ],
)
def test_class_names_are_checked(clip: vp.Clip, names: list[str], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        CoOp(clip, names)


def test_a_repeated_name_is_warned_about(clip: vp.Clip) -> None:
    with pytest.warns(VlpromptWarning, match="more than once: seven"):
        CoOp(clip, ["seven", "circle", "seven"], CoOpConfig(n_ctx=2))


def test_a_name_longer_than_the_text_tower_is_refused(clip: vp.Clip) -> None:
    with pytest.raises(UsageError, match="the text tower accepts 77"):
        CoOp(clip, ["a " * 70])
    with pytest.raises(UsageError, match="n_ctx is -1"):
        CoOpConfig(n_ctx=-1)


def test_text_is_encoded_once_for_a_test_set(clip: vp.Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    task = vp.load_task("digits")
    learner = CoOp(clip, task.classes)
    calls: list[int] = []
    encode = type(clip).encode_text
    monkeypatch.setattr(type(clip), "encode_text", lambda self, prompt: calls.append(1) or encode(self, prompt))
    vp.evaluate(learner, task)
    assert len(task.test) > 200, "more than one batch"
    assert len(calls) == 1
    with torch.no_grad():
        learner.context.add_(0.01)
    vp.evaluate(learner, task)
    assert len(calls) == 2, "a changed prompt must be encoded again"


def test_damaged_and_foreign_prompts_are_refused(clip: vp.Clip) -> None:
    learner = CoOp(clip, NAMES, CoOpConfig(n_ctx=2))
    with pytest.raises(vp.VlpromptError, match="shape"):
        learner.restore({"context": torch.zeros(3, clip.text_width)}, "prompt")
    with pytest.raises(vp.VlpromptError, match="needs"):
        learner.restore({"weight": torch.zeros(3)}, "prompt")
