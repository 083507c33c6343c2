"""The fast step is the taught step: same loss, same gradients; its dropout drops what it says."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from reference import DTYPES, assert_same, refuses
from scratch import attention
from scratch.datasets import Batch, collate, encode_pairs
from scratch.plumbing.fast import step as fast
from scratch.plumbing.fast.step import Dropout, FastLoss, chunked_loss, drop, drop_relu, fast_hidden
from scratch.training import (
    TrainingConfig,
    batch_loss,
    label_smoothed_loss,
    make_optimizer,
    train_step,
)
from scratch.transformer import Transformer
from small import PAIRS, model, tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")

BATCH = collate(encode_pairs(PAIRS, tokenizer()), 0)


def book_model(**changes: Any) -> Transformer:
    return model(vocab_size=len(tokenizer()), max_len=64, **changes)


def gradients(m: Transformer) -> dict[str, Tensor]:
    return {name: p.grad for name, p in m.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "changes",
    [
        {"norm": "pre"},
        {"norm": "post"},
        {"tie_embeddings": False, "positions": "learned"},
        {"n_encoder_layers": 1, "n_decoder_layers": 3, "n_heads": 4},
    ],
)
def test_loss_and_every_gradient_are_those_of_the_taught_step(
    changes: dict[str, Any], dtype: torch.dtype
) -> None:
    taught = book_model(dropout=0.0, dtype=dtype, **changes).train()
    quick = copy.deepcopy(taught)
    a = batch_loss(taught, BATCH, 0.1)
    b = FastLoss()(quick, BATCH, 0.1)
    assert_same(a, b, "loss")
    a.backward()
    b.backward()
    left, right = gradients(taught), gradients(quick)
    assert left.keys() == right.keys() == dict(taught.named_parameters()).keys()
    for name, gradient in left.items():
        assert_same(gradient, right[name], name)


def test_three_updates_lead_to_the_same_weights() -> None:
    """Within what Adam makes of rounding: see the taught step's own test."""
    models = [book_model(dropout=0.0, dtype=torch.float64) for _ in range(2)]
    config = TrainingConfig(steps=3, peak_rate=1e-2, warmup_steps=1)
    losses: tuple[Callable[[Transformer, Batch, float], Tensor], ...] = (batch_loss, FastLoss())
    for m, loss_of in zip(models, losses, strict=True):
        optimizer = make_optimizer(m)
        for group in optimizer.param_groups:
            group["lr"] = 0.01
        for _ in range(3):
            train_step(
                m,
                [BATCH, collate(encode_pairs(PAIRS[:3], tokenizer()), 0)],
                optimizer,
                config,
                loss_of=loss_of,
            )
    for a, b in zip(*(m.parameters() for m in models), strict=True):
        assert (a - b).abs().max() < 1e-6


def test_hidden_states_see_no_future_and_no_padding() -> None:
    m = book_model(dropout=0.0)
    with torch.inference_mode():
        whole = fast_hidden(m, BATCH.source, BATCH.target, Dropout())
        assert_same(whole, m.hidden(BATCH.source, BATCH.target), "hidden")
        for row, (source, target) in enumerate(zip(BATCH.source, BATCH.target, strict=True)):
            source = source[source != 0][None]
            for length in (1, 3):
                alone = fast_hidden(m, source, target[None, :length], Dropout())
                assert_same(alone[0], whole[row, :length], "hidden")


def every_eleventh(like: Tensor, p: float) -> Tensor:
    """Stand in for random numbers: which value is dropped depends on its place alone."""
    kept = torch.arange(like.numel()) % 11 > 0
    return kept.to(like.dtype).view(like.shape) / (1 - p)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_dropout_falls_where_the_taught_step_has_it(
    norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same values dropped, loss and gradients are the same, at all three places."""

    def dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        return x * every_eleventh(x, p) if training and p > 0 else x

    def with_weights(*heads: Tensor, mask: Tensor, dropout: float) -> Tensor:
        return attention.scaled_dot_product_attention(*heads, mask=mask, dropout=dropout)[0]

    monkeypatch.setattr(F, "dropout", dropout)
    monkeypatch.setattr(attention, "fused_attention", with_weights)  # PyTorch's draws by itself
    monkeypatch.setattr(fast, "_kept", every_eleventh)
    p = 0.25  # a quarter is 64 bytes of 256, exactly
    taught = book_model(dropout=p, dtype=torch.float64, norm=norm).train()
    quick = copy.deepcopy(taught)
    a = batch_loss(taught, BATCH, 0.1)
    b = FastLoss(Dropout(p, p, p))(quick, BATCH, 0.1)
    assert abs(a.item() - FastLoss()(quick, BATCH, 0.1).item()) > 1e-3, "something is dropped"
    assert_same(a, b, "loss")
    a.backward()
    b.backward()
    right = gradients(quick)
    for name, gradient in gradients(taught).items():
        assert_same(gradient, right[name], name)


def with_seed(call: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return ``call`` such that it drops the same values every time."""

    def same(*inputs: Tensor) -> Tensor:
        torch.manual_seed(3)
        return call(*inputs)

    return same


@pytest.mark.parametrize("p", [0.0, 0.5])
def test_gradients_written_by_hand_are_those_of_small_differences(p: float) -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, n, 6, dtype=torch.float64) for n in (3, 4, 4))
    mask = torch.ones(2, 1, 1, 4, dtype=torch.bool)
    mask[1, :, :, 2:] = False
    hidden = fast._hidden(mask, 3, query)
    inputs = [x.requires_grad_() for x in (query, key, value)]
    attend = with_seed(lambda q, k, v: fast._Attention.apply(q, k, v, hidden, 2, p))
    assert torch.autograd.gradcheck(attend, inputs)
    x, y = (torch.randn(5, 7, dtype=torch.float64, requires_grad=True) for _ in "xy")
    assert torch.autograd.gradcheck(with_seed(lambda a, b: drop(a, p, b)), [x, y])
    assert torch.autograd.gradcheck(with_seed(lambda a: drop(a, p)), [x])
    assert torch.autograd.gradcheck(with_seed(lambda a: drop_relu(a, p)), [x])


# -- the loss


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("n", [1, 5, 6, 17])
def test_chunks_add_up(n: int, smoothing: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast, "CHUNK", 5)
    torch.manual_seed(0)
    hidden = torch.randn(n, 7, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(11, 7, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(11, (n,))
    results = []
    for loss in (
        label_smoothed_loss(hidden @ weight.T, labels, smoothing),
        chunked_loss(hidden, weight, labels, smoothing),
    ):
        # times 3, so that the gradient that comes in is not 1
        results.append((loss, *torch.autograd.grad(3 * loss, (hidden, weight))))
    for a, b, name in zip(*results, ("loss", "hidden", "weight"), strict=True):
        assert_same(a, b, name)


def test_large_scores_overflow_nowhere() -> None:
    hidden = torch.tensor([[1e4, -1e4]], requires_grad=True)
    loss = chunked_loss(hidden, torch.eye(2), torch.tensor([1]), 0.1)
    loss.backward()
    assert loss.isfinite()
    assert hidden.grad is not None
    assert hidden.grad.isfinite().all()


def test_nothing_to_predict_is_refused() -> None:
    refuses(
        lambda: chunked_loss(torch.ones(0, 2), torch.eye(2), torch.tensor([]).long(), 0.1), "labels"
    )


# -- dropout


def test_bytes_drop_as_many_values_as_they_should() -> None:
    torch.manual_seed(0)
    x = torch.ones(1000, 999)
    for p in (0.1, 0.3, 0.5, 0.9):
        y = drop(x, p)
        exact = round(256 * p) / 256
        assert (y == 0).float().mean().item() == pytest.approx(exact, abs=0.002)
        assert y.unique().tolist() == pytest.approx([0.0, 1 / (1 - exact)], abs=1e-4)
        assert y.mean().item() == pytest.approx(1.0, abs=0.01)
    assert drop(x, 0.0) is x


def test_what_is_dropped_has_no_gradient() -> None:
    torch.manual_seed(0)
    x = torch.ones(7, 5, dtype=torch.float64, requires_grad=True)
    y = drop(x, 0.5)
    (2 * y).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, 2 * y)


def test_a_residual_is_added_and_a_relu_taken_on_the_way() -> None:
    torch.manual_seed(0)
    x, output = torch.randn(2, 40, 9)
    for p in (0.0, 0.3):
        plain, added, cut = (with_seed(f)(output) for f in (
            lambda o, p=p: drop(o, p), lambda o, p=p: drop(o, p, x), lambda o, p=p: drop_relu(o, p)
        ))  # fmt: skip
        assert_same(added, x + plain)
        assert_same(cut, plain.relu())


def test_the_seed_decides_and_neighbours_do_not_fall_together() -> None:
    def once(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return drop(torch.ones(100_000), 0.5) == 0

    assert torch.equal(once(1), once(1))
    gone = once(1)
    assert not torch.equal(gone, once(2))
    for distance in (1, 2, 7, 8, 9):
        both = (gone[distance:] & gone[:-distance]).float().mean().item()
        assert both == pytest.approx(0.25, abs=0.01)


def test_each_probability_works_where_it_should() -> None:
    m = book_model(dropout=0.0)
    still = FastLoss()(m, BATCH, 0.1)
    for name in ("residual", "attention", "hidden"):
        torch.manual_seed(0)
        assert not torch.allclose(FastLoss(Dropout(**{name: 0.5}))(m, BATCH, 0.1), still)
    refuses(lambda: Dropout(residual=1.0), "residual is 1.0")
    refuses(lambda: Dropout(hidden=-0.1), "hidden is -0.1")


def test_in_bfloat16_the_step_is_nearly_the_same() -> None:
    """Products in bfloat16 keep the loss to some per mille and the direction of its gradient."""
    torch.manual_seed(0)
    m = model(dropout=0.0).train()
    ids = torch.randint(4, m.config.vocab_size, (6, 9))
    batch = Batch(ids, ids[:, :-1], ids[:, 1:])
    losses, gradients = [], []
    for enabled in (False, True):
        m.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = FastLoss()(m, batch, 0.1)
        loss.backward()
        assert loss.dtype == torch.float32
        losses.append(loss.item())
        found = [p.grad.flatten() for p in m.parameters() if p.grad is not None]
        assert all(g.dtype == torch.float32 for g in found)
        gradients.append(torch.cat(found))
    assert losses[1] == pytest.approx(losses[0], rel=5e-3)
    assert losses[1] != losses[0]
    assert torch.cosine_similarity(gradients[0], gradients[1], dim=0) > 0.999
