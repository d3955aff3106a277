"""A language model as a classifier: its first token's state (a causal model's last) and a linear layer."""

from torch import Tensor, nn

from vlprompt.backbones.lm import LanguageModel
from vlprompt.backbones.sequences import Sequences
from vlprompt.init import seeded


class TextClassifier(nn.Module):
    """A copy of a model, all of it trained, and a linear layer; masked models bring no pooler, so there is none."""

    def __init__(self, lm: LanguageModel, classes: int, dropout: float, seed: int) -> None:
        """Copy the model and start the layer as torch does.

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
