"""The linear classifier that methods without class names put on image features."""

import math

from torch import nn

from vlprompt.init import seeded

BIAS = -math.log(99)  # every class starts at 1 % (KMnP/vpt, src/models/mlp.py); softmax does not see it
# VPT's code starts weights from Kaiming's normal distribution by outputs, sqrt(2 / C). Of 10 classes on ViT-Tiny that
# makes scores of +-25 and a loss of 35 before the first step, and gradients that throw prompts far off.
STD = 0.01
KEEPS_CLASSES = "its head has one weight vector per class and reads no names"


def linear_head(features: int, classes: int, *, seed: int) -> nn.Linear:
    """A (C, E) weight from a narrow normal distribution, whatever the number of classes, and a (C,) bias."""
    with seeded(seed):
        head = nn.Linear(features, classes)
        nn.init.normal_(head.weight, std=STD)
    nn.init.constant_(head.bias, BIAS)
    return head
