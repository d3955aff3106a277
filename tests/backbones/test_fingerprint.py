"""The fingerprint changes with what the model computes and with nothing else."""

from collections.abc import Callable
from typing import Any

import open_clip
import torch
from torch import nn

from vlprompt.backbones.fingerprint import fingerprint

VISION = {"image_size": 16, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8}
TEXT = {"context_length": 8, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1}


def model(**options: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return open_clip.CLIP(8, VISION, TEXT, **options)


def test_it_is_sixteen_hexadecimal_digits_and_repeats() -> None:
    assert fingerprint(model()) == fingerprint(model())
    assert len(fingerprint(model())) == 16
    assert int(fingerprint(model()), 16) >= 0


def test_one_bit_of_one_weight_changes_it() -> None:
    other = model()
    row = other.visual.conv1.weight.data.view(-1)
    row[5] = torch.nextafter(row[5], torch.tensor(9.0))
    assert fingerprint(other) != fingerprint(model())


def test_the_activation_changes_it_though_the_weights_are_equal() -> None:
    assert torch.equal(model(quick_gelu=True).text_projection, model().text_projection)
    assert fingerprint(model(quick_gelu=True)) != fingerprint(model())


def test_the_same_values_under_another_name_or_shape_change_it() -> None:
    def holder(**tensors: torch.Tensor) -> nn.Module:
        module = nn.Module()
        for name, tensor in tensors.items():
            module.register_buffer(name, tensor)
        return module

    a, b = torch.arange(4.0), torch.ones(4)
    prints = [
        fingerprint(holder(a=a, b=b)),
        fingerprint(holder(a=b, b=a)),
        fingerprint(holder(a=a, c=b)),
        fingerprint(holder(a=a.view(2, 2), b=b)),
    ]
    assert len(set(prints)) == 4
    assert fingerprint(holder(b=b, a=a)) == prints[0]  # the order of registration does not matter
    assert fingerprint(holder(a=torch.tensor(3), b=torch.zeros(0), c=torch.tensor([True]))) not in prints


def test_precision_does_not_change_it(build: Callable[[str], Any]) -> None:
    full, half = build("clip").clip(), build("clip").clip("bf16")
    assert full.fingerprint == half.fingerprint == fingerprint(build("clip").model)
    assert fingerprint(half.model) != half.fingerprint  # the rounded weights would give another


def test_it_is_the_same_in_every_process_and_on_every_machine() -> None:
    """Stored features and checkpoints are identified by it; a change would invalidate them."""
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    for number, tensor in enumerate(module.state_dict().values()):
        tensor.copy_(torch.arange(tensor.numel()).reshape(tensor.shape) + number)
    assert fingerprint(module) == "9c250eef5c196b62"
