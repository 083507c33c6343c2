"""A model on disk: configuration and tokenizer as JSON, weights as safetensors; no pickle.

A file holds each matrix of a model under its name.  Stored as int8, the matrix ``NAME`` (rows,
columns) has beside it ``NAME.scale`` (rows,), one float32 for each row; row r of the weights is
``scale[r] * matrix[r]``, a single product of two float32 numbers, which is also what ONNX's
DequantizeLinear computes along axis 0 with a zero point of 0.  Whoever reads the file therefore
computes with the same float32 weights, in Python and in a browser.  Vectors stay float32: they
are less than a hundredth of a model.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from scratch.attention import MultiHeadAttention
from scratch.feedforward import FeedForward
from scratch.plumbing import checks
from scratch.plumbing.files import json_object, write_whole
from scratch.tokens import Tokenizer
from scratch.transformer import Transformer, TransformerConfig

__all__ = ["PRETRAINED", "Loss", "find_pretrained", "load_pretrained", "save_pretrained"]

PRETRAINED = Path(__file__).parents[2] / "pretrained"
CONFIG, TOKENIZER, WEIGHTS = "config.json", "tokenizer.json", "model.safetensors"
SHIPPED = "shipped.json"  # what `scratch ship` says of a model
LOG, CHECKPOINT = "log.jsonl", "checkpoint.safetensors"  # of a run, beside its model
FLOATS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
STORED_AS = (*FLOATS, "int8")
SCALE, LARGEST = ".scale", 127  # -128 has no opposite, so it is not used
DIGEST = "sha256"
PLACES = ("residual", "attention", "hidden")  # where a model in training drops values
MOST = {  # sizes that a file may ask for; to build more would take all memory, or all day
    "vocab_size": 1_000_000,
    "d_model": 65_536,
    "d_ff": 1_000_000,
    "n_encoder_layers": 1_000,
    "n_decoder_layers": 1_000,
    "max_len": 65_536,
}


# -- weights in fewer bytes


def quantize_rows(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``matrix`` (R, C) as int8 (R, C), and the scale of each row, float32 (R,).

    Symmetric and to the nearest: the largest magnitude of a row becomes 127, and no weight is
    off by more than half its row's scale.  A row of zeros has the scale 1.
    """
    scale = matrix.float().abs().amax(dim=1) / LARGEST  # (R,)
    # what is too small for float32 to be divided by rounds to zero
    scale = torch.where(scale < torch.finfo(torch.float32).tiny, torch.ones_like(scale), scale)
    whole = (matrix.float() / scale[:, None]).round().clamp(-LARGEST, LARGEST)
    return whole.to(torch.int8), scale


def dequantize_rows(whole: Tensor, scale: Tensor) -> Tensor:
    """Return the float32 matrix (R, C) that int8 ``whole`` (R, C) and ``scale`` (R,) stand for."""
    return whole.float() * scale.float()[:, None]


def pack(weights: Mapping[str, Tensor], stored_as: str) -> dict[str, Tensor]:
    """Return what a file holds for ``weights``, by name, ``stored_as`` one of STORED_AS.

    Raises ValueError for a weight that is not finite, there or in the file.
    """
    checks.one_of("stored_as", stored_as, STORED_AS)
    packed: dict[str, Tensor] = {}
    for name, weight in weights.items():
        if stored_as == "int8" and weight.ndim == 2:
            whole, scale = quantize_rows(weight.detach().cpu())
            packed |= {name: whole, name + SCALE: scale}
        else:
            packed[name] = weight.detach().to("cpu", FLOATS.get(stored_as, torch.float32))
    for name, tensor in packed.items():
        _finite(name, tensor, f"which {stored_as} can store")
    return packed


def unpack(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights, float32, that :func:`pack` made ``stored`` from.

    Raises ValueError, in one sentence, when a scale is missing, has another shape than its
    matrix has rows, or is no positive number, and for weights that are not finite or not of a
    kind that is ever stored.
    """
    weights: dict[str, Tensor] = {}
    for name, tensor in stored.items():
        if _is_scale(name, stored):
            continue
        if tensor.dtype == torch.int8:
            tensor = dequantize_rows(tensor, _scale_of(name, stored))
        elif tensor.dtype not in FLOATS.values():
            kinds = ", ".join(STORED_AS)
            raise ValueError(f"{name} is stored as {tensor.dtype}, expected one of: {kinds}")
        weights[name] = tensor.float()
        _finite(name, weights[name], "as every weight is")
    return weights


def _is_scale(name: str, stored: Mapping[str, Tensor]) -> bool:
    matrix = stored.get(name.removesuffix(SCALE)) if name.endswith(SCALE) else None
    return matrix is not None and matrix.dtype == torch.int8


def _scale_of(name: str, stored: Mapping[str, Tensor]) -> Tensor:
    matrix, scale = stored[name], stored.get(name + SCALE)
    shape = None if scale is None else tuple(scale.shape)
    if scale is None or matrix.ndim != 2 or shape != tuple(matrix.shape[:1]):
        raise ValueError(
            f"{name} is int8 of shape {tuple(matrix.shape)} and {name}{SCALE} has the shape "
            f"{shape}, expected a matrix and one scale for each of its rows"
        )
    if scale.dtype not in FLOATS.values() or not ((scale > 0) & scale.isfinite()).all():
        raise ValueError(f"{name}{SCALE} is no positive number for each row, expected one")
    return scale


def _finite(name: str, tensor: Tensor, why: str) -> None:
    if tensor.is_floating_point() and not tensor.isfinite().all():
        raise ValueError(f"{name} holds a number that is not finite, expected finite ones, {why}")


@dataclass(frozen=True)
class Loss:
    """What storing does to the matrices of a model.

    ``worst`` is the largest error of any weight, as a share of the largest magnitude in its row
    (int8 promises half of a 127th, 0.39 %); ``overall`` the length of all errors as one vector,
    as a share of that of all weights.
    """

    worst: float
    overall: float

    def describe(self) -> str:
        """Return both in a sentence's words."""
        return (
            f"no weight moves by more than {100 * self.worst:.2f} % of the largest in its row; "
            f"the error of all together has {100 * self.overall:.2f} % of their length"
        )


def storage_loss(weights: Mapping[str, Tensor], stored_as: str) -> Loss:
    """Measure what storing ``weights`` as ``stored_as`` and reading them again changes."""
    again, worst, errors, lengths = unpack(pack(weights, stored_as)), 0.0, 0.0, 0.0
    for name, weight in weights.items():
        if weight.ndim == 2:
            matrix = weight.detach().cpu().double()
            error = again[name].double() - matrix
            largest = matrix.abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny)
            worst = max(worst, (error.abs().amax(dim=1) / largest).max().item())
            errors += error.square().sum().item()
            lengths += matrix.square().sum().item()
    return Loss(worst, math.sqrt(errors / lengths) if lengths else 0.0)


# -- tensors that are known again


def _digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    found = hashlib.sha256(json.dumps(sorted(metadata.items())).encode())
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def encode_tensors(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> bytes:
    """Return a safetensors file that holds both, and the SHA-256 of both."""
    kept = dict(metadata or {})
    kept[DIGEST] = _digest(tensors, kept)
    return save(dict(tensors), metadata=kept)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return what :func:`encode_tensors` wrote, or the tensors of any safetensors file.

    Raises ValueError for a file that is cut short, or holds other numbers than were written.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            metadata = dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{path} is cut short or foreign, expected tensors ({error})") from None
    digest = metadata.pop(DIGEST, None)
    if digest is not None and digest != _digest(tensors, metadata):
        raise ValueError(f"{path} is damaged, expected what was written: its SHA-256 is another")
    return tensors, metadata


# -- a model in its folder


def set_dropout(model: Transformer, places: Mapping[str, float]) -> None:
    """Let ``model`` in training drop sublayers' outputs, attention weights and ReLU outputs so.

    ``places`` has a probability for "residual", "attention" and "hidden" each; that for
    "residual" is its configuration's.
    """
    for module in model.modules():
        if isinstance(module, MultiHeadAttention):
            module.dropout = places["attention"]
        elif isinstance(module, FeedForward):
            module.dropout.p = places["hidden"]


def configuration(model: Transformer) -> dict[str, Any]:
    """Return what ``config.json`` says of ``model``, its dropout by place if places differ."""
    layer = cast(Any, model.encoder.layers[0])
    probabilities = (model.dropout.p, layer.self_attention.dropout, layer.feed_forward.dropout.p)
    places = dict(zip(PLACES, probabilities, strict=True))
    alike = len(set(probabilities)) == 1
    return model.config.to_dict() | {"dropout": model.dropout.p if alike else places}


def tokenizer_text(tokenizer: Tokenizer) -> str:
    """Return what :meth:`scratch.tokens.Tokenizer.save` writes."""
    return tokenizer.backend.to_str(pretty=True) + "\n"


def model_files(
    model: Transformer, tokenizer: Tokenizer, stored_as: str = "float32"
) -> dict[str, bytes]:
    """Return the files that :func:`save_pretrained` writes, by name."""
    # named_parameters lists a shared matrix once, under its first name
    weights = encode_tensors(pack(dict(model.named_parameters()), stored_as))
    config, text = json.dumps(configuration(model), indent=2) + "\n", tokenizer_text(tokenizer)
    return {CONFIG: config.encode(), TOKENIZER: text.encode(), WEIGHTS: weights}


def save_pretrained(
    folder: str | Path, model: Transformer, tokenizer: Tokenizer, *, stored_as: str = "float32"
) -> None:
    """Write ``model`` and ``tokenizer`` to ``folder``; each file appears whole or not at all.

    ``stored_as`` is "float32", "float16", "bfloat16" or "int8"; a shared matrix is stored once.
    """
    files, folder = model_files(model, tokenizer, stored_as), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        write_whole(folder / name, content)


def is_finished(folder: Path) -> bool:
    """Say whether ``folder`` holds a finished run: the checkpoint goes when the model is there."""
    return (folder / WEIGHTS).exists() and not (folder / CHECKPOINT).exists()


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
    file is missing, cut short, damaged or belongs to something else.
    """
    folder = find_pretrained(name)
    config, places = _read_config(folder / CONFIG)
    weights = _read_weights(folder, config)
    tokenizer = Tokenizer.load(folder / TOKENIZER)
    if len(tokenizer) != config.vocab_size:
        raise ValueError(
            f"{folder / TOKENIZER} has {len(tokenizer)} tokens, "
            f"expected {config.vocab_size} as {CONFIG} says"
        )
    for id_ in ("pad_id", "bos_id", "eos_id"):
        said, expected = getattr(config, id_), getattr(tokenizer, id_)
        good = said == expected
        checks.require(good, f"{folder / CONFIG} has the {id_} {said}, expected {expected}")
    model = Transformer(config)
    model.load_state_dict(weights, strict=False)
    set_dropout(model, places)
    return model.eval(), tokenizer


def _read_config(path: Path) -> tuple[TransformerConfig, dict[str, float]]:
    """Return the configuration in ``path`` and its dropout by place."""
    try:
        fields = json_object(path.read_text(), path)
        found = fields.pop(
            "dropout", TransformerConfig.dropout
        )  # one number is that of every place
        places = found if isinstance(found, dict) else dict.fromkeys(PLACES, found)
        for place in {*PLACES, *places}:
            checks.one_of("dropout", place, PLACES)
            checks.fraction(place, places.get(place))
        config = TransformerConfig(**fields, dropout=places["residual"])
        for size, most in MOST.items():
            checks.between(size, getattr(config, size), 1, most)
    except (TypeError, ValueError) as error:  # no JSON, or not of a model
        raise ValueError(f"{path} is not a model's configuration ({error})") from None
    return config, places


def _read_weights(folder: Path, config: TransformerConfig) -> dict[str, Tensor]:
    """Return the float32 weights in ``folder``; raise ValueError unless they are of ``config``."""
    path = folder / WEIGHTS
    try:
        weights = unpack(read_tensors(path)[0])
    except ValueError as error:
        raise ValueError(f"{path} cannot be read ({error})") from None
    if (folder / SHIPPED).is_file():  # older weights know no digest of their own
        text = (folder / SHIPPED).read_text(encoding="utf-8")
        digest = json_object(text, folder / SHIPPED).get(DIGEST)
        same = digest in (None, hashlib.sha256(path.read_bytes()).hexdigest())
        checks.require(same, f"{path} is damaged, expected the SHA-256 {digest} of {SHIPPED}")
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
