"""The linear classifier that methods without class names put on image features."""

import math

from torch import nn

from vlprompt.init import seeded

BIAS = -math.log(99)  # every class starts at 1 % (KMnP/vpt, src/models/mlp.py); softmax does not see it
KEEPS_CLASSES = "its head has one weight vector per class and reads no names"


def linear_head(features: int, classes: int, *, seed: int) -> nn.Linear:
    """A (C, E) weight from Kaiming's normal distribution by outputs, and a (C,) bias, as VPT's code starts them."""
    with seeded(seed):
        head = nn.Linear(features, classes)
        nn.init.kaiming_normal_(head.weight, a=0, mode="fan_out")
    nn.init.constant_(head.bias, BIAS)
    return head
