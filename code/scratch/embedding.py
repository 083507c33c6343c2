"""Token embeddings: whole-number ids become vectors, and vectors become scores over the vocabulary.

Chapter 3.  Paper: section 3.4, "Embeddings and Softmax".
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scratch.plumbing import checks

__all__ = ["TokenEmbedding"]


class TokenEmbedding(nn.Module):
    """A table of one ``d_model``-wide vector per token, used on the way in and on the way out.

    On the way in, rows are looked up and multiplied by sqrt(d_model).  On the way out,
    :meth:`logits` scores a hidden state against every row, which is what the paper means by
    sharing the weight matrix between the embedding and the pre-softmax transformation.

    Source: Vaswani et al. (2017), section 3.4.
    """

    def __init__(self, vocab_size: int, d_model: int) -> None:
        """Rows are drawn from a normal distribution with standard deviation 1/sqrt(d_model)."""
        super().__init__()
        checks.at_least("vocab_size", vocab_size, 1)
        checks.at_least("d_model", d_model, 1)
        self.vocab_size, self.d_model = vocab_size, d_model
        self.weight = nn.Parameter(torch.empty(vocab_size, d_model))
        nn.init.normal_(self.weight, std=d_model**-0.5)

    def forward(self, ids: Tensor) -> Tensor:
        """Look up ``ids`` (B, T) and return vectors (B, T, D).

        Raises IndexError for an id outside the vocabulary.
        """
        return F.embedding(ids, self.weight) * math.sqrt(self.d_model)

    def logits(self, x: Tensor) -> Tensor:
        """Score hidden states ``x`` (..., D) against every token and return (..., V)."""
        return F.linear(x, self.weight)
