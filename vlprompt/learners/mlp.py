"""MLP-k: a head of k layers on frozen features. The baseline of Jia et al., ECCV 2022, Table 1.

    k - 1 times Linear -> ReLU -> BatchNorm -> Dropout(0.1), then Linear      (KMnP/vpt, src/models/mlp.py)

The paper's MLP-k has k layers, including the last; the code counts the hidden ones (MLP_NUM = k - 1).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from torch import Tensor, nn

from vlprompt.backbones import Clip, Vit
from vlprompt.config import Count, Dropout, Settings
from vlprompt.data.batch import Batch, features_of
from vlprompt.data.needs import Needs
from vlprompt.errors import UsageError
from vlprompt.prompts.headed import Headed, by_sgd, projection
from vlprompt.randomness import seeded
from vlprompt.training.config import Variant


@dataclass(frozen=True)
class MLPConfig(Settings):
    """The depth of the head and its dropout."""

    k: Count = 3  # linear layers (the paper's MLP-3)
    dropout: Dropout = 0.1  # after each hidden layer (src/configs/config.py)


@final
class MLP(Headed[Vit | Clip, MLPConfig]):
    """Hidden layers as wide as the features, and a linear layer."""

    Config = MLPConfig
    needs = Needs(why_not_distributed="its batch norms look at a whole batch")
    backbones = (Vit, Clip)

    def __init__(
        self, backbone: Vit | Clip, classes: Sequence[str], config: MLPConfig | None = None, *, seed: int = 0
    ) -> None:
        super().__init__(backbone, classes, config, seed=seed)
        with seeded(seed):
            layers = [hidden_layer(backbone.embed_dim, self.config.dropout) for _ in range(self.config.k - 1)]
        self.hidden = nn.Sequential(*layers)
        self.to(backbone.device)

    def features(self, batch: Batch) -> Tensor:
        """The last hidden layer's output (B, E); UsageError for a training batch of one image."""
        if self.training and self.config.k > 1 and len(batch) < 2:
            raise UsageError("mlp: its batch normalisation needs steps of 2 images or more; raise batch_size or shots.")
        return self.hidden(features_of(batch))  # type: ignore[no-any-return]

    def training_state(self) -> dict[str, Tensor]:
        """The running means and variances of batch norm, by their names within `hidden`."""
        return dict(self.hidden.named_buffers())

    def saved_tensors(self) -> dict[str, Tensor]:
        """Parameters, and the running means and variances under the names that they have had since version 0.1."""
        learned = {name: each for name, each in super().saved_tensors().items() if "running" not in name}
        return learned | self.training_state()


def hidden_layer(width: int, dropout: float) -> nn.Sequential:
    """A hidden layer, initialised as in the code."""
    linear, norm = projection(width, width), nn.BatchNorm1d(width)
    norm.num_batches_tracked = None  # not used: the momentum is constant
    return nn.Sequential(linear, nn.ReLU(), norm, nn.Dropout(dropout))


RECIPE = by_sgd(lr=0.5)  # demo.ipynb trains MLP-3 by configs/linear/*.yaml
VARIANTS = {"mlp-3": Variant(MLPConfig(), RECIPE, "Jia et al. 2022 (arXiv:2203.12119), MLP-3")}
