"""A method of your own: class means of image features, moved towards the features of the class names."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

import vlprompt as vp
from vlprompt.data.batch import features_of


@dataclass(frozen=True)
class NearestMeanConfig:
    """Settings; change one with --set NearestMean.shrink=0.1."""
    shrink: float = 0.3  # weight of the text feature in each mean


class NearestMean(vp.PromptLearner[vp.Clip, NearestMeanConfig]):
    """Cosine similarity to class means; `prepare` computes them, so there is nothing to train by steps."""

    Config = NearestMeanConfig
    needs = vp.Needs(ordered=True)
    why_classes_fixed = "a mean belongs to its class"

    def __init__(self, clip, classes, config=None, *, seed=0):
        super().__init__(clip, classes, config, seed=seed)
        texts = clip.encode_texts([f"a photo of a {name}." for name in self.classes])
        self.register_buffer("means", F.normalize(texts, dim=-1).detach())  # a buffer is saved with the prompt

    @torch.no_grad()
    def prepare(self, train, val):
        images = torch.zeros_like(self.means)
        for batch in train.epoch(0):
            images.index_add_(0, batch.labels, F.normalize(features_of(batch), dim=-1))
        self.means.copy_(self.config.shrink * self.means + (1 - self.config.shrink) * F.normalize(images, dim=-1))

    def forward(self, batch):
        return self.backbone.scores(features_of(batch), self.means)
