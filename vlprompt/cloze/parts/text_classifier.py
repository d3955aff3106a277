"""A language model as a classifier: its first token's state (a causal model's last) and a linear layer."""

from torch import Tensor, nn

from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.lm_inputs import Sequences
from vlprompt.randomness import seeded


class TextClassifier(nn.Module):
    """A trained copy of a model, without its head, and a linear layer; no pooler, since masked models have none."""

    def __init__(self, lm: LanguageModel, classes: int, dropout: float, seed: int) -> None:
        """Copy the model and initialise the layer as torch does.

        Args:
            lm: The model.
            classes: C.
            dropout: Before the linear layer.
            seed: Of the linear layer.
        """
        super().__init__()
        self.tuned = lm.copy_to_train(head=False)
        with seeded(seed):
            self.head = nn.Linear(int(lm.model.config.hidden_size), classes).to(lm.device)
        self.dropout = nn.Dropout(dropout)

    def forward(self, texts: Sequences) -> Tensor:
        """Class scores (B, C) of texts without a blank."""
        return self.head(self.dropout(self.tuned.hidden(texts)))  # type: ignore[no-any-return]
