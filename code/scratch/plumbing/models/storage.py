"""A model on disk: configuration and tokenizer as JSON, weights as safetensors; no pickle."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from scratch.plumbing import checks
from scratch.plumbing.files import write_whole
from scratch.plumbing.models.quantize import pack, unpack
from scratch.tokens import Tokenizer
from scratch.transformer import Transformer, TransformerConfig

__all__ = ["PRETRAINED", "find_pretrained", "load_pretrained", "save_pretrained", "save_tokenizer"]

PRETRAINED = Path(__file__).parents[2] / "pretrained"
CONFIG, TOKENIZER, WEIGHTS = "config.json", "tokenizer.json", "model.safetensors"
LARGEST = {  # sizes that a file may ask for; to build more would take all memory, or all day
    "vocab_size": 1_000_000,
    "d_model": 65_536,
    "d_ff": 1_000_000,
    "n_encoder_layers": 1_000,
    "n_decoder_layers": 1_000,
    "max_len": 65_536,
}


def save_pretrained(
    folder: str | Path, model: Transformer, tokenizer: Tokenizer, *, stored_as: str = "float32"
) -> None:
    """Write ``model`` and ``tokenizer`` to ``folder``; each file appears whole or not at all.

    ``stored_as`` is "float32", "float16", "bfloat16" or "int8" (see
    :mod:`scratch.plumbing.models.quantize`); a shared matrix is stored once.
    """
    # named_parameters lists a shared matrix once, under its first name
    weights = pack(dict(model.named_parameters()), stored_as)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / CONFIG, json.dumps(model.config.to_dict(), indent=2) + "\n")
    save_tokenizer(folder, tokenizer)
    write_whole(folder / WEIGHTS, save(weights))


def save_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    """Write what :meth:`scratch.tokens.Tokenizer.save` writes to ``folder``, whole."""
    write_whole(folder / TOKENIZER, tokenizer.backend.to_str(pretty=True) + "\n")


def find_pretrained(name: str | Path) -> Path:
    """Return the folder of a shipped model, by its bare name, or of any saved one, by its path.

    Where a folder here has the name of a shipped model, the name means the shipped one, and
    "./NAME" or a :class:`~pathlib.Path` the folder.  Raises ValueError when there is no such
    folder or a file is missing in it.
    """
    shipped = sorted(p.parent.name for p in PRETRAINED.glob(f"*/{CONFIG}"))
    folder = PRETRAINED / name if isinstance(name, str) and name in shipped else Path(name)
    for part in (CONFIG, TOKENIZER, WEIGHTS):
        if not (folder / part).is_file():
            raise ValueError(
                f"model is {str(name)!r}, expected a folder with {part} in it, "
                f"or one of: {', '.join(shipped)}"
            )
    return folder


def load_pretrained(name: str | Path) -> tuple[Transformer, Tokenizer]:
    """Read what :func:`save_pretrained` wrote: a shipped model by name, or any folder.

    Weights become float32 before any arithmetic.  Raises ValueError, in one sentence, when a
    file is missing, cut short or belongs to something else.
    """
    folder = find_pretrained(name)
    try:
        config = TransformerConfig(**json.loads((folder / CONFIG).read_text()))
        for size, most in LARGEST.items():
            checks.between(size, getattr(config, size), 1, most)
    except (TypeError, ValueError, RecursionError) as error:  # no JSON, or not of a model
        raise ValueError(f"{folder / CONFIG} is not a model's configuration ({error})") from None
    weights = _read_weights(folder / WEIGHTS, config)
    tokenizer = Tokenizer.load(folder / TOKENIZER)
    if len(tokenizer) != config.vocab_size:
        raise ValueError(
            f"{folder / TOKENIZER} has {len(tokenizer)} tokens, "
            f"expected {config.vocab_size} as {CONFIG} says"
        )
    model = Transformer(config)
    model.load_state_dict(weights, strict=False)
    return model.eval(), tokenizer


def _read_weights(path: Path, config: TransformerConfig) -> dict[str, Tensor]:
    """Return the float32 weights in ``path``; raise ValueError unless they are of ``config``."""
    try:
        weights = unpack(load_file(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{path} is cut short or foreign ({error})") from None
    with torch.device("meta"):  # shapes without memory: a damaged size may be enormous
        expected = {k: tuple(p.shape) for k, p in Transformer(config).named_parameters()}
    found = {key: tuple(w.shape) for key, w in weights.items()}
    if found != expected:
        odd = min(k for k in {*found, *expected} if found.get(k) != expected.get(k))
        raise ValueError(
            f"{path} has {odd} of shape {found.get(odd)}, "
            f"expected {expected.get(odd)} as {CONFIG} says"
        )
    return weights
