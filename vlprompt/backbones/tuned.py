"""Some weights of a frozen model, as copies that can be trained; the model itself is never written to."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from vlprompt.backbones.text_encoding import at_least_float32
from vlprompt.backbones.vit import Vit


class TunedWeights(nn.Module):
    """Learned stand-ins, float32, for parameters of a Vit.

    Attributes:
        copies: The learned tensors, by the model's own names with "-" for ".".
    """

    def __init__(self, backbone: Vit, chosen: Iterable[Tensor]) -> None:
        """Copy parameters.

        Args:
            backbone: The frozen model.
            chosen: The parameters of it that are to be learned.
        """
        super().__init__()
        asked = {id(each) for each in chosen}
        named = [(name, each) for name, each in backbone.model.named_parameters() if id(each) in asked]
        learned = {name.replace(".", "-"): nn.Parameter(each.detach().float().clone()) for name, each in named}
        self.copies = nn.ParameterDict(learned)

    def encode_image(self, backbone: Vit, images: Tensor) -> Tensor:
        """(B, 3, H, W) images -> (B, E) features, with the copies in the places of the model's own weights."""
        own = {name.replace("-", "."): each.to(backbone.dtype) for name, each in self.copies.items()}
        found = torch.func.functional_call(backbone.model, own, (images.to(backbone.device, backbone.dtype),))
        return at_least_float32(found)


def biases(model: nn.Module) -> list[Tensor]:
    """Every bias: of patches, attention, MLPs and norms."""
    names = ("bias", "q_bias", "k_bias", "v_bias", "in_proj_bias")
    every = (module._parameters.get(name) for module in model.modules() for name in names)
    return [each for each in every if each is not None]


def norms(model: nn.Module) -> list[Tensor]:
    """Weights and biases of the norms over features."""
    from timm.layers import RmsNorm, SimpleNorm

    kinds = (nn.LayerNorm, nn.RMSNorm, RmsNorm, SimpleNorm)
    return [each for module in model.modules() if isinstance(module, kinds) for each in module.parameters()]
