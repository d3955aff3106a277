"""The frozen classifier that CLIP comes with: class names in templates, as text features."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vlprompt.backbones.clip import Clip
from vlprompt.templates import ensemble

DEFAULT_TEMPLATES = ("a photo of a {}.",)


def template_features(clip: Clip, classes: Sequence[str], templates: Sequence[str]) -> Tensor:
    """(C, E) normalised text features: the mean of each template's normalised features, normalised again.

    Radford et al., ICML 2021 (arXiv:2103.00020), section 3.1.4.

    Raises:
        UsageError: A template has no place for the name.
    """
    texts = ensemble(templates or DEFAULT_TEMPLATES)
    each = [F.normalize(clip.encode_texts([template(name) for name in classes]), dim=-1) for template in texts]
    return F.normalize(torch.stack(each).mean(dim=0), dim=-1)
