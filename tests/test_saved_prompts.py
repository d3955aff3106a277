"""Prompts that version 0.1.0 saved, before the package was restructured, still open and predict the same.

`saved_prompts/` has one for each method whose prompt is small, and the scores that the version computed.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file

import vlprompt as vp
from vlprompt import methods
from vlprompt.data.features import FeatureStore
from vlprompt.data.transforms import Preprocess
from vlprompt.testing.samples import opinions

FOLDER = Path(__file__).parent / "saved_prompts"
METHODS = sorted(folder.name for folder in FOLDER.iterdir() if folder.is_dir())

pytestmark = pytest.mark.filterwarnings("ignore::vlprompt.errors.VlpromptWarning")  # words the tiny model never saw


def formula_vit() -> vp.Vit:
    """A small ViT whose weights follow from a formula, so that they are the same with every version of torch."""
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 3}
    with torch.random.fork_rng(devices=[]):
        model = timm.create_model("vit_base_patch16_224", **sizes)
    with torch.no_grad():
        for number, (name, parameter) in enumerate(sorted(model.named_parameters())):
            places = torch.arange(parameter.numel(), dtype=torch.float64)
            wave = torch.sin(places * (1.7 + 0.13 * number) + number)
            spread = math.sqrt(parameter.shape[-1] if parameter.ndim > 1 else 16)
            shift = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            parameter.copy_((wave / spread).reshape(parameter.shape).float() + shift)
    return vp.Vit(model, Preprocess(32, (0.5,) * 3, (0.5,) * 3), name="formula", precision="fp32")


@pytest.fixture(scope="module")
def backbone() -> Callable[[str], Any]:
    """The model a method's prompt was trained with, created once."""
    models: dict[str, Any] = {}
    create = {"clip": lambda: vp.load_clip("tiny"), "lm": lambda: vp.load_lm("tiny"), "vit": formula_vit}

    def find(method: str) -> Any:
        kinds = methods.learner_class(method).backbones
        name = "clip" if vp.Clip in kinds else "lm" if vp.LanguageModel in kinds else "vit"
        return models.get(name) or models.setdefault(name, create[name]())

    return find


@pytest.fixture(scope="module")
def digits() -> vp.Task:
    """The task of the image methods: 21 test images."""
    task = vp.load_task("digits").few_shot(2, seed=1)
    test = task.test[::45]
    unlabelled = tuple(replace(example, label=-1, domain=1) for example in test)
    return replace(task, test=test, unlabelled=unlabelled, domains=("source", "target"))


@pytest.mark.parametrize("method", METHODS)
def test_it_opens_and_predicts_the_same(
    method: str, backbone: Callable[[str], Any], digits: vp.Task, tmp_path: Path
) -> None:
    task = opinions() if methods.learner_class(method).needs.input.of_texts else digits
    learner = vp.load(FOLDER / method, backbone(method))
    scores = vp.evaluate(learner, task, store=FeatureStore(tmp_path)).scores
    wanted = load_file(FOLDER / "scores.safetensors")[method]
    torch.testing.assert_close(scores, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))
