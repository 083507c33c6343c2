"""Training: the loss against PyTorch's, rates against the paper's, steps that can be repeated."""

import copy
import dataclasses
import itertools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from reference import DTYPES, assert_same, quick, refuses
from scratch.datasets import Batch, Example, collate, encode_pairs
from scratch.training import (
    StepRecord,
    TrainingConfig,
    batch_loss,
    count_tokens,
    endless_batches,
    inverse_sqrt_rate,
    label_smoothed_loss,
    linear_rate,
    make_optimizer,
    train,
    train_step,
    training_steps,
)
from scratch.transformer import Transformer
from small import PAIRS, model, tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")


def book_model(**changes: Any) -> Transformer:
    return model(vocab_size=len(tokenizer()), max_len=48, **changes)


def examples() -> list[Example]:
    return encode_pairs(PAIRS, tokenizer(), max_len=48)


def weights(m: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in m.parameters()]


def same(left: list[Tensor], right: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


# -- the loss


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5, 0.999])
def test_loss_and_gradient_equal_pytorch(smoothing: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    ours = (3 * torch.randn(7, 11, dtype=dtype)).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    labels = torch.randint(11, (7,))
    a = label_smoothed_loss(ours, labels, smoothing)
    b = F.cross_entropy(theirs, labels, label_smoothing=smoothing)
    assert_same(a, b, "loss")
    a.backward()
    b.backward()
    assert ours.grad is not None
    assert theirs.grad is not None
    assert_same(ours.grad, theirs.grad, "gradient")


def test_loss_by_hand() -> None:
    logits = torch.tensor([[math.log(0.5), math.log(0.25), math.log(0.25)]])
    assert label_smoothed_loss(logits, torch.tensor([0])).item() == pytest.approx(math.log(2))
    # the right token is asked to have 0.7 + 0.3/3, the others 0.3/3 each
    expected = 0.8 * math.log(2) + 2 * 0.1 * math.log(4)
    assert label_smoothed_loss(logits, torch.tensor([0]), 0.3).item() == pytest.approx(expected)


def test_large_logits_overflow_nowhere() -> None:
    logits = torch.tensor([[1e4, -1e4, 0.0]])
    assert label_smoothed_loss(logits, torch.tensor([0]), 0.1).isfinite()
    assert label_smoothed_loss(logits, torch.tensor([1])).item() == pytest.approx(2e4)


def test_the_smoothed_loss_is_least_at_the_smoothed_distribution() -> None:
    smoothing, size = 0.2, 5
    wanted = torch.full((size,), smoothing / size)
    wanted[3] += 1 - smoothing
    logits = wanted.log()[None].requires_grad_()
    label_smoothed_loss(logits, torch.tensor([3]), smoothing).backward()
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-6


def test_bad_arguments_of_the_loss_are_named() -> None:
    logits, labels = torch.zeros(2, 3), torch.tensor([0, 1])
    # PyTorch would gather the first labels' scores, and broadcast a single one's
    refuses(lambda: label_smoothed_loss(logits, labels[:1]), "labels holds 1", "logits, 2")
    for wrong in (labels + 2, labels - 1, labels.float()):
        with pytest.raises((RuntimeError, IndexError)):
            label_smoothed_loss(logits, wrong)
    for smoothing in (1.0, -0.1, math.nan, "0.1", None):
        refuses(lambda s=smoothing: label_smoothed_loss(logits, labels, s), "smoothing")  # type: ignore[misc]


# -- rates


@pytest.mark.parametrize("step", [1, 2, 399, 4_000, 4_001, 100_000])
def test_the_papers_rate(step: int) -> None:
    d_model, warmup = 512, 4_000
    paper = d_model**-0.5 * min(step**-0.5, step * warmup**-1.5)
    peak = (d_model * warmup) ** -0.5
    assert inverse_sqrt_rate(step, peak, warmup) == pytest.approx(paper, rel=1e-12)


@quick
@given(st.integers(1, 60), st.integers(1, 200))
def test_rates_rise_to_their_peak_and_then_fall(warmup: int, steps: int) -> None:
    for rates in (
        [inverse_sqrt_rate(n, 0.5, warmup) for n in range(1, steps + 1)],
        [linear_rate(n, 0.5, warmup, steps) for n in range(1, steps + 1)],
    ):
        assert all(0 < rate <= 0.5 for rate in rates)
        rising, falling = rates[:warmup], rates[warmup - 1 :]
        assert all(a < b for a, b in itertools.pairwise(rising))
        assert all(a >= b for a, b in itertools.pairwise(falling))
        if steps >= warmup:
            assert rates[warmup - 1] == 0.5


def test_the_linear_rate_ends_near_zero_and_stays_there() -> None:
    assert linear_rate(1_000, 1.0, 100, 1_000) == pytest.approx(1 / 900)
    assert linear_rate(1_001, 1.0, 100, 1_000) == 0.0
    assert linear_rate(5_000, 1.0, 100, 1_000) == 0.0
    assert linear_rate(550 + 1, 1.0, 100, 1_000) == pytest.approx(0.5)


def test_a_config_picks_its_schedule() -> None:
    config = TrainingConfig(steps=50, peak_rate=0.2, warmup_steps=10)
    assert config.rate(40) == inverse_sqrt_rate(40, 0.2, 10) == pytest.approx(0.1)
    config = dataclasses.replace(config, schedule="linear")
    assert config.rate(40) == linear_rate(40, 0.2, 10, 50)


def test_bad_arguments_of_rates_are_named() -> None:
    for step in (0, -1, 1.5, None):
        for schedule in ("inverse_sqrt", "linear"):
            config = TrainingConfig(steps=9, schedule=schedule)
            refuses(lambda s=step, c=config: c.rate(s), "step", repr(step))  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("steps", 1.5),
        ("steps", "10"),
        ("max_tokens", 0),
        ("accumulate", 0),
        ("accumulate", 2.0),
        ("peak_rate", 0.0),
        ("peak_rate", math.nan),
        ("peak_rate", math.inf),
        ("peak_rate", "1e-3"),
        ("warmup_steps", 0),
        ("schedule", "cosine"),
        ("schedule", None),
        ("label_smoothing", 1.0),
        ("label_smoothing", -0.1),
        ("clip_norm", 0.0),
        ("clip_norm", -1.0),
        ("seed", -1),
        ("seed", 2**32),
        ("seed", 1.0),
        ("seed", None),
    ],
)
def test_a_bad_config_is_named(name: str, value: Any) -> None:
    refuses(lambda: TrainingConfig(**{"steps": 10, name: value}), name, repr(value))


def test_a_config_does_not_change_and_is_json() -> None:
    config = TrainingConfig(steps=10)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.steps = 11  # type: ignore[misc]
    assert TrainingConfig(**config.to_dict()) == config


# -- one step


CONFIG = TrainingConfig(steps=12, max_tokens=60, peak_rate=1e-2, warmup_steps=3, seed=4)


def test_a_step_is_pytorchs_adam_on_pytorchs_loss() -> None:
    ours = book_model(dtype=torch.float64)
    theirs = copy.deepcopy(ours)
    batch = collate(examples(), 0)
    adam = make_optimizer(ours)
    reference = torch.optim.Adam(theirs.parameters(), lr=0.01, betas=(0.9, 0.98), eps=1e-9)
    for group in adam.param_groups:
        group["lr"] = 0.01
    for _ in range(3):
        loss, norm = train_step(ours, [batch], adam, CONFIG, loss_of=batch_loss)
        logits = theirs(batch.source, batch.target).flatten(0, 1)
        expected = F.cross_entropy(
            logits, batch.labels.flatten(), ignore_index=0, label_smoothing=0.1
        )
        reference.zero_grad()
        expected.backward()
        total = nn.utils.clip_grad_norm_(theirs.parameters(), CONFIG.clip_norm)
        reference.step()
        assert loss == pytest.approx(expected.item(), abs=1e-10)
        assert norm == pytest.approx(total.item(), abs=1e-10)
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            # Adam divides by the root of a square: a gradient of 1e-12 is worth a whole step
            assert (a - b).abs().max() < 1e-6


def test_gradients_are_clipped() -> None:
    m = book_model()
    config = dataclasses.replace(CONFIG, clip_norm=0.01)
    _, norm = train_step(m, [collate(examples(), 0)], make_optimizer(m), config, loss_of=batch_loss)
    assert norm > 0.01  # what is reported is the norm before
    clipped = torch.stack([p.grad.norm() for p in m.parameters() if p.grad is not None]).norm()
    assert clipped.item() == pytest.approx(0.01, rel=1e-3)


def test_padding_changes_neither_loss_nor_gradient() -> None:
    batch = collate(examples()[:3], 0)
    pad = torch.zeros(3, 5, dtype=torch.int64)
    wider = Batch(*(torch.cat((t, pad), dim=1) for t in (batch.source, batch.target, batch.labels)))
    results = []
    for each in (batch, wider):
        m = book_model(dtype=torch.float64)
        loss, norm = train_step(m, [each], make_optimizer(m), CONFIG, loss_of=batch_loss)
        results.append((loss, norm, [p.grad for p in m.parameters()]))
    (loss, norm, gradients), (wide_loss, wide_norm, wide_gradients) = results
    assert loss == pytest.approx(wide_loss, abs=1e-12)
    assert norm == pytest.approx(wide_norm, abs=1e-12)
    for a, b in zip(gradients, wide_gradients, strict=True):
        assert a is not None
        assert b is not None
        assert_same(a, b, "gradient")


@pytest.mark.parametrize("damage", [math.nan, math.inf])
def test_a_loss_that_is_no_number_changes_nothing(damage: float) -> None:
    m = book_model()
    with torch.no_grad():
        next(iter(m.parameters()))[5, 0] = damage
    before = weights(m)
    batch = collate([Example([5, 2], [1, 5, 2])], 0)
    refuses(
        lambda: train_step(m, [batch], make_optimizer(m), CONFIG, loss_of=batch_loss), "loss is"
    )
    assert same([w.nan_to_num() for w in before], [w.nan_to_num() for w in weights(m)])


def test_a_gradient_that_is_no_number_changes_nothing() -> None:
    m = book_model()
    parameter = next(iter(m.parameters()))
    parameter.register_hook(lambda g: g * math.inf)
    before = weights(m)
    batch = collate(examples(), 0)
    refuses(
        lambda: train_step(m, [batch], make_optimizer(m), CONFIG, loss_of=batch_loss),
        "gradient norm is",
    )
    assert same(before, weights(m))


def test_a_batch_with_nothing_to_predict_is_refused() -> None:
    m = book_model()
    ids = torch.ones(2, 3, dtype=torch.int64)
    with pytest.raises(ValueError, match="parts hold nothing to predict"):
        train_step(m, [Batch(ids, ids, ids * 0)], make_optimizer(m), CONFIG, loss_of=batch_loss)
    with pytest.raises(RuntimeError, match="out of bounds"):
        train_step(m, [Batch(ids, ids, ids * 999)], make_optimizer(m), CONFIG, loss_of=batch_loss)


def test_parts_add_up_to_the_whole() -> None:
    """Three uneven parts give the loss, the gradient and the step of one batch."""
    results = []
    for cuts in ([8], [1, 5, 8]):
        m = book_model(dtype=torch.float64)
        parts = [collate(examples()[a:b], 0) for a, b in itertools.pairwise([0, *cuts])]
        loss, norm = train_step(m, parts, make_optimizer(m), CONFIG, loss_of=batch_loss)
        results.append((loss, norm, [p.grad for p in m.parameters()]))
    (loss, norm, gradients), (sum_loss, sum_norm, sum_gradients) = results
    assert loss == pytest.approx(sum_loss, abs=1e-12)
    assert norm == pytest.approx(sum_norm, abs=1e-12)
    for a, b in zip(gradients, sum_gradients, strict=True):
        assert a is not None
        assert b is not None
        assert_same(a, b, "gradient")


def test_a_step_of_no_parts_is_refused() -> None:
    m = book_model()
    refuses(
        lambda: train_step(m, [], make_optimizer(m), CONFIG, loss_of=batch_loss),
        "parts hold nothing",
    )


# -- a run


def test_epochs_are_counted_and_shuffled_anew() -> None:
    plan = list(itertools.islice(endless_batches(examples(), CONFIG), 40))
    numbers = [epoch for epoch, _ in plan]
    assert numbers == sorted(numbers)
    assert numbers[0] == 1
    assert set(numbers) == set(range(1, numbers[-1] + 1))
    first = [b.source.tolist() for e, b in plan if e == 1]
    second = [b.source.tolist() for e, b in plan if e == 2]
    assert first != second


def test_batches_are_accumulated() -> None:
    config = dataclasses.replace(CONFIG, accumulate=3, steps=5)
    records = list(train(book_model(), examples(), config))
    single = [
        int((b.labels != 0).sum())
        for _, b in itertools.islice(endless_batches(examples(), CONFIG), 15)
    ]
    assert [r.tokens for r in records] == [sum(single[n : n + 3]) for n in range(0, 15, 3)]


def test_a_run_that_diverges_says_where_and_what_to_try() -> None:
    m = book_model()
    run = train(m, examples(), CONFIG)
    assert [next(run).step for _ in range(4)] == [1, 2, 3, 4]
    with torch.no_grad():
        dict(m.named_parameters())["decoder.final_norm.shift"].fill_(math.nan)
    before = weights(m)
    refuses(
        lambda: next(run), "step 5, epoch ", "batch (", "loss is nan", "lower peak_rate", "warmup"
    )
    assert same([w.nan_to_num() for w in before], [w.nan_to_num() for w in weights(m)])


def test_records_say_what_happened() -> None:
    m = book_model()
    records = list(train(m, examples(), CONFIG))
    assert [r.step for r in records] == list(range(1, 13))
    assert [r.rate for r in records] == [CONFIG.rate(n) for n in range(1, 13)]
    assert all(isinstance(r, StepRecord) and r.tokens > 0 and r.grad_norm > 0 for r in records)
    per_epoch = sum(len(e.target) - 1 for e in examples())
    assert sum(r.tokens for r in records if r.epoch == 1) == per_epoch
    assert m.training


def test_a_run_can_be_repeated_and_another_seed_is_another_run() -> None:
    def run(seed: int) -> list[Tensor]:
        m = book_model()
        list(train(m, examples(), dataclasses.replace(CONFIG, seed=seed)))
        return weights(m)

    assert same(run(4), run(4))
    assert not same(run(4), run(5))


def test_the_global_random_state_before_a_run_does_not_matter() -> None:
    results = []
    for state in (1, 2):
        m = book_model()
        torch.manual_seed(state)
        list(train(m, examples(), CONFIG))
        results.append(weights(m))
    assert same(*results)


@pytest.mark.parametrize(("start", "accumulate"), [(1, 1), (5, 2), (11, 1), (12, 1)])
def test_a_resumed_run_ends_with_the_very_same_weights(start: int, accumulate: int) -> None:
    config = dataclasses.replace(CONFIG, accumulate=accumulate)
    whole = book_model()
    expected = list(train(whole, examples(), config))

    first = book_model()
    optimizer = make_optimizer(first)
    records = list(itertools.islice(train(first, examples(), config, optimizer=optimizer), start))
    saved = copy.deepcopy((first.state_dict(), optimizer.state_dict()))

    second = book_model(seed=99)
    optimizer = make_optimizer(second)
    second.load_state_dict(saved[0])
    optimizer.load_state_dict(saved[1])
    torch.manual_seed(0)
    records += train(second, examples(), config, optimizer=optimizer, start=start)

    assert same(weights(whole), weights(second))
    assert records == expected


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_one_batch_can_be_learnt_by_heart(norm: str) -> None:
    m = model(vocab_size=len(tokenizer()), max_len=48, norm=norm, d_model=32, d_ff=64, dropout=0.0)
    config = TrainingConfig(
        steps=150,
        max_tokens=10_000,
        peak_rate=1e-2,
        warmup_steps=20,
        schedule="linear",
        label_smoothing=0.0,
    )
    *_, last = train(m, examples()[:4], config)
    assert last.loss < 0.01
    batch = collate(examples()[:4], 0)
    real = batch.labels != 0
    assert torch.equal(m.eval()(batch.source, batch.target).argmax(-1)[real], batch.labels[real])


def test_a_model_with_another_padding_trains_alike() -> None:
    """Ids 0 and 3 change places, in the examples, the embedding and the configuration."""
    plain, other = book_model(), book_model(pad_id=3)
    with torch.no_grad():
        swapped = other.source_embedding.weight
        swapped[[0, 3]] = swapped[[3, 0]]
    renamed = [
        Example(*([0 if i == 3 else i for i in ids] for ids in (e.source, e.target)))
        for e in examples()
    ]
    rows = zip(train(plain, examples(), CONFIG), train(other, renamed, CONFIG), strict=True)
    for ours, theirs in rows:
        assert ours.tokens == theirs.tokens
        assert ours.loss == pytest.approx(theirs.loss, rel=1e-4)


def test_no_two_steps_of_two_seeds_draw_the_same_dropout() -> None:
    found = []

    def loss_of(m: Transformer, batch: Batch, smoothing: float) -> Tensor:
        found.append(torch.initial_seed())
        return batch_loss(m, batch, smoothing)

    for seed in (0, 1, 2):
        config, m = dataclasses.replace(CONFIG, seed=seed, steps=3), book_model()
        stream = endless_batches(examples(), config)
        list(training_steps(m, [stream], make_optimizer(m), config, loss_of=loss_of))
    assert len(set(found)) == 9


def test_several_streams_make_one_step() -> None:
    config = dataclasses.replace(CONFIG, accumulate=2, steps=1)
    streams = [endless_batches(examples()[a:b], config) for a, b in ((0, 4), (4, 8))]
    expected = [
        count_tokens(batch, 0)
        for a, b in ((0, 4), (4, 8))
        for _, batch in itertools.islice(endless_batches(examples()[a:b], config), 2)
    ]
    m = book_model()
    (record,) = training_steps(m, streams, make_optimizer(m), config, loss_of=batch_loss)
    assert record.tokens == sum(expected)


def test_a_look_between_two_steps_changes_nothing() -> None:
    looked_at, other = book_model(dropout=0.5), book_model(dropout=0.5)
    for _ in train(looked_at, examples(), CONFIG):
        looked_at.eval()
        torch.rand(5)
    list(train(other, examples(), CONFIG))
    assert other.training  # it was not when the run began
    assert same(weights(looked_at), weights(other))


def test_batches_go_where_the_model_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def first_batch(m: Transformer, streams: Any, *_: Any, **__: Any) -> Any:
        return next(streams[0])

    monkeypatch.setattr("scratch.training.training_steps", first_batch)
    found: Any = train(book_model().to("meta"), examples(), CONFIG)  # a device without memory
    batch = found[1]
    assert [t.device.type for t in (batch.source, batch.target, batch.labels)] == ["meta"] * 3


def test_bad_arguments_of_a_run_are_named() -> None:
    m = book_model()
    refuses(lambda: next(train(m, [], CONFIG)), "examples is empty")
    refuses(lambda: next(train(m, examples(), CONFIG, start=-1)), "start is -1")
    refuses(lambda: next(train(m, [Example([2] * 49, [1, 2])], CONFIG)), "source has 49", "48")
    assert list(train(m, examples(), CONFIG, start=99)) == []


def test_a_step_computes_on_one_thread_and_gives_the_callers_number_back() -> None:
    """Two threads of one process wait for each other by spinning when a core is busy."""
    seen, m = [], book_model()

    def loss_of(m: Transformer, batch: Batch, smoothing: float) -> Tensor:
        seen.append(torch.get_num_threads())
        return batch_loss(m, batch, smoothing)

    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        batch = collate(examples()[:2], pad_id=0)
        train_step(m, [batch], make_optimizer(m), CONFIG, loss_of=loss_of)
        after = torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
    assert seen == [1] and after == 3
