"""The frozen classifier that CLIP comes with: text features of class names in templates."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vlprompt.backbones.clip import Clip
from vlprompt.data.templates import DEFAULT_TEMPLATE, ensemble


def template_features(clip: Clip, classes: Sequence[str], templates: Sequence[str]) -> Tensor:
    """(C, E) normalised text features: the mean of each template's normalised features, normalised again.

    Radford et al., ICML 2021 (arXiv:2103.00020), section 3.1.4. Without templates it is "a photo of a {}.".

    Raises:
        UsageError: A template has no place for the name.
    """
    texts = ensemble(templates or (DEFAULT_TEMPLATE,))
    each = [F.normalize(clip.encode_texts([template(name) for name in classes]), dim=-1) for template in texts]
    return F.normalize(torch.stack(each).mean(dim=0), dim=-1)
