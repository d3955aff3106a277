"""Vit: a frozen vision transformer of timm that accepts prompts."""

from typing import Any

from torch import Tensor, nn

from vlprompt.backbones.frozen import ImageBackbone
from vlprompt.data.transforms import Preprocess


class Vit(ImageBackbone):
    """A frozen image model of timm. Features are the input of its classifier, not normalised.

    Attributes:
        preprocess: The image size and normalisation it was trained with.
        embed_dim: E, the width of its features.
    """

    kind_name, example = "a ViT", "'timm:vit_base_patch16_224'"

    def __init__(self, model: Any, preprocess: Preprocess, *, name: str = "custom", precision: str = "fp32") -> None:
        """Freeze a model and remove its classifier.

        Args:
            model: A model of timm. Each one gives features; whether it accepts prompts is checked at the first prompt.
            preprocess: Image size, mean, deviation and interpolation.
            name: Its name in results.
            precision: "fp32" or "bf16".
        """
        model.reset_classifier(0)
        super().__init__(model, name, precision)
        self.preprocess = preprocess
        self.embed_dim = int(getattr(model, "head_hidden_size", model.num_features))

    @property
    def visual(self) -> nn.Module:
        """The whole model."""
        return self.model  # type: ignore[no-any-return]

    def _library_features(self, images: Tensor) -> Tensor:
        return self.model(images)  # type: ignore[no-any-return]
