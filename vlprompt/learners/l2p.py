"""L2P: a pool of prompts with keys; an image gets those whose keys are nearest. Wang et al., CVPR 2022 (2112.08654).

    q = frozen features of the image;  s_m = cos(q, K_m);  ids = the N largest s
    x = [CLS; P_ids; patches] before the first layer;  scores = W mean(what becomes of P_ids) + b
    loss = cross-entropy over the task's classes - pull * mean_b sum_{m in ids} s_bm

Code: google-research/l2p (the authors', JAX) and JH-LEE-KR/l2p-pytorch. The paper's penalty on often chosen prompts is
in neither; `prompt_mask`, by which task t trains prompts t N to (t+1) N - 1, is what they have in its place.

Departures. Both let a whole batch vote for its prompts, in tests too, so that an answer depends on its neighbours;
here each image chooses for itself unless `vote` is "batch". The port adds the class token's position to every prompt;
that only shifts where they start. The authors clip the gradient's norm with that of the frozen weights in it; here, as
in the port, it is the norm of what is learned. Images are normalised as the model was trained, theirs are not. Classes
that no task has brought yet have no score.

On a CLIP (here, in `dual_prompt` and in `coda_prompt`) prompts enter the image tower, and q and what the head reads lie
in the joint space with text, behind the tower's projection; words play no part.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt.backbones import Clip, Vit
from vlprompt.backbones.prompts import VisualPrompt
from vlprompt.data.batch import Batch
from vlprompt.data.task import Task
from vlprompt.errors import UsageError, unknown
from vlprompt.head import KEEPS_CLASSES, zero_head
from vlprompt.init import seeded
from vlprompt.learners.base import PromptLearner, Reads, Variant, features_of, images_of
from vlprompt.pool import cosine
from vlprompt.recipe import TrainConfig

Vote = Literal["image", "batch"]


@dataclass(frozen=True)
class L2PConfig:
    """The pool; google-research/l2p, configs/cifar100_l2p.py where nothing else is said."""

    pool: int = 10  # M
    length: int = 10  # tokens of a prompt
    top: int = 4  # N, prompts of an image
    pull: float = 1.0  # lambda, how strongly chosen keys are drawn to the queries
    vote: Vote = "image"  # who chooses: each image for itself, or the batch by majority ("batch" is both codes')
    prompt_mask: bool = False  # while it is learned, a task has N prompts of its own, as long as there are some left
    share: bool = False  # and they start as those of the task before (shared_prompt_pool)
    start: tuple[float, ...] = (0.0, 0.01)  # range of keys and prompts at the start (flax's uniform; the port: -1, 1)
    class_mask: bool = True  # while a task is learned, its own classes are compared only (train_mask)

    def __post_init__(self) -> None:
        """Raise UsageError for numbers that cannot work."""
        object.__setattr__(self, "start", tuple(self.start))
        if self.vote not in get_args(Vote):
            raise unknown("vote", str(self.vote), get_args(Vote))
        if self.length < 1 or not 1 <= self.top <= self.pool or not self.pull >= 0:
            raise UsageError(
                f"l2p: length {self.length} must be 1 or more, top {self.top} from 1 to pool {self.pool}, pull "
                f"{self.pull} 0 or more."
            )
        if len(self.start) != 2 or not self.start[0] < self.start[1]:
            raise UsageError(f"l2p: start {self.start} must be two numbers, the smaller first.")


@final
class L2P(PromptLearner[Vit | Clip]):
    """Prompts, their keys, and a linear head on what becomes of the prompts.

    Attributes:
        pool: (M, L, D) prompts.
        keys: (M, E).
        stage: The number of the present task, from 0.
    """

    reads = Reads.IMAGES
    features_too = True
    takes = (Vit, Clip)

    def __init__(
        self, backbone: Vit | Clip, classes: Sequence[str], config: L2PConfig = L2PConfig(), *, seed: int = 0
    ) -> None:
        super().__init__(backbone, classes, config, seed=seed)
        with seeded(seed):
            self.pool = nn.Parameter(
                torch.empty(config.pool, config.length, backbone.vision_width).uniform_(*config.start)
            )
            self.keys = nn.Parameter(torch.empty(config.pool, backbone.embed_dim).uniform_(*config.start))
        self.head = zero_head(backbone.embed_dim, len(self.classes), masked=config.class_mask)
        self.stage = 0
        self.to(backbone.device)

    @property
    def keeps_classes(self) -> str:
        """There is a weight vector for each class it saw."""
        return KEEPS_CLASSES

    def begin_task(self, task: Task) -> None:
        """Go on to a task: its classes join the head, and where prompts are shared it takes over those before."""
        super().begin_task(task)
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
        """(B, E) queries -> ids (B, N) of their prompts, and the similarity (B, M) to all keys."""
        similarity = cosine(queries, self.keys)
        ids = nearest(similarity, self.config.top, self.config.vote)
        if self.training and self.config.prompt_mask and (own := self._own(self.stage)):
            ids = torch.tensor(list(own), device=ids.device).expand_as(ids)
        return ids, similarity

    def prompt(self, ids: Tensor) -> VisualPrompt:
        """The prompts (B, N) of a batch, one behind the other; features are the mean of what becomes of them."""
        return VisualPrompt({0: self.pool[ids].flatten(1, 2)}, "propagate", "blocks", "only")

    def scores(self, batch: Batch, ids: Tensor) -> Tensor:
        """Class scores (B, C) with prompts (B, N)."""
        return self.head(self.backbone.encode_image(images_of(batch), self.prompt(ids)))  # type: ignore[no-any-return]

    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""
        return self.scores(batch, self.choose(features_of(batch))[0])

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy, less what draws chosen keys to the queries."""
        ids, similarity = self.choose(features_of(batch))
        drawn = similarity.gather(1, ids).sum() / len(batch)
        loss: Tensor = F.cross_entropy(self.scores(batch, ids), batch.labels) - self.config.pull * drawn
        return loss

    def usage(self, queries: Tensor) -> Tensor:
        """(B, E) -> (B, M), 1 / N for every prompt of an image."""
        ids, similarity = self.choose(queries)
        return torch.zeros_like(similarity).scatter_(1, ids, 1 / self.config.top)


def nearest(similarity: Tensor, top: int, vote: Vote = "image") -> Tensor:
    """(B, M) -> (B, N) ids of the most similar keys, the first first; with "batch", those that most images chose."""
    ids = similarity.topk(top, dim=1).indices
    if vote == "image":
        return ids
    votes = ids.flatten().bincount(minlength=similarity.shape[1])
    return votes.argsort(descending=True, stable=True)[:top].expand_as(ids)


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """Adam at 0.03 * batch / 256, 5 epochs a task, norm clipped at 1 (configs/cifar100_l2p.py: 8 devices of 16)."""
    return _recipe(128)


def recipe_of_the_port(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """The same with batches of 16 (JH-LEE-KR/l2p-pytorch, configs/cifar100_l2p.py)."""
    return _recipe(16)


def _recipe(batch: int) -> TrainConfig:
    return TrainConfig(
        epochs=5,
        batch_size=batch,
        lr=0.03 * batch / 256,
        optimizer="adam",
        weight_decay=0.0,
        schedule="constant",
        warmup="none",
        clip_norm=1.0,
    )


FIVE = L2PConfig(pool=20, pull=0.5, prompt_mask=True, share=True)
PORT = L2PConfig(length=5, top=5, pull=0.1, start=(-1.0, 1.0))
PAPER = "Wang et al. 2022 (arXiv:2112.08654)"
VARIANTS = {
    "l2p-cifar100": Variant(L2PConfig(), recipe, f"{PAPER}, its code for Split CIFAR-100, each image for itself"),
    "l2p-five": Variant(FIVE, recipe, f"{PAPER}, its code for 5-datasets, each image for itself"),
    "l2p-batch-vote": Variant(L2PConfig(vote="batch"), recipe, f"{PAPER}, its code for Split CIFAR-100 as it is"),
    "l2p-port": Variant(PORT, recipe_of_the_port, "JH-LEE-KR/l2p-pytorch for Split CIFAR-100, each image for itself"),
}
