"""Trainable copies of some weights of a frozen model; the model itself is never changed."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from vlprompt.backbones.outputs import at_least_float32
from vlprompt.backbones.vit import Vit


class WeightCopies(nn.Module):
    """Trainable float32 copies of parameters of a Vit.

    Attributes:
        copies: The copies, by the model's own names with "-" for ".".
    """

    def __init__(self, backbone: Vit, chosen: Iterable[Tensor]) -> None:
        """Copy the chosen parameters of a frozen model."""
        super().__init__()
        wanted = {id(each) for each in chosen}
        named = [(name, each) for name, each in backbone.model.named_parameters() if id(each) in wanted]
        copies = {name.replace(".", "-"): nn.Parameter(each.detach().float().clone()) for name, each in named}
        self.copies = nn.ParameterDict(copies)

    def encode_image(self, backbone: Vit, images: Tensor) -> Tensor:
        """(B, 3, H, W) images -> (B, E) features, with the copies in place of the model's own weights."""
        own = {name.replace("-", "."): each.to(backbone.dtype) for name, each in self.copies.items()}
        images = images.to(backbone.device, backbone.dtype)
        return at_least_float32(torch.func.functional_call(backbone.model, own, (images,)))


def biases(model: nn.Module) -> list[Tensor]:
    """Every bias: of the patch embedding, attention, MLPs and norms."""
    names = ("bias", "q_bias", "k_bias", "v_bias", "in_proj_bias")
    every = (module._parameters.get(name) for module in model.modules() for name in names)
    return [each for each in every if each is not None]


def norms(model: nn.Module) -> list[Tensor]:
    """Weights and biases of every norm over features."""
    from timm.layers import RmsNorm, SimpleNorm

    kinds = (nn.LayerNorm, nn.RMSNorm, RmsNorm, SimpleNorm)
    return [each for module in model.modules() if isinstance(module, kinds) for each in module.parameters()]
