"""Encoder layers and stacks against PyTorch's own and NumPy; what padding and order may do."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from reference import (
    DTYPES,
    NORMS,
    assert_same,
    assert_same_gradients,
    copy_weights,
    leaf,
    np_encoder_layer,
    quick,
    randomise,
    refuses,
    twin,
)
from scratch.encoder import Encoder, EncoderLayer

pytestmark = pytest.mark.usefixtures("one_thread")

LENGTHS = torch.tensor([5, 3])
MASK = (torch.arange(5) < LENGTHS[:, None])[:, None, None]  # (2, 1, 1, 5), True = may attend


def their_layer(norm: str) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(
        12, 3, 20, dropout=0.0, batch_first=True, norm_first=norm == "pre"
    )


def encoder(norm: str, n_layers: int = 2, dropout: float = 0.0) -> Encoder:
    torch.manual_seed(0)
    ours = Encoder(n_layers, 12, 3, 20, norm=norm, dropout=dropout)
    randomise(ours)
    return ours


def compare(
    ours: nn.Module, theirs: nn.Module, dtype: torch.dtype, mask: Tensor | None, **options: Any
) -> None:
    """Outputs and all gradients of two modules that read one sequence are equal."""
    copy_weights(ours, theirs)
    x = leaf(2, 5, 12, dtype=dtype)
    y = twin(x)
    output, _ = ours(x, mask=mask, **options)
    blocked = None if mask is None else ~mask[:, 0, 0]
    expected = theirs(y, src_key_padding_mask=blocked)
    assert_same(output, expected)
    noise = torch.randn_like(output)
    (output * noise).sum().backward()
    (expected * noise).sum().backward()
    assert_same_gradients(ours, theirs)
    assert x.grad is not None
    assert y.grad is not None
    assert_same(x.grad, y.grad, "gradient of x")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("mask", [None, MASK], ids=["unmasked", "padding"])
@pytest.mark.parametrize("need_weights", [True, False])
def test_layer_equals_pytorch(
    dtype: torch.dtype, norm: str, mask: Tensor | None, need_weights: bool
) -> None:
    torch.manual_seed(0)
    ours = randomise(EncoderLayer(12, 3, 20, norm=norm).to(dtype))
    compare(ours, their_layer(norm).to(dtype), dtype, mask, need_weights=need_weights)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("mask", [None, MASK], ids=["unmasked", "padding"])
@pytest.mark.parametrize("train", [True, False])
def test_stack_equals_pytorch(
    dtype: torch.dtype, norm: str, mask: Tensor | None, train: bool
) -> None:
    final = nn.LayerNorm(12) if norm == "pre" else None
    theirs = nn.TransformerEncoder(their_layer(norm), 3, final, enable_nested_tensor=False)
    compare(encoder(norm, 3).to(dtype).train(train), theirs.to(dtype).train(train), dtype, mask)


@pytest.mark.parametrize("norm", NORMS)
def test_layer_equals_numpy(norm: str) -> None:
    torch.manual_seed(0)
    layer = EncoderLayer(12, 3, 20, norm=norm).double()
    randomise(layer)
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    output, _ = layer(x, mask=MASK)
    for b in range(2):
        mask = MASK[b, 0].expand(5, 5).numpy()
        expected = np_encoder_layer(x[b].numpy(), layer, mask)
        np.testing.assert_allclose(output[b].detach(), expected, atol=1e-12)


@quick
@given(seed=st.integers(0, 999), extra=st.integers(1, 4), norm=st.sampled_from(NORMS))
def test_padding_changes_nothing(seed: int, extra: int, norm: str) -> None:
    ours = encoder(norm).double()
    torch.manual_seed(seed)
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    longer = torch.cat((x, 1e3 * torch.randn(2, extra, 12, dtype=torch.float64)), dim=1)
    mask = torch.ones(2, 1, 1, 5 + extra, dtype=torch.bool)
    mask[..., 5:] = False
    assert_same(ours(longer, mask=mask)[0][:, :5], ours(x)[0])


@quick
@given(seed=st.integers(0, 999), norm=st.sampled_from(NORMS))
def test_without_positions_the_encoder_is_permutation_equivariant(seed: int, norm: str) -> None:
    ours = encoder(norm).double()
    torch.manual_seed(seed)
    x, order = torch.randn(2, 5, 12, dtype=torch.float64), torch.randperm(5)
    assert_same(ours(x[:, order])[0], ours(x)[0][:, order])


@pytest.mark.parametrize("norm", NORMS)
def test_weights_come_per_layer_and_change_nothing(norm: str) -> None:
    ours = encoder(norm)
    x = torch.randn(2, 5, 12)
    output, weights = ours(x, mask=MASK, need_weights=True)
    without, none = ours(x, mask=MASK)
    assert_same(output, without)
    assert none == [None, None]
    assert len(weights) == 2
    for layer in weights:
        assert layer is not None
        assert layer.shape == (2, 3, 5, 5)
        torch.testing.assert_close(layer.sum(dim=-1), torch.ones(2, 3, 5))


@pytest.mark.parametrize("norm", NORMS)
def test_a_sequence_without_a_batch_is_read_as_a_batch_of_one(norm: str) -> None:
    ours, x = encoder(norm).double(), torch.randn(5, 12, dtype=torch.float64)
    assert_same(ours(x)[0], ours(x[None])[0][0])


def test_only_pre_norm_ends_in_a_norm_of_its_own() -> None:
    post, pre = (sum(p.numel() for p in encoder(norm).parameters()) for norm in NORMS)
    assert pre - post == 2 * 12


@pytest.mark.parametrize("norm", NORMS)
def test_dropout_is_active_only_in_training(norm: str) -> None:
    ours = encoder(norm, dropout=0.3)
    x = torch.randn(2, 5, 12)
    assert not torch.equal(ours(x)[0], ours(x)[0])
    ours.eval()
    assert torch.equal(ours(x)[0], ours(x)[0])


def test_dropout_reaches_every_part_of_every_layer() -> None:
    for layer in encoder("post", dropout=0.3).layers:
        assert isinstance(layer, EncoderLayer)
        shares = {name: part.p for name, part in layer.named_modules() if hasattr(part, "p")}
        names = ("residual_1", "feed_forward", "residual_2")
        assert shares == {f"{name}.dropout": 0.3 for name in names}
        assert layer.self_attention.dropout == 0.3


LAYER = {norm: EncoderLayer(4, 2, 6, norm=norm) for norm in NORMS}
STACK = Encoder(1, 4, 2, 6)
X = torch.zeros(2, 3, 4)
BAD: list[tuple[Callable[[], object], tuple[str, ...]]] = [
    (lambda: EncoderLayer(5, 2, 6), ("d_model is 5", "n_heads", "2")),
    (lambda: EncoderLayer(4, 2, 0), ("d_ff is 0",)),
    (lambda: EncoderLayer(4, 2, 6, norm="none"), ("norm is 'none'", "'post', 'pre'")),
    (lambda: EncoderLayer(4, 2, 6, dropout=2.0), ("dropout is 2.0",)),
    (lambda: Encoder(0, 4, 2, 6), ("n_layers is 0",)),
    (lambda: Encoder(1.0, 4, 2, 6), ("n_layers is 1.0",)),  # type: ignore[arg-type]
    (lambda: Encoder(1, 5, 2, 6), ("d_model is 5",)),
    (lambda: Encoder(1, 4, 2, 6, norm="PRE"), ("norm is 'PRE'",)),
    (lambda: Encoder(1, 4, 2, 6, dropout=float("nan")), ("dropout is nan",)),
    (lambda: LAYER["pre"](X[..., :3]), ("x has shape (2, 3, 3)",)),
    (lambda: LAYER["post"](X, mask=torch.ones(3, 3)), ("mask has dtype torch.float32",)),
    (
        lambda: STACK(X, mask=torch.ones(2, 1, 1, 4).bool()),
        ("mask", "(2, 1, 1, 4)", "(2, 2, 3, 3)"),
    ),
    (lambda: STACK(X, mask=torch.ones(3, 1, 1, 3).bool()), ("mask has shape (3, 1, 1, 3)",)),
]


@pytest.mark.parametrize(("call", "parts"), BAD)
def test_bad_input_is_named(call: Callable[[], object], parts: tuple[str, ...]) -> None:
    refuses(call, *parts)
