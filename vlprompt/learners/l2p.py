"""L2P: a pool of prompts with keys; an image gets those with the nearest keys. Wang et al., CVPR 2022 (2112.08654).

    q = frozen features of the image;  s_m = cos(q, K_m);  ids = the N largest s
    x = [CLS; P_ids; patches] before the first layer;  scores = W mean(outputs at P_ids) + b
    loss = cross-entropy over the task's classes - pull * mean_b sum_{m in ids} s_bm

Code: google-research/l2p (the authors', JAX) and JH-LEE-KR/l2p-pytorch. The paper's penalty on often chosen prompts is
in neither; both have `prompt_mask` instead, by which task t trains prompts t N to (t+1) N - 1.

Departures. In both codes a whole batch votes for its prompts, in tests too, so an answer depends on the other images of
its batch; here each image selects its own prompts unless `vote` is "batch". The port adds the class token's position to
every prompt, which only shifts their initial values. The authors clip the norm of the gradient of all weights, frozen
ones included; here, as in the port, that of the trained ones. Images are normalised as the model was trained (theirs
are not). Classes that no task has brought yet have no score.

On a CLIP (here, in `dual_prompt` and in `coda_prompt`) prompts enter the image tower; q and the head's input are in the
joint space with text, behind the tower's projection, and class names play no part.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.backbones import Clip, Vit
from vlprompt.backbones.prompt_types import VisualPrompt
from vlprompt.config import Count, NonNegative, Settings
from vlprompt.data.batch import Batch, features_of
from vlprompt.errors import UsageError
from vlprompt.prompts.head import zero_head
from vlprompt.prompts.pool import Interval, PromptPool, by_adam, cosine, rows
from vlprompt.randomness import seeded
from vlprompt.training.config import Variant

Vote = Literal["image", "batch"]


@dataclass(frozen=True)
class L2PConfig(Settings):
    """The pool; values from google-research/l2p, configs/cifar100_l2p.py, unless another source is named."""

    pool: Count = 10  # M
    length: Count = 10  # tokens of a prompt
    top: Count = 4  # N, prompts of an image
    pull: NonNegative = 1.0  # lambda, how strongly selected keys are pulled towards the queries
    vote: Vote = "image"  # who selects: each image its own, or the batch by majority ("batch", as in both codes)
    prompt_mask: bool = False  # during training a task has N prompts of its own, while the pool has unused ones
    share: bool = False  # and they start as those of the task before (shared_prompt_pool)
    start: Interval = (0.0, 0.01)  # initial range of keys and prompts (flax's uniform; the port: -1, 1)
    class_mask: bool = True  # during training the softmax covers the task's own classes only (train_mask)

    def __post_init__(self) -> None:
        """Raise UsageError for values that cannot work."""
        super().__post_init__()
        if self.top > self.pool:
            raise UsageError(f"L2PConfig.top is {self.top}; it must be from 1 to pool {self.pool}.")


@final
class L2P(PromptPool[L2PConfig]):
    """Prompts, their keys, and a linear head on the prompts' outputs.

    Attributes:
        pool: (M, L, D) prompts.
        keys: (M, E).
        stage: The number of the current task, from 0.
    """

    Config = L2PConfig
    keys: nn.Parameter

    def __init__(
        self, backbone: Vit | Clip, classes: Sequence[str], config: L2PConfig | None = None, *, seed: int = 0
    ) -> None:
        super().__init__(backbone, classes, config, seed=seed)
        config = self.config
        with seeded(seed):
            pool = torch.empty(config.pool, config.length, backbone.vision_width).uniform_(*config.start)
            keys = torch.empty(config.pool, backbone.embed_dim).uniform_(*config.start)
        self.pool, self.keys = nn.Parameter(pool), nn.Parameter(keys)
        self.head = zero_head(backbone.embed_dim, len(self.classes), masked=config.class_mask)
        self.stage = 0
        self.to(backbone.device)

    def next_prompts(self) -> None:
        """Go on to the prompts of the next task; with `share` they start as those before."""
        self.stage += 1
        if self.config.share and (own := self._own(self.stage)):
            before = slice(own.start - self.config.top, own.start)
            with torch.no_grad():
                self.pool[own.start : own.stop] = self.pool[before].clone()

    def _own(self, stage: int) -> range:
        """The prompts of a task alone; none where the pool is used up."""
        first, end = stage * self.config.top, (stage + 1) * self.config.top
        return range(first, end) if end <= self.config.pool else range(0)

    def choose(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """(B, E) queries -> the ids (B, N) of their prompts, and the similarities (B, M) to all keys."""
        similarity = cosine(queries, self.keys)
        ids = nearest(similarity, self.config.top, self.config.vote)
        if self.training and self.config.prompt_mask and (own := self._own(self.stage)):
            ids = torch.tensor(list(own), device=ids.device).expand_as(ids)
        return ids, similarity

    def prompt(self, selection: Tensor) -> VisualPrompt:
        """The prompts of a batch, by their ids (B, N), in a row; features are the mean of their outputs."""
        return VisualPrompt({0: rows(self.pool, selection).flatten(1, 2)}, "propagate", "blocks", "only")

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        return self.scores(batch, self.choose(features_of(batch))[0])

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy minus the pull of the selected keys."""
        ids, similarity = self.choose(features_of(batch))
        pulled = similarity.gather(1, ids).sum() / len(batch)
        return F.cross_entropy(self.scores(batch, ids), batch.labels) - self.config.pull * pulled

    def usage(self, queries: Tensor) -> Tensor:
        """(B, E) -> (B, M), 1 / N for every prompt of an image."""
        ids, similarity = self.choose(queries)
        return torch.zeros_like(similarity).scatter_(1, ids, 1 / self.config.top)


def nearest(similarity: Tensor, top: int, vote: Vote = "image") -> Tensor:
    """(B, M) -> (B, N) ids of the most similar keys, the first first; with "batch", those that most images selected."""
    ids = similarity.topk(top, dim=1).indices
    if vote == "image":
        return ids
    votes = ids.flatten().bincount(minlength=similarity.shape[1])
    return votes.argsort(descending=True, stable=True)[:top].expand_as(ids)


RECIPE = by_adam(lr=0.03, batch_size=128)  # configs/cifar100_l2p.py: 8 devices of 16
PORT_RECIPE = by_adam(lr=0.03, batch_size=16)  # JH-LEE-KR/l2p-pytorch, configs/cifar100_l2p.py
FIVE = L2PConfig(pool=20, pull=0.5, prompt_mask=True, share=True)
PORT = L2PConfig(length=5, top=5, pull=0.1, start=(-1.0, 1.0))
PAPER = "Wang et al. 2022 (arXiv:2112.08654)"
VARIANTS = {
    "l2p-cifar100": Variant(L2PConfig(), RECIPE, f"{PAPER}, its code for Split CIFAR-100, prompts selected per image"),
    "l2p-five": Variant(FIVE, RECIPE, f"{PAPER}, its code for 5-datasets, prompts selected per image"),
    "l2p-batch-vote": Variant(L2PConfig(vote="batch"), RECIPE, f"{PAPER}, its code for Split CIFAR-100, unchanged"),
    "l2p-port": Variant(PORT, PORT_RECIPE, "JH-LEE-KR/l2p-pytorch for Split CIFAR-100, prompts selected per image"),
}
