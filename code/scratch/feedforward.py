"""The feed-forward network: the same two layers, applied to every position by itself.

Chapter 6.  Paper: section 3.3, "Position-wise Feed-Forward Networks".
"""

from torch import Tensor, nn

from scratch.plumbing import checks

__all__ = ["FeedForward"]


class FeedForward(nn.Module):
    """FFN(x) = max(0, x W1 + b1) W2 + b2, with dropout after the ReLU.

    Source: Vaswani et al. (2017), section 3.3, equation 2.  The dropout inside is not in the
    paper; the authors' own code and PyTorch's layer both have it.
    """

    def __init__(self, d_model: int, d_ff: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        checks.at_least("d_model", d_model, 1)
        checks.at_least("d_ff", d_ff, 1)
        checks.fraction("dropout", dropout)
        self.d_model = d_model
        self.expand = nn.Linear(d_model, d_ff)
        self.contract = nn.Linear(d_ff, d_model)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` (..., D) to (..., D), each position independently of every other."""
        h = self.dropout(self.expand(x).relu())  # (..., F)
        return self.contract(h)  # (..., D)
