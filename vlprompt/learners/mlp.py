"""MLP-k: a head of k layers on frozen features. The baseline of Jia et al., ECCV 2022, Table 1.

    k - 1 times Linear -> ReLU -> BatchNorm -> Dropout(0.1), then Linear      (KMnP/vpt, src/models/mlp.py)

The paper's MLP-k has k layers, the last one included; the code counts the hidden ones (MLP_NUM = k - 1).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor, nn

from vlprompt.backbones import Clip, Vit
from vlprompt.data.batch import Batch
from vlprompt.errors import UsageError
from vlprompt.init import seeded
from vlprompt.learners.base import Reads, Variant, features_of
from vlprompt.learners.headed import Headed, by_sgd
from vlprompt.recipe import TrainConfig


@dataclass(frozen=True)
class MLPConfig:
    """How deep the head is."""

    k: int = 3  # linear layers (the paper's MLP-3)
    dropout: float = 0.1  # after each hidden layer (src/configs/config.py)

    def __post_init__(self) -> None:
        """Raise UsageError for numbers that cannot work."""
        if self.k < 1 or not 0 <= self.dropout < 1:
            raise UsageError(f"mlp: k {self.k} must be 1 or more, dropout {self.dropout} from 0 to below 1.")


@final
class MLP(Headed[Vit | Clip]):
    """Hidden layers as wide as the features, and a linear one."""

    keeps_whole_batches = "its batch norms look at a whole batch"
    reads = Reads.FEATURES
    takes = (Vit, Clip)

    def __init__(
        self, backbone: Vit | Clip, classes: Sequence[str], config: MLPConfig = MLPConfig(), *, seed: int = 0
    ) -> None:
        super().__init__(backbone, classes, config, seed=seed)
        width = backbone.embed_dim
        with seeded(seed):
            hidden = [hidden_layer(width, config.dropout) for _ in range(config.k - 1)]
        self.hidden = nn.Sequential(*hidden)
        self.to(backbone.device)

    def features(self, batch: Batch) -> Tensor:
        """(B, E), behind the hidden layers.

        Raises:
            UsageError: Batch normalisation is to learn from one image.
        """
        if self.training and self.config.k > 1 and len(batch) < 2:
            raise UsageError("mlp: its batch normalisation needs steps of 2 images or more; raise batch_size or shots.")
        return self.hidden(features_of(batch))  # type: ignore[no-any-return]

    def memory(self) -> dict[str, Tensor]:
        """The running means and variances of batch norm."""
        return self.found()

    def found(self) -> dict[str, Tensor]:
        """The running means and variances of batch norm."""
        return {name: buffer for name, buffer in self.hidden.named_buffers() if buffer.is_floating_point()}


def hidden_layer(width: int, dropout: float) -> nn.Sequential:
    """A hidden layer as the code starts it; batch norm's momentum is the default, so that no count is kept."""
    linear = nn.Linear(width, width)
    nn.init.kaiming_normal_(linear.weight, a=0, mode="fan_out")
    return nn.Sequential(linear, nn.ReLU(), nn.BatchNorm1d(width), nn.Dropout(dropout))


def recipe(shots: int = 16, dataset: str = "") -> TrainConfig:  # noqa: ARG001
    """SGD (demo.ipynb: MLP-3 is trained by configs/linear/*.yaml)."""
    return by_sgd(lr=0.5)


VARIANTS = {"mlp-3": Variant(MLPConfig(), recipe, "Jia et al. 2022 (arXiv:2203.12119), MLP-3")}
