"""Models and texts small enough for a test of well under a second."""

from functools import cache
from typing import Any

import torch

from scratch.tokens import Tokenizer, train_tokenizer
from scratch.transformer import Transformer, TransformerConfig

PAIRS = [
    ("The man rides a red bicycle.", "L'homme roule sur un vélo rouge."),
    ("The woman does not see the dog.", "La femme ne voit pas le chien."),
    ("I see him.", "Je le vois."),
    ("We like the old houses of the village.", "Nous aimons les vieilles maisons du village."),
    ("They speak to the children.", "Ils parlent aux enfants."),
    ("He did not eat the apple.", "Il n'a pas mangé la pomme."),
    ("You have a big black cat.", "Tu as un gros chat noir."),
    ("The girl reads a good book today.", "La fille lit un bon livre aujourd'hui."),
]


@cache
def tokenizer() -> Tokenizer:
    """A vocabulary of 300 or so, trained on :data:`PAIRS`."""
    return train_tokenizer([text for pair in PAIRS for text in pair], 320)


def model(seed: int = 0, dtype: torch.dtype = torch.float32, **changes: Any) -> Transformer:
    """A tiny random model in evaluation mode; ``changes`` go to its configuration.

    Its embeddings are drawn three times as wide as usual, so that its outputs are not all alike.
    """
    sizes = {"d_model": 16, "n_heads": 2, "d_ff": 24, "n_encoder_layers": 2, "n_decoder_layers": 2}
    settings: dict[str, Any] = {"vocab_size": 12, "max_len": 24, "norm": "pre", "dropout": 0.1}
    torch.manual_seed(seed)
    result = Transformer(TransformerConfig(**{**sizes, **settings, **changes}))
    with torch.no_grad():
        for name, parameter in result.named_parameters():
            if "embedding" in name:
                parameter.mul_(3)
    return result.eval().to(dtype)
