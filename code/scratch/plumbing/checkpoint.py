"""A model on disk: configuration and tokenizer as JSON, weights as safetensors; no pickle."""

import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from scratch.plumbing import checks
from scratch.tokens import Tokenizer
from scratch.transformer import Transformer, TransformerConfig

__all__ = ["PRETRAINED", "load_pretrained", "save_pretrained"]

PRETRAINED = Path(__file__).parent.parent / "pretrained"
CONFIG, TOKENIZER, WEIGHTS = "config.json", "tokenizer.json", "model.safetensors"


def save_pretrained(
    folder: str | Path,
    model: Transformer,
    tokenizer: Tokenizer,
    *,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write ``model`` and ``tokenizer`` to ``folder``; each file appears whole or not at all.

    ``dtype`` is what the weights are stored as; a shared matrix is stored once.
    """
    checks.require(dtype.is_floating_point, f"dtype is {dtype}, expected a floating-point dtype")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = json.dumps(model.config.to_dict(), indent=2) + "\n"
    # named_parameters lists a shared matrix once, under its first name
    weights = {name: p.detach().to("cpu", dtype) for name, p in model.named_parameters()}
    parts = {
        CONFIG: lambda path: path.write_text(config),
        TOKENIZER: lambda path: tokenizer.save(path),
        WEIGHTS: lambda path: save_file(weights, path),
    }
    for name, write in parts.items():
        unfinished = folder / f"{name}.part"
        write(unfinished)
        os.replace(unfinished, folder / name)


def load_pretrained(name: str | Path) -> tuple[Transformer, Tokenizer]:
    """Read what :func:`save_pretrained` wrote: a shipped model by name, or any folder.

    Weights become float32 before any arithmetic.  Raises ValueError, in one sentence, when a
    file is missing, cut short or belongs to something else.
    """
    folder = PRETRAINED / name if (PRETRAINED / name).is_dir() else Path(name)
    for part in (CONFIG, TOKENIZER, WEIGHTS):
        if not (folder / part).is_file():
            shipped = ", ".join(sorted(p.parent.name for p in PRETRAINED.glob(f"*/{CONFIG}")))
            raise ValueError(
                f"model is {str(name)!r}, expected a folder with {part} in it, or one of: {shipped}"
            )
    try:
        config = TransformerConfig(**json.loads((folder / CONFIG).read_text()))
    except (TypeError, ValueError, RecursionError) as error:  # no JSON, or not of a model
        raise ValueError(f"{folder / CONFIG} is not a model's configuration ({error})") from None
    try:
        weights = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{folder / WEIGHTS} is cut short or foreign ({error})") from None
    with torch.device("meta"):  # shapes without memory: a damaged size may be enormous
        expected = {k: tuple(p.shape) for k, p in Transformer(config).named_parameters()}
    found = {key: tuple(w.shape) for key, w in weights.items()}
    if found != expected:
        odd = min(k for k in {*found, *expected} if found.get(k) != expected.get(k))
        raise ValueError(
            f"{folder / WEIGHTS} has {odd} of shape {found.get(odd)}, "
            f"expected {expected.get(odd)} as {CONFIG} says"
        )
    tokenizer = Tokenizer.load(folder / TOKENIZER)
    if len(tokenizer) != config.vocab_size:
        raise ValueError(
            f"{folder / TOKENIZER} has {len(tokenizer)} tokens, "
            f"expected {config.vocab_size} as {CONFIG} says"
        )
    model = Transformer(config)
    model.load_state_dict({k: w.float() for k, w in weights.items()}, strict=False)
    return model.eval(), tokenizer
