"""Checks of arguments: what is good passes in silence, what is not is named in one sentence."""

import ast
import math
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer as Backend
from tokenizers import models

from press.book import load_book
from reference import refuses
from scratch.plumbing import checks
from scratch.plumbing.models.storage import load_pretrained
from scratch.tokens import BOS, EOS, PAD, byte_pair_backend

F32, F64, BOOL, INT = torch.float32, torch.float64, torch.bool, torch.int64


def zeros(*shape: int, dtype: torch.dtype = F32) -> torch.Tensor:
    return torch.zeros(*shape, dtype=dtype)


Q, K = zeros(2, 3, 4), zeros(2, 5, 4)
GOOD: list[tuple[Callable[..., object], tuple[Any, ...]]] = [
    (checks.require, (True, "never said")),
    (checks.instance, ("x", 3, int)),
    (checks.text, ("x", "déjà \U0001f642")),
    (checks.at_least, ("x", 1, 1)),
    (checks.between, ("x", 3, 3, 5)),
    (checks.between, ("x", 5, 3, 5)),
    (checks.tokenizer, ("x", load_pretrained("en-fr")[1].backend, (PAD, BOS, EOS))),
    (checks.several, ("x", ["a"])),
    (checks.several, ("x", iter("ab"))),
    (checks.id_list, ("x", [0, 4], 5)),
    (checks.id_list, ("x", (), 5)),
    (checks.number, ("x", -2.5)),
    (checks.number, ("x", 0, 0.0)),
    (checks.finite, ("x", -2.5)),
    (checks.fraction, ("x", 0)),
    (checks.fraction, ("x", 0.999)),
    (checks.one_of, ("x", "a", ("a", "b"))),
    (checks.device, ("x", "cpu")),
    (checks.divisible, ("x", 8, "y", 4)),
    (checks.between, ("x", 2, 1, 2)),
    (checks.several, ("x", ["a"])),
    (checks.id_list, ("x", [0, 4], 5)),
    (checks.width, ("x", zeros(4), 4)),
    (checks.same_shape, ("x", zeros(2, 3), "y", zeros(2, 3))),
    (checks.same_batch, ("x", zeros(2, 3), "y", zeros(2, 5))),
    (checks.same_length, ("x", [1], "y", [2])),
    (checks.readable, ("x", zeros(2, 3, dtype=INT), 1, 3)),
    (checks.readable, ("x", zeros(2, 3, dtype=torch.int32), 1, 3)),
    (checks.id_batch, ("x", zeros(2, 3, dtype=INT))),
    (checks.special_ids, (2, 0, 1, 3)),
    (checks.attention, (zeros(3, 4), zeros(5, 4), zeros(5, 2), None)),
    (checks.attention, (Q, K, K, zeros(3, 5, dtype=BOOL))),
    (checks.attention, (Q, K, K, zeros(2, 1, 5, dtype=BOOL))),
]

BAD: list[tuple[Callable[..., object], tuple[Any, ...], tuple[str, ...]]] = [
    (checks.instance, ("x", {}, int), ("x is a dict", "int")),
    (checks.text, ("x", b"a"), ("x is a bytes", "str")),
    (checks.text, ("x", "a\ud800"), ("x holds the lone surrogate '\\ud800'",)),
    (checks.at_least, ("x", 0, 1), ("x is 0", "at least 1")),
    (checks.at_least, ("x", True, 1), ("x is True",)),
    (checks.at_least, ("x", 2.0, 1), ("x is 2.0", "whole number")),
    (checks.at_least, ("x", "2", 1), ("x is '2'",)),
    (checks.at_least, ("x", None, 1), ("x is None",)),
    (checks.at_least, ("x", math.nan, 1), ("x is nan",)),
    (checks.between, ("x", 2, 3, 5), ("x is 2", "from 3 to 5")),
    (checks.between, ("x", 6, 3, 5), ("x is 6",)),
    (checks.between, ("x", True, 0, 5), ("x is True",)),
    (checks.between, ("x", 3.0, 3, 5), ("x is 3.0",)),
    (checks.tokenizer, ("x", byte_pair_backend(), (PAD,)), ("<pad> has the id None", "0")),
    (checks.tokenizer, ("x", Backend(models.BPE()), (PAD,)), ("x lacks a part",)),
    (checks.several, ("x", "ab"), ("x is a str", "list")),
    (checks.several, ("x", b"ab"), ("x is a bytes",)),
    (checks.several, ("x", None), ("x is a NoneType",)),
    (checks.id_list, ("x", "12", 5), ("x is a str", "list of ids")),
    (checks.id_list, ("x", torch.tensor([1]), 5), ("x is a Tensor",)),
    (checks.id_list, ("x", [1, 5], 5), ("x holds 5", "from 0 to 4")),
    (checks.id_list, ("x", [-1], 5), ("x holds -1",)),
    (checks.id_list, ("x", [True], 5), ("x holds True",)),
    (checks.id_list, ("x", ["a"], 5), ("x holds 'a'",)),
    (checks.finite, ("x", math.nan), ("x is nan", "lower peak_rate")),
    (checks.finite, ("x", -math.inf), ("x is -inf", "warmup_steps")),
    (checks.number, ("x", math.nan), ("x is nan", "finite")),
    (checks.number, ("x", math.inf), ("x is inf",)),
    (checks.number, ("x", -math.inf), ("x is -inf",)),
    (checks.number, ("x", 10**400), ("x is 1000", "finite")),
    (checks.number, ("x", True), ("x is True",)),
    (checks.number, ("x", "1"), ("x is '1'",)),
    (checks.number, ("x", -1, 0.0), ("x is -1", "of at least 0")),
    (checks.fraction, ("x", 1), ("x is 1", "not including 1")),
    (checks.fraction, ("x", -0.1), ("x is -0.1",)),
    (checks.fraction, ("x", math.nan), ("x is nan",)),
    (checks.fraction, ("x", False), ("x is False",)),
    (checks.fraction, ("x", "0"), ("x is '0'",)),
    (checks.one_of, ("x", "c", ("a", "b")), ("x is 'c'", "'a', 'b'")),
    (checks.one_of, ("x", None, ("a", "b")), ("x is None",)),
    (checks.one_of, ("x", ["a"], ("a", "b")), ("x is ['a']",)),
    (checks.one_of, ("x", np.array(["a", "b"]), ("a", "b")), ("x is array",)),
    (checks.device, ("x", "tpu"), ("x is 'tpu'", "'cpu', 'cuda'")),
    (checks.divisible, ("x", 10, "y", 3), ("x is 10", "multiple of y", "3")),
    (checks.divisible, ("x", 0, "y", 3), ("x is 0",)),
    (checks.divisible, ("x", 6, "y", 0), ("y is 0",)),
    (checks.divisible, ("x", 6.0, "y", 3), ("x is 6.0",)),
    (checks.between, ("x", 3, 1, 2), ("x is 3", "from 1 to 2")),
    (checks.between, ("x", True, 0, 2), ("x is True",)),
    (checks.several, ("x", "a"), ("x is a str",)),
    (checks.several, ("x", 3), ("x is a int",)),
    (checks.id_list, ("x", "12", 5), ("x is a str",)),
    (checks.id_list, ("x", [5], 5), ("x holds 5", "from 0 to 4")),
    (checks.id_list, ("x", [1.0], 5), ("x holds 1.0",)),
    (checks.width, ("x", zeros(4, dtype=INT), 4), ("x has dtype torch.int64",)),
    (checks.width, ("x", zeros(4, dtype=torch.complex64), 4), ("x has dtype torch.complex64",)),
    (checks.width, ("x", zeros(4, 3), 4), ("x has shape (4, 3)", "4 wide")),
    (checks.width, ("x", torch.tensor(1.0), 4), ("x has shape ()",)),
    (checks.same_shape, ("x", zeros(2), "y", zeros(1)), ("x has shape (2,)", "y's", "(1,)")),
    (checks.same_batch, ("x", zeros(2), "y", zeros(3)), ("x has a batch of 2", "y's batch of 3")),
    (checks.same_length, ("x", [], "y", [2]), ("x holds 0", "y, 1")),
    (checks.special_ids, (0, 1, 3, 3), ("eos_id is 3", "from 0 to 2")),
    (checks.special_ids, (0, 1, True, 3), ("eos_id is True",)),
    (checks.special_ids, (0, 1, 0, 3), ("pad_id is 0, bos_id is 1, eos_id is 0", "different")),
    (checks.attention, (Q, K[:1], K, None), ("key has shape (1, 5, 4)", "query's", "(2,)")),
    (checks.attention, (Q, K, K[:1], None), ("value has shape (1, 5, 4)", "key's", "(2, 5)")),
    (checks.attention, (Q, K, K[:, :4], None), ("value has shape (2, 4, 4)", "(2, 5)")),
    (checks.attention, (Q, K, K, zeros(3, 5)), ("mask has dtype torch.float32", "torch.bool")),
    (checks.attention, (Q, K, K, zeros(5, dtype=BOOL)), ("mask has shape (5,)", "(T, S)")),
    (checks.attention, (Q, K, K, zeros(5, 5, dtype=BOOL)), ("(5, 5)", "(2, 3, 5)")),
    (checks.attention, (Q, K, K, zeros(3, 3, 5, dtype=BOOL)), ("(3, 3, 5)", "(2, 3, 5)")),
    (checks.attention, (Q, K, K, zeros(1, 1, 3, 5, dtype=BOOL)), ("(1, 1, 3, 5)",)),
    (checks.id_batch, ("x", np.zeros((2, 3), int)), ("x is a ndarray", "torch.Tensor")),
    (checks.id_batch, ("x", [[1]]), ("x is a list",)),
    (checks.id_batch, ("x", zeros(2, 3)), ("x has dtype torch.float32", "torch.int64")),
    (checks.id_batch, ("x", zeros(2, 3, dtype=BOOL)), ("x has dtype torch.bool",)),
    (checks.id_batch, ("x", zeros(3, dtype=INT)), ("x has shape (3,)", "(batch, length)")),
    (checks.id_batch, ("x", zeros(2, 0, dtype=INT)), ("x has shape (2, 0)",)),
    (checks.readable, ("x", zeros(3, dtype=INT), 5, 3), ("x has shape (3,)",)),
    (checks.readable, ("x", torch.tensor([[1, 5]]), 5, 3), ("x holds the id 5", "from 0 to 4")),
    (checks.readable, ("x", torch.tensor([[9, -1]]), 5, 3), ("x holds the id -1",)),
    (checks.readable, ("x", zeros(1, 4, dtype=INT), 5, 3), ("x has 4 positions", "at most 3")),
    (checks.readable, ("x", zeros(1, 4, dtype=INT), 0, 9), ("x holds the id 0",)),
]


@pytest.mark.parametrize(("check", "arguments"), GOOD)
def test_what_is_good_passes_in_silence(
    check: Callable[..., object], arguments: tuple[Any, ...]
) -> None:
    assert check(*arguments) is None


@pytest.mark.parametrize(("check", "arguments", "parts"), BAD)
def test_what_is_bad_is_named(
    check: Callable[..., object], arguments: tuple[Any, ...], parts: tuple[str, ...]
) -> None:
    refuses(lambda: check(*arguments), *parts)


def test_require_says_just_what_it_is_given() -> None:
    with pytest.raises(ValueError, match=r"^a is 1, expected 2$"):
        checks.require(False, "a is 1, expected 2")


def test_bounds_can_exclude_the_minimum() -> None:
    refuses(lambda: checks.number("x", 0.0, 0.0, above=True), "x is 0.0", "above 0")
    checks.number("x", 1e-300, 0.0, above=True)


def test_bounds_can_have_a_maximum() -> None:
    refuses(lambda: checks.number("x", 3.5, 0.0, maximum=3.0), "x is 3.5", "0 and at most 3")
    checks.number("x", 3, 0.0, maximum=3.0)


def test_positions_already_read_count() -> None:
    ids = zeros(1, 3, dtype=INT)
    checks.readable("x", ids, 1, 6, start=3)
    refuses(lambda: checks.readable("x", ids, 1, 5, start=3), "x has 3", "after 3", "at most 5")


def test_every_check_is_tested_here() -> None:
    tested = {row[0] for row in GOOD} & {row[0] for row in BAD} | {checks.require}
    assert {getattr(checks, name) for name in checks.__all__} - tested == set()


# -- how much of the taught code they are

MODULES = [module.removeprefix("scratch.") for module in load_book(Path(__file__)).taught()]


@pytest.mark.parametrize("module", MODULES)
def test_checks_outside_constructors_are_a_small_part_of_a_taught_module(module: str) -> None:
    source = Path(checks.__file__).parents[1].joinpath(f"{module}.py").read_text(encoding="utf-8")
    code, said, built = set(range(1, source.count("\n") + 1)), set[int](), set[int]()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            first = node.body[0]
            if ast.get_docstring(node) is not None:
                code -= set(range(first.lineno, (first.end_lineno or 0) + 1))
        if isinstance(node, ast.FunctionDef) and node.name in ("__init__", "__post_init__"):
            built |= set(range(node.lineno, (node.end_lineno or 0) + 1))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "checks":
            said.add(node.lineno)
    lines = source.splitlines()
    code = {n for n in code if lines[n - 1].strip() and not lines[n - 1].strip().startswith("#")}
    assert len(said - built) <= 0.08 * len(code), f"{len(said - built)} of {len(code)} lines"


def test_a_forward_pass_of_the_shipped_model_makes_few_checks() -> None:
    model, _ = load_pretrained("en-fr")
    calls = Counter[str]()

    def count(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename == checks.__file__:
            calls[frame.f_code.co_name] += 1

    sys.setprofile(count)
    try:
        model(torch.tensor([[5, 6, 7, 2]]), torch.tensor([[1, 8, 9]]))
    finally:
        sys.setprofile(None)
    assert calls["readable"] == 2  # source and target, each read once
    assert 0 < calls.total() <= 60, calls
