"""Checks of arguments, kept in one place so that they do not bury the ideas they guard.

Every function raises ``ValueError`` with one sentence that names the argument, its value and
what was expected, and returns nothing.  They stand in constructors and where a person calls;
inside a model only what PyTorch would let pass is checked: what broadcasts, and a mask's meaning.
"""

import math
import sys
from collections.abc import Collection, Iterable, Sized
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "at_least",
    "attention",
    "between",
    "device",
    "divisible",
    "finite",
    "fraction",
    "id_batch",
    "id_list",
    "instance",
    "number",
    "one_of",
    "readable",
    "require",
    "same_batch",
    "same_length",
    "same_shape",
    "several",
    "special_ids",
    "text",
    "tokenizer",
    "width",
]


def require(condition: bool, message: str) -> None:
    """Raise ``ValueError(message)`` unless ``condition`` holds."""
    if not condition:
        raise ValueError(message)


def _expect(good: bool, name: str, value: Any, expected: str) -> None:
    require(good, f"{name} is {value!r}, expected {expected}")


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def instance(name: str, value: Any, kind: type) -> None:
    """``value`` is a ``kind``."""
    good = isinstance(value, kind)
    require(good, f"{name} is a {type(value).__name__}, expected a {kind.__name__}")


def text(name: str, value: Any) -> None:
    """``value`` is a string that can be written as UTF-8 (no half of a surrogate pair)."""
    instance(name, value, str)
    bad = next((c for c in value if "\ud800" <= c <= "\udfff"), None)
    require(bad is None, f"{name} holds the lone surrogate {bad!r}, expected valid Unicode")


def tokenizer(name: str, value: Any, special: Iterable[str]) -> None:
    """``value`` cleans, cuts and decodes text, and has the ids 0, 1, ... for ``special``."""
    parts = (value.normalizer, value.pre_tokenizer, value.decoder)
    require(None not in parts, f"{name} lacks a part, expected byte_pair_backend's")
    for expected, token in enumerate(special):
        id_ = value.token_to_id(token)
        require(id_ == expected, f"{token} has the id {id_}, expected {expected}")


def several(name: str, value: Any) -> None:
    """``value`` is a list or the like; one string by itself, which is easily passed, is not."""
    good = isinstance(value, Iterable) and not isinstance(value, str | bytes)
    require(good, f"{name} is a {type(value).__name__}, expected a list of several")


def one_of(name: str, value: Any, choices: Collection[str]) -> None:
    """``value`` is one of ``choices``."""
    good = isinstance(value, str) and value in choices
    _expect(good, name, value, f"one of {', '.join(map(repr, choices))}")


def device(name: str, value: Any) -> None:
    """``value`` is "cpu", or "cuda" where PyTorch finds a GPU."""
    one_of(name, value, ("cpu", "cuda"))
    good = value == "cpu" or torch.cuda.is_available()
    require(good, f"{name} is 'cuda', expected 'cpu', since PyTorch finds no GPU here")


def at_least(name: str, value: Any, minimum: int) -> None:
    """``value`` is a whole number of at least ``minimum``."""
    good = _whole(value) and value >= minimum
    _expect(good, name, value, f"a whole number of at least {minimum}")


def between(name: str, value: Any, low: int, high: int) -> None:
    """``value`` is a whole number from ``low`` to ``high``."""
    good = _whole(value) and low <= value <= high
    _expect(good, name, value, f"a whole number from {low} to {high}")


def divisible(name: str, value: int, divisor_name: str, divisor: int) -> None:
    """``value`` is a multiple of ``divisor``."""
    at_least(name, value, 1)
    at_least(divisor_name, divisor, 1)
    expected = f"a multiple of {divisor_name}, which is {divisor}"
    _expect(value % divisor == 0, name, value, expected)


def number(
    name: str,
    value: Any,
    minimum: float = -math.inf,
    *,
    above: bool = False,
    maximum: float = sys.float_info.max,
) -> None:
    """``value`` is a finite number from (with ``above``, more than) ``minimum`` to ``maximum``."""
    good = isinstance(value, float) or _whole(value)
    # not math.isfinite, which raises OverflowError for 10**400
    good = good and -sys.float_info.max <= value <= maximum
    good = good and (value > minimum if above else value >= minimum)
    bound = "" if minimum == -math.inf else f" {'above' if above else 'of at least'} {minimum:g}"
    bound += "" if maximum == sys.float_info.max else f" and at most {maximum:g}"
    _expect(good, name, value, f"a finite number{bound}")


def fraction(name: str, value: Any) -> None:
    """``value`` is a number in [0, 1)."""
    good = (isinstance(value, float) or _whole(value)) and 0 <= value < 1
    _expect(good, name, value, "a number from 0 up to but not including 1")


def finite(name: str, value: float) -> None:
    """``value``, which training has computed, is a finite number; else say what to try."""
    require(
        math.isfinite(value),
        f"{name} is {value}, expected a finite number; no weight was changed: try a lower "
        "peak_rate, more warmup_steps, a smaller clip_norm or float32 instead of bf16",
    )


def special_ids(pad_id: Any, bos_id: Any, eos_id: Any, vocab_size: int) -> None:
    """The three are ids of tokens, and no two of them are the same."""
    ids = {"pad_id": pad_id, "bos_id": bos_id, "eos_id": eos_id}
    for name, value in ids.items():
        between(name, value, 0, vocab_size - 1)
    found = ", ".join(f"{name} is {value}" for name, value in ids.items())
    require(len({*ids.values()}) == 3, f"{found}, expected three different ids")


def id_list(name: str, ids: Any, vocab_size: int) -> None:
    """``ids`` is a list or tuple of whole numbers, each in [0, vocab_size)."""
    good = isinstance(ids, list | tuple)
    require(good, f"{name} is a {type(ids).__name__}, expected a list of ids")
    for value in ids:
        good = _whole(value) and 0 <= value < vocab_size
        require(good, f"{name} holds {value!r}, expected ids from 0 to {vocab_size - 1}")


def id_batch(name: str, ids: Any) -> None:
    """``ids`` is a batch of whole-number sequences, (B, T), with nothing empty in it."""
    if not isinstance(ids, Tensor):
        raise ValueError(f"{name} is a {type(ids).__name__}, expected a torch.Tensor")
    if ids.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"{name} has dtype {ids.dtype}, expected torch.int64 or torch.int32")
    if ids.dim() != 2 or ids.numel() == 0:
        shape = tuple(ids.shape)
        raise ValueError(f"{name} has shape {shape}, expected (batch, length), neither of them 0")


def readable(name: str, ids: Any, vocab_size: int, max_len: int, *, start: int = 0) -> None:
    """``ids`` (B, T) is a batch that a model can read after ``start`` positions."""
    id_batch(name, ids)
    _in_vocabulary(name, ids, vocab_size)
    length, after = ids.shape[1], f" after {start} others" if start else ""
    if start + length > max_len:
        raise ValueError(f"{name} has {length} positions{after}, expected at most {max_len} in all")


def _in_vocabulary(name: str, ids: Tensor, vocab_size: int) -> None:
    if torch.compiler.is_compiling():
        return  # a model that is being traced has shapes but no numbers
    low, high = torch.aminmax(ids)
    if low < 0 or high >= vocab_size:
        worst = int(low) if low < 0 else int(high)
        raise ValueError(f"{name} holds the id {worst}, expected ids from 0 to {vocab_size - 1}")


def same_length(name: str, items: Sized, other_name: str, other: Sized) -> None:
    """Two collections hold equally many items."""
    good = len(items) == len(other)
    require(good, f"{name} holds {len(items)}, expected as many as {other_name}, {len(other)}")


def same_batch(name: str, x: Tensor, other_name: str, other: Tensor) -> None:
    """Two tensors have equally many rows along their first axis."""
    rows, expected = x.shape[0], other.shape[0]
    if rows != expected:
        found = f"{name} has a batch of {rows}"
        raise ValueError(f"{found}, expected {other_name}'s batch of {expected}")


def same_shape(name: str, x: Tensor, other_name: str, other: Tensor) -> None:
    """Two tensors have the same shape."""
    if x.shape != other.shape:
        shape, expected = tuple(x.shape), tuple(other.shape)
        raise ValueError(f"{name} has shape {shape}, expected {other_name}'s shape, {expected}")


def width(name: str, x: Tensor, d_model: int) -> None:
    """``x`` holds floating-point numbers, ``d_model`` of them on the last axis."""
    if x.shape[-1:] != (d_model,):
        shape = tuple(x.shape)
        raise ValueError(f"{name} has shape {shape}, expected its last axis to be {d_model} wide")
    if not x.is_floating_point():
        raise ValueError(f"{name} has dtype {x.dtype}, expected a floating-point dtype")


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> None:
    """``query`` (..., T, K) fits ``key`` (..., S, K) and ``value`` (..., S, Kv).

    ``mask`` is None, or boolean and broadcastable to the scores, (..., T, S).
    """
    lead = query.shape[:-2]
    if key.shape[:-2] != lead:
        shape, expected = tuple(key.shape), tuple(lead)
        raise ValueError(f"key has shape {shape}, expected query's leading axes, {expected}")
    if value.shape[:-1] != key.shape[:-1]:  # PyTorch's fused kernel reads past a shorter one's end
        shape, expected = tuple(value.shape), tuple(key.shape[:-1])
        raise ValueError(f"value has shape {shape}, expected key's leading axes, {expected}")
    if mask is None:
        return
    if mask.dtype != torch.bool:
        raise ValueError(f"mask has dtype {mask.dtype}, expected torch.bool (True = may attend)")
    scores = (*lead, query.shape[-2], key.shape[-2])
    good = 2 <= mask.dim() <= len(scores)  # PyTorch's fused kernel takes no fewer
    for m, s in zip(reversed(mask.shape), reversed(scores), strict=False):
        good = good and m in (1, s)
    if not good:
        found = f"mask has shape {tuple(mask.shape)}, expected at least (T, S)"
        raise ValueError(f"{found}, broadcastable to {scores}")
