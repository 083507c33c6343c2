"""The runs of the book's models: which data, which sizes, how long, by name; what may change."""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from scratch.plumbing import checks
from scratch.plumbing.data.corpora import TSV
from scratch.plumbing.fast.step import Dropout
from scratch.plumbing.files import json_object
from scratch.training import TrainingConfig
from scratch.transformer import TransformerConfig

__all__ = ["RECIPES", "Extras", "Recipe", "changed", "differences", "last_name"]


@dataclass(frozen=True)
class Extras:
    """What a run adds to the taught step.

    ``dropout`` is where values are dropped, and the only place that says so; ``noise`` whether
    English is changed as people type it (:mod:`.noise`); ``patience`` the number of epochs without
    a better BLEU on the dev sentences after which a run stops, 0 for never.
    """

    dropout: Dropout = field(default_factory=Dropout)
    noise: bool = False
    patience: int = 0

    def __post_init__(self) -> None:
        checks.at_least("patience", self.patience, 0)


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
    extras: Extras = field(default_factory=Extras)

    def config(self, vocab_size: int) -> TransformerConfig:
        """Return the model's configuration with as many tokens as were found."""
        dropout = self.extras.dropout.residual
        return TransformerConfig(vocab_size, **self.model, dropout=dropout)

    def to_json(self) -> str:
        """Return everything as JSON, for :meth:`from_json`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Recipe":
        """Read what :meth:`to_json` wrote; a field that is younger gets its default.

        Raises ValueError for anything else.
        """
        try:
            found = json_object(text, "recipe")
            training, extras = TrainingConfig(**found.pop("training")), found.pop("extras")
            extras = Extras(**(extras | {"dropout": Dropout(**extras["dropout"])}))
            return cls(training=training, extras=extras, **found)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"recipe is {text[:40]!r}, expected a recipe as JSON") from error


def changed(
    recipe: Recipe,
    *,
    tsv: str | None = None,
    batch_size: int | None = None,
    patience: int | None = None,
    **training: Any,
) -> Recipe:
    """Return ``recipe`` with what the command line may change; what is None stays as it is.

    ``tsv`` is a file to train on instead of the recipe's corpus; ``training`` are "steps",
    "seed", "accumulate" and "peak_rate".  Raises ValueError for impossible changes.
    """
    made = {"max_tokens": batch_size, **training}
    made = {name: value for name, value in made.items() if value is not None}
    extras = recipe.extras if patience is None else replace(recipe.extras, patience=patience)
    corpus = recipe.corpus
    if tsv is not None:  # whose languages nobody knows, while noise is made for English and French
        corpus, extras = TSV + tsv, replace(extras, noise=False)
    return replace(recipe, corpus=corpus, training=replace(recipe.training, **made), extras=extras)


def last_name(begin_with: str | None) -> str:
    """Return the last name of a run's folder, since runs may be moved together; "" for None."""
    return Path(begin_with).resolve().name if begin_with else ""


def differences(found: Recipe, expected: Recipe) -> str:
    """Return in words where two recipes differ ("steps 5 and not 7"), or nothing."""
    a, b = _flat(asdict(found)), _flat(asdict(expected))
    names = [name for name in a | b if a.get(name) != b.get(name)]
    return ", ".join(f"{name} {a.get(name)!r} and not {b.get(name)!r}" for name in names)


def _flat(fields: dict[str, Any]) -> dict[str, Any]:
    inner = [_flat(value) for value in fields.values() if isinstance(value, dict)]
    flat = {name: value for name, value in fields.items() if not isinstance(value, dict)}
    return {name: value for part in (*inner, flat) for name, value in part.items()}


GRAMMAR = Recipe(
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
        "max_len": 64,
        "norm": "pre",
    },
    stored_as="float16",
)
# The translator of the book.  Sizes after the Transformer-Tiny of Wu et al. (2021), but twice as
# wide, since one model serves captions and everyday sentences.
TRANSLATOR = Recipe(
    corpus="en-fr",
    vocab_size=8_000,
    training=TrainingConfig(
        steps=20_000,
        max_tokens=4_096,
        peak_rate=2e-3,
        warmup_steps=1_000,
        schedule="linear",
        label_smoothing=0.1,
        seed=1,
    ),
    model={
        "d_model": 256,
        "n_heads": 4,
        "d_ff": 1_024,
        "n_encoder_layers": 4,
        "n_decoder_layers": 3,
        "max_len": 128,
        "norm": "pre",
    },
    stored_as="int8",
    extras=Extras(Dropout(residual=0.2), noise=True),
)


def _pair(corpus: str, **training: Any) -> Recipe:
    """Return the translator's recipe for another pair of languages, without noise."""
    extras = replace(TRANSLATOR.extras, noise=False)
    return changed(replace(TRANSLATOR, corpus=corpus, extras=extras), **training)


RECIPES = {
    "grammar": GRAMMAR,
    "en-fr": TRANSLATOR,
    "fr-en": _pair("fr-en"),
    "en-de": _pair("en-de", steps=4_000),
    "en-hi": _pair("en-hi", steps=600, warmup_steps=100),
}
