"""A small random CLIP in double precision: large enough for every part to matter, exact enough to compare equations."""

import math
from collections.abc import Callable

import open_clip
import pytest
import torch
from torch import nn

from vlprompt.backbones.clip import Clip
from vlprompt.backbones.tokens import Tokenizer
from vlprompt.data.batch import Batch
from vlprompt.data.transforms import Preprocess

NAMES = ("cat", "grey owl", "steam_train", "old dog", "boat")


def random_clip(
    *, vision: dict[str, object] | None = None, chunk_tokens: int = 2048, dtype: torch.dtype = torch.float64
) -> Clip:
    vision = vision or {"image_size": 16, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8}
    text = {"context_length": 24, "vocab_size": 49408, "width": 24, "heads": 2, "layers": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = open_clip.CLIP(32, vision, text).double()
        for name, parameter in model.named_parameters():
            if "logit" not in name:
                noise = torch.randn_like(parameter)
                wide = parameter.ndim > 1 and "embedding" not in name
                parameter.data = noise * 1.5 / math.sqrt(parameter[0].numel()) if wide else noise * 0.5
            if name.endswith("weight") and parameter.ndim == 1:
                parameter.data += 1
    tokenizer = Tokenizer(open_clip.SimpleTokenizer(context_length=24), 24)
    preprocess = Preprocess(16, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    return Clip(model.to(dtype), tokenizer, preprocess, name="random", chunk_tokens=chunk_tokens)


@pytest.fixture(scope="session")
def small() -> Clip:
    """The model that all learners share."""
    return random_clip()


@pytest.fixture(scope="session")
def single() -> Clip:
    """The same weights in single precision, as models come."""
    return random_clip(dtype=torch.float32)


@pytest.fixture(scope="session")
def make_small() -> Callable[..., Clip]:
    """Build another one with the same weights."""
    return random_clip


@pytest.fixture(scope="session")
def names() -> tuple[str, ...]:
    return NAMES


@pytest.fixture
def batch(small: Clip) -> Batch:
    """Twelve examples of five classes, images and features in float64."""
    generator = torch.Generator().manual_seed(5)
    images = torch.randn(12, 3, 16, 16, generator=generator, dtype=torch.float64)
    labels = torch.arange(12) % len(NAMES)
    return Batch(labels, torch.arange(12), images=images, features=small.encode_image(images))


@pytest.fixture
def stir() -> Callable[[nn.Module], None]:
    """Move every learned tensor a little, so that nothing rests on a start of zeros, and make it float64."""

    def stir_it(learner: nn.Module) -> None:
        generator = torch.Generator().manual_seed(7)
        for parameter in filter(lambda each: each.requires_grad, learner.parameters()):
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.data = parameter.data.double()
            with torch.no_grad():
                parameter.add_(0.1 * noise)  # in place, as an optimiser does

    return stir_it
