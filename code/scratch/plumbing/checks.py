"""Checks of arguments, kept in one place so that they do not bury the ideas they guard.

Every function raises ``ValueError`` with one sentence that names the argument, its value and
what was expected, and returns nothing.
"""

import math
import sys
from collections.abc import Collection, Iterable, Sized
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "appendable",
    "at_least",
    "batch_rows",
    "between",
    "device",
    "divisible",
    "finite",
    "flag",
    "fraction",
    "id_batch",
    "id_in_vocabulary",
    "id_list",
    "instance",
    "key_value",
    "mask_for",
    "number",
    "one_of",
    "readable",
    "require",
    "same_batch",
    "same_heads",
    "same_length",
    "same_shape",
    "scored",
    "sequence",
    "several",
    "shorter_than",
    "text",
    "token_ids",
    "width",
]


def require(condition: bool, message: str) -> None:
    """Raise ``ValueError(message)`` unless ``condition`` holds."""
    if not condition:
        raise ValueError(message)


def instance(name: str, value: Any, kind: type) -> None:
    """``value`` is a ``kind``."""
    good = isinstance(value, kind)
    require(good, f"{name} is a {type(value).__name__}, expected a {kind.__name__}")


def text(name: str, value: Any) -> None:
    """``value`` is a string that can be written as UTF-8 (no half of a surrogate pair)."""
    instance(name, value, str)
    bad = next((c for c in value if "\ud800" <= c <= "\udfff"), None)
    require(bad is None, f"{name} holds the lone surrogate {bad!r}, expected valid Unicode")


def flag(name: str, value: Any) -> None:
    """``value`` is True or False."""
    require(isinstance(value, bool), f"{name} is {value!r}, expected True or False")


def at_least(name: str, value: Any, minimum: int) -> None:
    """``value`` is a whole number of at least ``minimum``."""
    # a SymInt is what a length is while torch.export traces a model
    good = isinstance(value, int | torch.SymInt) and not isinstance(value, bool)
    good = good and value >= minimum
    require(good, f"{name} is {value!r}, expected a whole number of at least {minimum}")


def between(name: str, value: Any, low: int, high: int) -> None:
    """``value`` is a whole number from ``low`` to ``high``."""
    good = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
    require(good, f"{name} is {value!r}, expected a whole number from {low} to {high}")


def several(name: str, value: Any) -> None:
    """``value`` is a list or the like; one string by itself, which is easily passed, is not."""
    good = isinstance(value, Iterable) and not isinstance(value, str | bytes)
    require(good, f"{name} is a {type(value).__name__}, expected a list of several")


def number(
    name: str,
    value: Any,
    minimum: float = -math.inf,
    *,
    above: bool = False,
    maximum: float = sys.float_info.max,
) -> None:
    """``value`` is a finite number from (with ``above``, more than) ``minimum`` to ``maximum``."""
    good = isinstance(value, int | float) and not isinstance(value, bool)
    # not math.isfinite, which raises OverflowError for 10**400
    good = good and -sys.float_info.max <= value <= maximum
    good = good and (value > minimum if above else value >= minimum)
    bound = "" if minimum == -math.inf else f" {'above' if above else 'of at least'} {minimum:g}"
    bound += "" if maximum == sys.float_info.max else f" and at most {maximum:g}"
    require(good, f"{name} is {value!r}, expected a finite number{bound}")


def finite(name: str, value: float) -> None:
    """``value``, which training has computed, is a finite number; else say what to try."""
    require(
        math.isfinite(value),
        f"{name} is {value}, expected a finite number; no weight was changed: try a lower "
        "peak_rate, more warmup_steps, a smaller clip_norm or float32 instead of bf16",
    )


def fraction(name: str, value: Any) -> None:
    """``value`` is a number in [0, 1)."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1
    require(good, f"{name} is {value!r}, expected a number from 0 up to but not including 1")


def one_of(name: str, value: Any, choices: Collection[str]) -> None:
    """``value`` is one of ``choices``."""
    expected = ", ".join(map(repr, choices))
    good = isinstance(value, str) and value in choices
    require(good, f"{name} is {value!r}, expected one of {expected}")


def device(name: str, value: Any) -> None:
    """``value`` is "cpu", or "cuda" where PyTorch finds a GPU."""
    one_of(name, value, ("cpu", "cuda"))
    good = value == "cpu" or torch.cuda.is_available()
    require(good, f"{name} is 'cuda', expected 'cpu', since PyTorch finds no GPU here")


def divisible(name: str, value: int, divisor_name: str, divisor: int) -> None:
    """``value`` is a multiple of ``divisor``."""
    at_least(name, value, 1)
    at_least(divisor_name, divisor, 1)
    good = value % divisor == 0
    require(good, f"{name} is {value}, expected a multiple of {divisor_name}, which is {divisor}")


def _tensor(name: str, value: Any) -> None:
    good = isinstance(value, Tensor)
    require(good, f"{name} is a {type(value).__name__}, expected a torch.Tensor")


def width(name: str, x: Tensor, d_model: int, dtype: torch.dtype | None = None) -> None:
    """``x`` is a floating-point tensor, not empty, whose last axis is ``d_model`` wide.

    ``dtype``, if given, is the one that ``x`` must have; under autocast, which converts as it
    goes, any floating-point dtype will do.
    """
    _tensor(name, x)
    good = x.is_floating_point()
    require(good, f"{name} has dtype {x.dtype}, expected a floating-point dtype")
    good = dtype in (None, x.dtype) or torch.is_autocast_enabled(x.device.type)
    require(good, f"{name} has dtype {x.dtype}, expected the weights' dtype, {dtype}")
    shape = tuple(x.shape)
    good = x.dim() >= 1 and x.shape[-1] == d_model
    require(good, f"{name} has shape {shape}, expected its last axis to be {d_model} wide")
    require(x.numel() > 0, f"{name} has shape {shape}, expected no axis of length 0")


def sequence(name: str, x: Tensor, d_model: int, dtype: torch.dtype | None = None) -> None:
    """``x`` is a batch of vector sequences, (B, T, d_model), with nothing empty in it."""
    width(name, x, d_model, dtype)
    good = x.dim() == 3
    shape = tuple(x.shape)
    require(good, f"{name} has shape {shape}, expected (batch, length, {d_model})")


def key_value(key: Tensor, value: Tensor, d_model: int, dtype: torch.dtype) -> None:
    """``key`` and ``value`` are two batches of equally long vector sequences, (B, S, d_model)."""
    sequence("key", key, d_model, dtype)
    sequence("value", value, d_model, dtype)
    same_shape("value", value, "key", key)


def same_shape(name: str, x: Tensor, other_name: str, other: Tensor) -> None:
    """Two tensors have the same shape."""
    _tensor(name, x)
    _tensor(other_name, other)
    good, shape, expected = x.shape == other.shape, tuple(x.shape), tuple(other.shape)
    require(good, f"{name} has shape {shape}, expected {other_name}'s shape, {expected}")


def same_batch(name: str, x: Tensor, other_name: str, other: Tensor) -> None:
    """Two tensors have equally many rows along their first axis."""
    rows, expected = x.shape[0], other.shape[0]
    good = rows == expected
    require(good, f"{name} has a batch of {rows}, expected {other_name}'s batch of {expected}")


def same_length(name: str, items: Sized, other_name: str, other: Sized) -> None:
    """Two collections hold equally many items."""
    good = len(items) == len(other)
    require(good, f"{name} holds {len(items)}, expected as many as {other_name}, {len(other)}")


def appendable(name: str, x: Tensor, cached: Tensor) -> None:
    """``x`` (B, H, t, K) can follow ``cached`` (B, H, T, K): only their third axes differ."""
    _tensor(name, x)
    good = x.dim() == 4 and x.shape[:2] == cached.shape[:2] and x.shape[3:] == cached.shape[3:]
    b, h, _, k = cached.shape
    shape = tuple(x.shape)
    require(good, f"{name} has shape {shape}, expected the cache's ({b}, {h}, any length, {k})")
    good = x.dtype == cached.dtype
    require(good, f"{name} has dtype {x.dtype}, expected the cache's, {cached.dtype}")


def shorter_than(name: str, length: int, max_len: int, *, start: int = 0) -> None:
    """A sequence of ``length`` positions fits into ``max_len``, after ``start`` others."""
    after = f" after {start} others" if start else ""
    good = start + length <= max_len
    require(good, f"{name} has {length} positions{after}, expected at most {max_len} in all")


def _whole(name: str, numbers: Tensor) -> None:
    _tensor(name, numbers)
    good = numbers.dtype in (torch.int32, torch.int64)
    require(good, f"{name} has dtype {numbers.dtype}, expected torch.int64 or torch.int32")


def _in_range(name: str, numbers: Tensor, end: int, kind: str) -> None:
    if torch.compiler.is_compiling():
        return  # a model that is being traced has shapes but no numbers
    low, high = (int(bound) for bound in torch.aminmax(numbers))
    worst = low if low < 0 else high
    good = low >= 0 and high < end
    require(good, f"{name} holds the {kind} {worst}, expected {kind}s from 0 to {end - 1}")


def id_in_vocabulary(name: str, value: Any, vocab_size: int) -> None:
    """``value`` is the id of a token."""
    good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < vocab_size
    require(good, f"{name} is {value!r}, expected an id from 0 to {vocab_size - 1}")


def id_batch(name: str, ids: Tensor) -> None:
    """``ids`` is a batch of whole-number sequences, (B, T), with nothing empty in it."""
    _whole(name, ids)
    good = ids.dim() == 2 and ids.numel() > 0
    shape = tuple(ids.shape)
    require(good, f"{name} has shape {shape}, expected (batch, length) and neither of them 0")


def token_ids(name: str, ids: Tensor, vocab_size: int) -> None:
    """``ids`` is a batch of whole-number sequences, (B, T), each id in [0, vocab_size)."""
    id_batch(name, ids)
    _in_range(name, ids, vocab_size, "id")


def readable(name: str, ids: Tensor, vocab_size: int, max_len: int, *, start: int = 0) -> None:
    """``ids`` (B, T) is a batch that a model can read after ``start`` positions."""
    token_ids(name, ids, vocab_size)
    shorter_than(name, ids.shape[1], max_len, start=start)


def batch_rows(name: str, rows: Tensor, batch: int) -> None:
    """``rows`` lists row numbers, (N,), each in [0, batch)."""
    _whole(name, rows)
    good = rows.dim() == 1 and rows.numel() > 0
    require(good, f"{name} has shape {tuple(rows.shape)}, expected (N,) and N not 0")
    _in_range(name, rows, batch, "row")


def same_heads(query: Tensor, key: Tensor, value: Tensor) -> None:
    """Query, key and value are floating-point tensors that attention can combine."""
    for name, x in (("query", query), ("key", key), ("value", value)):
        _tensor(name, x)
        good = x.is_floating_point() and x.dtype == query.dtype
        expected = f"expected query's floating-point dtype, {query.dtype}"
        require(good, f"{name} has dtype {x.dtype}, {expected}")
        shape = tuple(x.shape)
        good = x.dim() >= 2 and x.numel() > 0
        require(good, f"{name} has shape {shape}, expected (..., length, width) and none of it 0")
        good, leading = x.shape[:-2] == query.shape[:-2], tuple(query.shape[:-2])
        require(good, f"{name} has shape {shape}, expected query's leading axes, {leading}")
    good = key.shape[-1] == query.shape[-1]
    require(good, f"key has width {key.shape[-1]}, expected query's width, {query.shape[-1]}")
    good = value.shape[-2] == key.shape[-2]
    require(good, f"value has {value.shape[-2]} positions, expected key's {key.shape[-2]}")


def mask_for(mask: Tensor | None, scores: tuple[int, ...]) -> None:
    """``mask`` is None, or boolean and broadcastable to the shape of ``scores``."""
    if mask is None:
        return
    _tensor("mask", mask)
    good = mask.dtype == torch.bool
    require(good, f"mask has dtype {mask.dtype}, expected torch.bool (True = may attend)")
    pairs = zip(reversed(mask.shape), reversed(scores), strict=False)
    # two axes at least: PyTorch's fused kernel takes no fewer
    good = 2 <= mask.dim() <= len(scores) and all(m in (1, s) for m, s in pairs)
    shape = tuple(mask.shape)
    require(good, f"mask has shape {shape}, expected at least (T, S), broadcastable to {scores}")


def id_list(name: str, ids: Any, vocab_size: int) -> None:
    """``ids`` is a list or tuple of whole numbers, each in [0, vocab_size)."""
    good = isinstance(ids, list | tuple)
    require(good, f"{name} is a {type(ids).__name__}, expected a list of ids")
    for value in ids:
        good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < vocab_size
        require(good, f"{name} holds {value!r}, expected ids from 0 to {vocab_size - 1}")


def scored(logits: Tensor, labels: Tensor) -> None:
    """``logits`` (N, V) score V tokens at N positions; ``labels`` (N,) are the right ids."""
    _tensor("logits", logits)
    _tensor("labels", labels)
    good = logits.is_floating_point()
    require(good, f"logits has dtype {logits.dtype}, expected a floating-point dtype")
    good = labels.dtype == torch.int64
    require(good, f"labels has dtype {labels.dtype}, expected torch.int64")
    good = logits.dim() == 2 and labels.shape == logits.shape[:1] and logits.numel() > 0
    shapes = f"{tuple(logits.shape)} and {tuple(labels.shape)}"
    require(good, f"logits and labels have shapes {shapes}, expected (N, V) and (N,), none of it 0")
    _in_range("labels", labels, logits.shape[1], "id")
