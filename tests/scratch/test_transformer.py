"""The whole model: against PyTorch's, and what must hold of any Transformer."""

import json
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, load_model, save_model
from torch import Tensor, nn

from reference import (
    DTYPES,
    NORMS,
    assert_same,
    assert_same_gradients,
    copy_weights,
    quick,
    randomise,
    refuses,
    torch_logits,
)
from scratch.transformer import (
    DecoderState,
    Transformer,
    TransformerConfig,
    attention_maps,
    count_parameters,
    initialise,
)

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = TransformerConfig(11, 12, 3, 20, 2, 2, dropout=0.0, max_len=16)
SOURCE = torch.tensor([[3, 4, 5, 6, 2], [7, 8, 2, 0, 0]])  # 0 is padding
TARGET = torch.tensor([[1, 9, 3, 4], [1, 5, 5, 0]])


@cache
def model(**changes: Any) -> Transformer:
    """Return a small model in float64, in training mode; tests must leave it as it is."""
    torch.manual_seed(0)
    ours = Transformer(replace(SMALL, **changes)).double()
    randomise(ours)
    return ours


def sentences(seed: int, batch: int, length: int) -> Tensor:
    """Return random ids without padding."""
    return torch.randint(1, 11, (batch, length), generator=torch.Generator().manual_seed(seed))


def padded(ids: Tensor, extra: int) -> Tensor:
    """Return ``ids`` with ``extra`` columns of padding on the right."""
    return F.pad(ids, (0, extra), value=0)


# -- against PyTorch


def their_transformer(norm: str) -> nn.Transformer:
    """Return PyTorch's, with a final LayerNorm in each stack only when pre-norm.

    Left to itself nn.Transformer ends each stack in a LayerNorm in both modes; the paper,
    whose layers already end in one, does not.
    """
    options = {"dropout": 0.0, "batch_first": True, "norm_first": norm == "pre"}
    final = [nn.LayerNorm(12) if norm == "pre" else None for _ in range(2)]
    encoder_layer = nn.TransformerEncoderLayer(12, 3, 20, **options)  # type: ignore[arg-type]
    decoder_layer = nn.TransformerDecoderLayer(12, 3, 20, **options)  # type: ignore[arg-type]
    return nn.Transformer(
        12,
        3,
        custom_encoder=nn.TransformerEncoder(
            encoder_layer, 2, final[0], enable_nested_tensor=False
        ),
        custom_decoder=nn.TransformerDecoder(decoder_layer, 2, final[1]),
        batch_first=True,
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("train", [True, False])
def test_logits_and_gradients_equal_pytorch(dtype: torch.dtype, norm: str, train: bool) -> None:
    torch.manual_seed(0)
    ours = Transformer(replace(SMALL, norm=norm)).to(dtype).train(train)
    randomise(ours)
    theirs = their_transformer(norm).to(dtype).train(train)
    copy_weights(ours, theirs)
    table = ours.output.weight.detach().clone().requires_grad_()
    logits = ours(SOURCE, TARGET)
    expected = torch_logits(ours, theirs, table, SOURCE, TARGET)
    assert_same(logits, expected)
    # the loss of training: padding is scored nowhere
    labels = torch.where(TARGET.roll(-1, 1) == 0, -100, TARGET.roll(-1, 1)).flatten()
    F.cross_entropy(logits.flatten(0, 1), labels).backward()
    F.cross_entropy(expected.flatten(0, 1), labels).backward()
    assert_same_gradients(ours, theirs)
    # one tied matrix collects the gradients of three uses
    assert ours.output.weight.grad is not None
    assert table.grad is not None
    assert_same(ours.output.weight.grad, table.grad, "gradient of the tied embedding")


# -- time and padding


@quick
@given(
    norm=st.sampled_from(NORMS),
    train=st.booleans(),
    dropout=st.sampled_from([0.0, 0.3]),
    position=st.integers(1, 6),
    seed=st.integers(0, 999),
)
def test_a_future_token_cannot_change_a_past_logit(
    norm: str, train: bool, dropout: float, position: int, seed: int
) -> None:
    ours = model(norm=norm, dropout=dropout).train(train)
    source, target = sentences(seed, 2, 5), sentences(seed + 1, 2, 7)
    other = target.clone()
    other[:, position:] = target[:, position:] % 10 + 1  # every later token is another one
    torch.manual_seed(seed)
    before = ours(source, target)
    torch.manual_seed(seed)  # so that dropout falls on the same places
    after = ours(source, other)
    assert_same(before[:, :position], after[:, :position])
    assert (before[:, position:] - after[:, position:]).abs().max() > 1e-3


@quick
@given(
    norm=st.sampled_from(NORMS),
    train=st.booleans(),
    positions=st.sampled_from(["sinusoidal", "learned"]),
    extra=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    seed=st.integers(0, 999),
)
def test_padding_changes_nothing(
    norm: str, train: bool, positions: str, extra: tuple[int, int], seed: int
) -> None:
    ours = model(norm=norm, positions=positions).train(train)
    source, target = sentences(seed, 2, 5), sentences(seed + 1, 2, 4)
    logits = ours(padded(source, extra[0]), padded(target, extra[1]))
    assert_same(logits[:, :4], ours(source, target))


def test_any_id_may_be_that_of_padding() -> None:
    ours = model(pad_id=9)
    source, target = sentences(0, 2, 5) % 9, sentences(1, 2, 4)
    logits = ours(F.pad(source, (0, 3), value=9), target)
    assert_same(logits, ours(source, target))


def test_each_stack_has_positions_of_its_own() -> None:
    ours = Transformer(replace(SMALL, positions="learned")).eval()
    memory, logits = ours.encode(SOURCE)[0], ours(SOURCE, TARGET)
    with torch.no_grad():
        ours.target_positions.table.add_(torch.randn(12))
    assert torch.equal(ours.encode(SOURCE)[0], memory)
    assert not torch.equal(ours(SOURCE, TARGET), logits)
    with torch.no_grad():
        ours.source_positions.table.add_(torch.randn(12))
    assert not torch.equal(ours.encode(SOURCE)[0], memory)


def test_a_sentence_is_scored_the_same_alone_and_in_a_batch() -> None:
    ours = model()
    together = ours(SOURCE, TARGET)
    assert_same(together[1:, :3], ours(SOURCE[1:, :3], TARGET[1:, :3]))


def test_a_source_of_nothing_but_padding_does_no_harm() -> None:
    torch.manual_seed(0)
    ours = Transformer(SMALL)
    logits = ours(torch.zeros_like(SOURCE), TARGET)
    logits.sum().backward()
    assert logits.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in ours.parameters())


@quick
@given(
    norm=st.sampled_from(NORMS),
    positions=st.sampled_from(["sinusoidal", "learned"]),
    pieces=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    seed=st.integers(0, 999),
)
def test_cached_decoding_equals_uncached_in_any_pieces(
    norm: str, positions: str, pieces: list[int], seed: int
) -> None:
    ours = model(norm=norm, positions=positions).eval()
    source, target = padded(sentences(seed, 2, 5), 2), sentences(seed + 1, 2, sum(pieces))
    state = ours.start(source)
    hidden = torch.cat([ours.decode(part, state)[0] for part in target.split(pieces, 1)], dim=1)
    assert state.length == sum(pieces)
    assert_same(ours.output.logits(hidden), ours(source, target))


def test_selected_rows_go_on_as_if_they_had_been_alone() -> None:
    ours = model().eval()
    state = ours.start(SOURCE)
    ours.decode(TARGET[:, :3], state)
    rows = torch.tensor([1, 1, 0])
    chosen = state.select(rows)
    hidden, *_ = ours.decode(TARGET[rows, 3:], chosen)
    assert_same(ours.output.logits(hidden), ours(SOURCE[rows], TARGET[rows])[:, 3:])
    assert (chosen.length, state.length) == (4, 3)
    # the state that was selected from can still go on
    hidden, *_ = ours.decode(TARGET[:, 3:], state)
    assert_same(ours.output.logits(hidden), ours(SOURCE, TARGET)[:, 3:])


# -- weights


def test_tied_embeddings_are_one_matrix_whose_gradients_add_up() -> None:
    tied, untied = Transformer(SMALL).double(), Transformer(replace(SMALL, tie_embeddings=False))
    names = ("source_embedding", "target_embedding", "output")
    assert len({getattr(tied, name).weight.data_ptr() for name in names}) == 1
    assert len({getattr(untied, name).weight.data_ptr() for name in names}) == 3
    untied = untied.double()
    untied.load_state_dict(tied.state_dict())  # three copies of the one matrix
    a, b = tied(SOURCE, TARGET), untied(SOURCE, TARGET)
    assert torch.equal(a, b)
    weights = torch.randn_like(a)
    (a * weights).sum().backward()
    (b * weights).sum().backward()
    summed = torch.stack([getattr(untied, name).weight.grad for name in names]).sum(dim=0)
    assert tied.output.weight.grad is not None
    assert_same(tied.output.weight.grad, summed, "gradient of the tied embedding")


def by_hand(c: TransformerConfig) -> int:
    """Count the parameters of ``c`` from the shapes in the paper."""
    attention = 4 * (c.d_model * c.d_model + c.d_model)
    feed_forward = c.d_model * c.d_ff + c.d_ff + c.d_ff * c.d_model + c.d_model
    norm = 2 * c.d_model
    encoder = c.n_encoder_layers * (attention + feed_forward + 2 * norm)
    decoder = c.n_decoder_layers * (2 * attention + feed_forward + 3 * norm)
    tables = (1 if c.tie_embeddings else 3) * c.vocab_size * c.d_model
    positions = 2 * c.max_len * c.d_model if c.positions == "learned" else 0
    return encoder + decoder + tables + positions + (2 * norm if c.norm == "pre" else 0)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("positions", ["sinusoidal", "learned"])
@pytest.mark.parametrize("tie", [True, False])
def test_parameters_can_be_counted_by_hand(norm: str, positions: str, tie: bool) -> None:
    config = TransformerConfig(
        13, 12, 3, 20, 3, 2, max_len=9, norm=norm, positions=positions, tie_embeddings=tie
    )
    assert count_parameters(Transformer(config)) == by_hand(config)


@pytest.mark.parametrize(("name", "millions"), [("base", 63.08), ("big", 214.25)])
def test_parameters_of_the_papers_models(name: str, millions: float) -> None:
    config = TransformerConfig.preset(name)
    with torch.device("meta"):  # shapes without memory
        count = count_parameters(Transformer(config))
    assert count == by_hand(config)
    assert round(count / 1e6, 2) == millions


def test_frozen_parameters_do_not_count() -> None:
    ours = Transformer(SMALL)
    ours.encoder.requires_grad_(False)
    assert count_parameters(ours) == by_hand(SMALL) - sum(
        p.numel() for p in ours.encoder.parameters()
    )


def test_initialise_draws_from_xaviers_uniform_distribution() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(300, 100)
    initialise(linear)
    bound = (6 / 400) ** 0.5
    weight = linear.weight.detach()
    assert weight.abs().max().item() <= bound
    # 30,000 draws: their standard deviation is within 2 % of bound / sqrt(3)
    assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
    assert (linear.bias == 0).all()


def test_every_projection_of_a_model_is_initialised() -> None:
    linears = [m for m in Transformer(SMALL).modules() if isinstance(m, nn.Linear)]
    assert len(linears) == 2 * (4 + 2) + 2 * (8 + 2)
    assert all((linear.bias == 0).all() for linear in linears)


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("positions", ["sinusoidal", "learned"])
def test_weights_survive_safetensors(tmp_path: Path, tie: bool, positions: str) -> None:
    config = replace(SMALL, tie_embeddings=tie, positions=positions)
    ours, other = Transformer(config).eval(), Transformer(config).eval()
    assert not torch.equal(ours(SOURCE, TARGET), other(SOURCE, TARGET))
    path = str(tmp_path / "weights.safetensors")
    save_model(ours, path)
    # what is shared is stored once
    assert sum(w.numel() for w in load_file(path).values()) == count_parameters(ours)
    load_model(other, path)
    assert torch.equal(ours(SOURCE, TARGET), other(SOURCE, TARGET))


@pytest.mark.parametrize("assign", [True, False])
@pytest.mark.parametrize("positions", ["sinusoidal", "learned"])
def test_a_model_made_without_memory_is_whole_when_its_weights_are_loaded(
    assign: bool, positions: str
) -> None:
    config = replace(SMALL, positions=positions)
    ours = Transformer(config).eval()
    with torch.device("meta"):
        other = Transformer(config).eval()
    if not assign:
        other = other.to_empty(device="cpu")
        for buffer in other.buffers():
            buffer.fill_(7.0)  # what memory happens to hold
    other.load_state_dict(ours.state_dict(), assign=assign)
    assert torch.equal(other(SOURCE, TARGET), ours(SOURCE, TARGET))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_model_can_be_quantized_by_pytorch() -> None:
    if torch.backends.quantized.engine == "none":
        pytest.skip("this build of PyTorch has no engine for 8-bit products")
    ours = Transformer(SMALL).eval()
    small = torch.ao.quantization.quantize_dynamic(ours, {nn.Linear})
    linear = small.decoder.layers[0].feed_forward.expand
    assert linear.weight().dtype == torch.qint8
    # 8 bits are 255 steps; a wrong pass differs by the size of the scores, 3 or so
    assert (small(SOURCE, TARGET) - ours(SOURCE, TARGET)).abs().max() < 0.3


# -- the configuration


def test_presets_are_the_papers() -> None:
    base, big = TransformerConfig.preset("base"), TransformerConfig.preset("big")
    assert base == TransformerConfig(37_000, 512, 8, 2048, 6, 6, 0.1)
    assert big == TransformerConfig(37_000, 1024, 16, 4096, 6, 6, 0.3)
    assert base.norm == big.norm == "post"
    assert base.tie_embeddings and big.tie_embeddings


def test_presets_can_be_changed() -> None:
    tiny = TransformerConfig.preset("tiny", vocab_size=100, norm="pre")
    assert (tiny.vocab_size, tiny.norm, tiny.d_model) == (100, "pre", 128)
    assert count_parameters(Transformer(tiny)) == by_hand(tiny)


def test_a_configuration_is_frozen_and_goes_through_json() -> None:
    with pytest.raises(FrozenInstanceError):
        SMALL.d_model = 24  # type: ignore[misc]
    assert TransformerConfig(**json.loads(json.dumps(SMALL.to_dict()))) == SMALL


# -- training and looking inside


@pytest.mark.parametrize("norm", NORMS)
def test_dropout_is_active_only_in_training(norm: str) -> None:
    ours = Transformer(replace(SMALL, norm=norm, dropout=0.3))
    assert not torch.equal(ours(SOURCE, TARGET), ours(SOURCE, TARGET))
    ours.eval()
    assert torch.equal(ours(SOURCE, TARGET), ours(SOURCE, TARGET))


def test_dropout_reaches_both_stacks() -> None:
    ours = Transformer(replace(SMALL, dropout=0.3))
    shares = [part.p for part in ours.modules() if isinstance(part, nn.Dropout)]
    assert shares == [0.3] * (2 * 3 + 2 * 4 + 1)


def test_dropout_falls_on_the_sum_of_embedding_and_position() -> None:
    # Vaswani et al. (2017), section 5.4: in both stacks, besides every sub-layer
    torch.manual_seed(0)
    ours = Transformer(replace(SMALL, dropout=0.5))
    shares = []
    for stack in (ours.encoder, ours.decoder):
        stack.register_forward_pre_hook(
            lambda _, inputs: shares.append((inputs[0] == 0).double().mean().item())
        )
    ours(SOURCE.repeat(20, 1), TARGET.repeat(20, 1))
    # 1,920 draws or more: the share that is zeroed has a standard deviation of 0.011
    assert shares == pytest.approx([0.5, 0.5], abs=0.05)
    ours.eval()(SOURCE, TARGET)
    assert shares[2:] == [0.0, 0.0]


@pytest.mark.parametrize("norm", NORMS)
def test_one_batch_can_be_learned_by_heart(norm: str) -> None:
    torch.manual_seed(0)
    ours = Transformer(TransformerConfig(20, 32, 4, 64, 1, 1, dropout=0.0, max_len=16, norm=norm))
    source, target = sentences(1, 8, 6), sentences(2, 8, 7)
    optimizer = torch.optim.Adam(ours.parameters(), lr=3e-3)
    for _ in range(150):
        logits = ours(source, target[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), target[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.02  # it begins at about log 20 = 3
    assert torch.equal(ours(source, target[:, :-1]).argmax(dim=-1), target[:, 1:])


@pytest.mark.parametrize("norm", NORMS)
def test_attention_maps_show_what_the_masks_let_through(norm: str) -> None:
    maps = attention_maps(model(norm=norm).eval(), SOURCE, TARGET)
    assert [w.shape for w in maps.encoder] == [(2, 3, 5, 5)] * 2
    assert [w.shape for w in maps.decoder] == [(2, 3, 4, 4)] * 2
    assert [w.shape for w in maps.cross] == [(2, 3, 4, 5)] * 2
    for w in (*maps.encoder, *maps.decoder, *maps.cross):
        torch.testing.assert_close(w.sum(dim=-1), torch.ones_like(w[..., 0]))
    for w in (*maps.encoder, *maps.cross):
        assert (w[1, ..., 3:] == 0).all()  # the second source is three tokens long
    assert all((w.triu(1) == 0).all() for w in maps.decoder)


def test_a_model_can_be_exported() -> None:
    # what makes a browser run it later: no check may depend on a traced number
    ours = Transformer(SMALL).eval()
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length", max=SMALL.max_len)
    written = torch.export.Dim("written", max=SMALL.max_len)
    shapes = {"source": {0: batch, 1: length}, "target": {0: batch, 1: written}}
    program = torch.export.export(ours, (SOURCE, TARGET), dynamic_shapes=shapes)
    source, target = sentences(3, 4, 9), sentences(4, 4, 2)
    assert_same(program.module()(source, target), ours(source, target))


def test_autocast_runs_and_stays_close() -> None:
    ours = Transformer(SMALL).eval()
    with torch.autocast("cpu", torch.bfloat16):
        logits = ours(SOURCE, TARGET)
        maps = attention_maps(ours, SOURCE, TARGET)
    # bfloat16 keeps 8 bits: 0.4 % a step
    torch.testing.assert_close(logits.float(), ours(SOURCE, TARGET), atol=0.1, rtol=0.1)
    assert len(maps.cross) == 2


# -- bad input

MODEL = Transformer(SMALL)
S, T = SOURCE, TARGET
LONG = torch.ones(2, 17, dtype=torch.int64)


def config(**changes: Any) -> TransformerConfig:
    return replace(SMALL, **changes)


def state(steps: int = 0) -> DecoderState:
    result = MODEL.start(S)
    if steps:
        MODEL.decode(torch.ones(2, steps, dtype=torch.int64), result)
    return result


NAN = float("nan")
BAD: list[tuple[Callable[[], object], tuple[str, ...]]] = [
    (lambda: config(vocab_size=0), ("vocab_size is 0", "at least 1")),
    (lambda: config(vocab_size=11.0), ("vocab_size is 11.0",)),
    (lambda: config(vocab_size=2), ("eos_id is 2", "from 0 to 1")),
    (lambda: config(d_model=13), ("d_model is 13", "multiple of n_heads", "3")),
    (lambda: config(d_model=9), ("d_model is 9", "multiple of", "2")),
    (lambda: config(d_model=0), ("d_model is 0",)),
    (lambda: config(n_heads=0), ("n_heads is 0",)),
    (lambda: config(n_heads=True), ("n_heads is True",)),
    (lambda: config(d_ff="20"), ("d_ff is '20'",)),
    (lambda: config(n_encoder_layers=0), ("n_encoder_layers is 0",)),
    (lambda: config(n_decoder_layers=-1), ("n_decoder_layers is -1",)),
    (lambda: config(max_len=0), ("max_len is 0",)),
    (lambda: config(dropout=1.0), ("dropout is 1.0",)),
    (lambda: config(dropout=NAN), ("dropout is nan",)),
    (lambda: config(dropout=True), ("dropout is True",)),
    (lambda: config(norm="batch"), ("norm is 'batch'", "'post', 'pre'")),
    (lambda: config(norm=None), ("norm is None",)),
    (lambda: config(positions="rotary"), ("positions is 'rotary'", "'sinusoidal', 'learned'")),
    (lambda: config(tie_embeddings="no"), ("tie_embeddings is a str", "expected a bool")),
    (lambda: config(tie_embeddings=1), ("tie_embeddings is a int",)),
    (lambda: config(pad_id=11), ("pad_id is 11", "from 0 to 10")),
    (lambda: config(pad_id=-1), ("pad_id is -1",)),
    (lambda: config(pad_id=0.0), ("pad_id is 0.0",)),
    (lambda: config(pad_id="0"), ("pad_id is '0'",)),
    (lambda: config(eos_id=0), ("pad_id is 0, bos_id is 1, eos_id is 0", "three different ids")),
    (lambda: config(bos_id=2), ("bos_id is 2, eos_id is 2", "three different ids")),
    (lambda: config(pad_id=1), ("pad_id is 1, bos_id is 1",)),
    (lambda: TransformerConfig.preset("huge"), ("name is 'huge'", "'tiny', 'base', 'big'")),
    (lambda: TransformerConfig.preset(3), ("name is 3",)),  # type: ignore[arg-type]
    (lambda: TransformerConfig.preset("base", d_model=100), ("d_model is 100",)),
    (lambda: MODEL(S[0], T), ("source has shape (5,)", "(batch, length)")),
    (lambda: MODEL(S, T[0]), ("target has shape (4,)", "(batch, length)")),
    (lambda: MODEL(S.float(), T), ("source has dtype torch.float32", "torch.int64")),
    (lambda: MODEL(S, T.float()), ("target has dtype torch.float32",)),
    (lambda: MODEL(S.bool(), T), ("source has dtype torch.bool",)),
    (lambda: MODEL(S + 20, T), ("source holds the id 28", "from 0 to 10")),
    (lambda: MODEL(S, -T), ("target holds the id -9",)),
    (lambda: MODEL(S[:, :0], T), ("source has shape (2, 0)",)),
    (lambda: MODEL(S, T[:, :0]), ("target has shape (2, 0)",)),
    (lambda: MODEL(S[:0], T[:0]), ("source has shape (0, 5)",)),
    (lambda: MODEL(S.numpy(), T), ("source is a ndarray", "torch.Tensor")),
    (lambda: MODEL(S, T.tolist()), ("target is a list",)),
    (lambda: MODEL(S, np.int64(3)), ("target is a int64",)),
    (lambda: MODEL(S[:1], T), ("target has a batch of 2", "source's batch of 1")),
    (lambda: MODEL(S, T[:1]), ("target has a batch of 1", "source's batch of 2")),
    (lambda: MODEL(LONG, T), ("source has 17 positions", "at most 16")),
    (lambda: MODEL(S, LONG), ("target has 17 positions", "at most 16")),
    (lambda: MODEL.encode(LONG), ("source has 17 positions",)),
    (lambda: MODEL.start(S[0]), ("source has shape (5,)",)),
    (lambda: MODEL.hidden(S, T[0]), ("target has shape (4,)",)),
    (lambda: MODEL.decode(T[:1], state()), ("target has a batch of 1", "source's batch of 2")),
    (lambda: MODEL.decode(T, state(14)), ("target has 4 positions after 14", "at most 16")),
    (lambda: MODEL.decode(T[:, 0], state()), ("target has shape (2,)",)),
    (lambda: attention_maps(MODEL, S[0], T), ("source has shape (5,)",)),
    (lambda: attention_maps(MODEL, S, T[:1]), ("target has a batch of 1",)),
]


@pytest.mark.parametrize(("call", "parts"), BAD)
def test_bad_input_is_named(call: Callable[[], object], parts: tuple[str, ...]) -> None:
    refuses(call, *parts)


def test_an_odd_width_is_fine_where_no_sinusoids_are() -> None:
    assert Transformer(config(d_model=9, positions="learned"))(S, T).shape == (2, 4, 11)


def test_a_refused_target_leaves_the_state_as_it_was() -> None:
    here = state(2)
    for bad in (T[:1], T + 20, T[0], LONG):
        with pytest.raises(ValueError, match="target"):
            MODEL.decode(bad, here)
    assert here.length == 2
    assert all(layer.self_keys.shape[2] == 2 for layer in here.cache)
