"""Weights in fewer bytes: no weight is off by more than promised, and damage is refused."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from reference import quick, refuses
from scratch.plumbing.models.quantize import (
    STORED_AS,
    dequantize_rows,
    pack,
    quantize_rows,
    storage_loss,
    unpack,
)


def test_quantised_by_hand() -> None:
    matrix = torch.tensor([[1.27, -0.634, 0.0], [0.0, 0.0, 0.0], [-254.0, 1.0, 3.0]])
    whole, scale = quantize_rows(matrix)
    assert whole.dtype == torch.int8
    assert whole.tolist() == [[127, -63, 0], [0, 0, 0], [-127, 0, 2]]  # halves go to even numbers
    torch.testing.assert_close(scale, torch.tensor([0.01, 1.0, 2.0]))
    expected = torch.tensor([[1.27, -0.63, 0.0], [0.0, 0.0, 0.0], [-254.0, 0.0, 4.0]])
    torch.testing.assert_close(dequantize_rows(whole, scale), expected)


@given(seed=st.integers(0, 2**31), exponent=st.integers(-44, 37))
@quick
def test_no_weight_is_off_by_more_than_half_a_step(seed: int, exponent: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(5, 7, generator=generator) * 10.0**exponent
    matrix[1] = 0.0
    whole, scale = quantize_rows(matrix)
    again = dequantize_rows(whole, scale)
    # half a step, and the float32 roundings of a quotient and a product
    half_steps = (again.double() - matrix.double()).abs() / scale.double()[:, None]
    assert half_steps.max() <= 0.5 + 1e-4
    assert torch.isfinite(again).all()
    assert whole.min() >= -127
    assert (scale > 0).all()
    assert not again[1].any()


def test_numpy_computes_the_same_weights_to_the_bit() -> None:
    """What ONNX's DequantizeLinear says: (x - zero point) * scale, in float32."""
    whole, scale = quantize_rows(torch.randn(40, 30, generator=torch.Generator().manual_seed(1)))
    expected = (whole.numpy().astype(np.float32) - np.float32(0)) * scale.numpy()[:, None]
    assert expected.dtype == np.float32
    assert np.array_equal(dequantize_rows(whole, scale).numpy(), expected)


def weights() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return {
        "a.weight": torch.randn(6, 4, generator=generator),
        "a.bias": torch.randn(6, generator=generator),
        "norm.scale": torch.randn(4, generator=generator),
    }


def test_matrices_become_int8_and_vectors_stay() -> None:
    packed = pack(weights(), "int8")
    assert {name: (str(t.dtype), tuple(t.shape)) for name, t in packed.items()} == {
        "a.weight": ("torch.int8", (6, 4)),
        "a.weight.scale": ("torch.float32", (6,)),
        "a.bias": ("torch.float32", (6,)),
        "norm.scale": ("torch.float32", (4,)),  # a layer norm's, nothing's row scale
    }
    again = unpack(packed)
    assert list(again) == list(weights())
    assert torch.equal(again["norm.scale"], weights()["norm.scale"])
    assert torch.equal(again["a.weight"], dequantize_rows(*quantize_rows(weights()["a.weight"])))
    # what has been stored once is stored again without a further loss
    assert torch.equal(unpack(pack(again, "int8"))["a.weight"], again["a.weight"])


def test_what_storing_loses_is_measured() -> None:
    found = {kind: storage_loss(weights(), kind) for kind in STORED_AS}
    assert found["float32"].worst == found["float32"].overall == 0.0
    assert 0 < found["float16"].worst <= 2**-11
    assert 2**-11 < found["bfloat16"].worst <= 2**-8
    assert 1e-3 < found["int8"].worst <= 0.5 / 127 + 1e-6
    one = {"w": torch.tensor([[127.0, 0.25], [3.0, 4.0]])}
    assert storage_loss(one, "int8").worst == pytest.approx(0.25 / 127)
    four = torch.tensor(4.0 / 127)
    error = (0.25**2 + (95 * four - 3.0) ** 2) ** 0.5
    length = (127.0**2 + 0.25**2 + 25) ** 0.5
    assert storage_loss(one, "int8").overall == pytest.approx(float(error / length), rel=1e-4)


def change(name: str, made: Callable[[Tensor], Tensor | None]) -> dict[str, Tensor]:
    packed = pack(weights(), "int8")
    new = made(packed.pop(name))
    return packed if new is None else packed | {name: new}


@pytest.mark.parametrize(
    "made",
    [
        lambda s: None,
        lambda s: s[:-1],
        lambda s: s[:, None],
        lambda s: s * float("nan"),
        lambda s: s * float("inf"),
        lambda s: s.index_fill(0, torch.tensor([2]), 0.0),
        lambda s: -s,
        lambda s: s.to(torch.int32),
    ],
    ids=range(8),
)
def test_a_damaged_scale_is_refused(made: Callable[[Tensor], Tensor | None]) -> None:
    refuses(lambda: unpack(change("a.weight.scale", made)), "a.weight.scale")


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("a.weight", lambda w: w[None]),
        ("a.weight", lambda w: w.to(torch.int32)),
        ("a.bias", lambda b: b * float("nan")),
        ("a.bias", lambda b: b.to(torch.int8)),
        ("a.bias", lambda b: b.double()),
    ],
    ids=range(5),
)
def test_a_damaged_weight_is_refused(name: str, made: Callable[[Tensor], Tensor]) -> None:
    refuses(lambda: unpack(change(name, made)), name)


def test_what_cannot_be_stored_is_refused() -> None:
    refuses(lambda: pack(weights(), "int4"), "stored_as is 'int4'")
    large = {"w": torch.full((2, 2), 1e5)}
    refuses(lambda: pack(large, "float16"), "w holds", "float16")
    assert pack(large, "bfloat16")["w"].isfinite().all()
    for kind in STORED_AS:
        for bad in (float("nan"), float("inf")):
            refuses(lambda k=kind, b=bad: pack({"w": torch.tensor([[b, 1.0]])}, k), "w")  # type: ignore[misc]
