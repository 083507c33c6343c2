"""The runs that the book records: which data, which sizes, how long, by name."""

from dataclasses import dataclass, field
from typing import Any

from scratch.training import TrainingConfig

__all__ = ["RECIPES", "Recipe"]


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a run but the machine: ``corpus``, model and training.

    ``stored_as`` is the precision that the finished weights are written in.
    """

    corpus: str
    vocab_size: int
    training: TrainingConfig
    model: dict[str, Any] = field(default_factory=dict)
    stored_as: str = "float32"


RECIPES = {
    "grammar": Recipe(
        corpus="grammar",
        vocab_size=1_600,
        training=TrainingConfig(
            steps=1_100,
            max_tokens=1_024,
            peak_rate=5e-3,
            warmup_steps=100,
            schedule="linear",
            label_smoothing=0.1,
            seed=1,
        ),
        model={
            "d_model": 96,
            "n_heads": 4,
            "d_ff": 192,
            "n_encoder_layers": 1,
            "n_decoder_layers": 2,
            "dropout": 0.0,
            "max_len": 64,
            "norm": "pre",
        },
        stored_as="float16",
    ),
    "multi30k": Recipe(
        corpus="multi30k",
        vocab_size=6_000,
        training=TrainingConfig(
            steps=2_400,
            max_tokens=2_048,
            peak_rate=3e-3,
            warmup_steps=400,
            schedule="linear",
            label_smoothing=0.1,
            seed=1,
        ),
        model={
            "d_model": 128,
            "n_heads": 4,
            "d_ff": 512,
            "n_encoder_layers": 3,
            "n_decoder_layers": 3,
            "dropout": 0.1,
            "max_len": 128,
            "norm": "pre",
        },
    ),
}
