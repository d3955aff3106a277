"""A small ViT in double precision, with weights at which every part matters."""

import timm
import torch

from tests.backbones.architectures import strengthened
from vlprompt.backbones import Vit
from vlprompt.data.batch import Batch
from vlprompt.data.images import Example
from vlprompt.data.task import Task
from vlprompt.data.transforms import Preprocess

NAMES = ("cat", "owl", "train", "dog", "boat")


def small_vit(dtype: torch.dtype = torch.float64, **options: object) -> Vit:
    sizes = {"img_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 3, "num_heads": 2, **options}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = strengthened(timm.create_model("vit_base_patch16_224", **sizes))
    return Vit(model.to(dtype), Preprocess(16, (0.5,) * 3, (0.5,) * 3), name="small")


def batch_for(vit: Vit, count: int = 8) -> Batch:
    generator = torch.Generator().manual_seed(5)
    images = torch.randn(count, 3, 16, 16, generator=generator, dtype=torch.float64).to(vit.dtype)
    labels = torch.arange(count) % len(NAMES)
    return Batch(labels, torch.arange(count), images=images, features=vit.encode_image(images))


def task(classes: tuple[str, ...], *labels: int) -> Task:
    """A task with these training labels, without images."""
    return Task("stream", classes, train=tuple(Example(i, label) for i, label in enumerate(labels)))


def stirred(learner: torch.nn.Module) -> torch.nn.Module:
    """The learner in float64, with every trainable tensor moved a little."""
    generator = torch.Generator().manual_seed(7)
    for parameter in learner.parameters():
        parameter.data = parameter.data.double()
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    for buffer_name, buffer in list(learner.named_buffers()):
        if buffer.is_floating_point() and "backbone" not in buffer_name:
            buffer.data = buffer.data.double()
    return learner
