"""The language model: parts against references, its properties for every switch."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from reference import NORMS, assert_same, leaf, quick, randomise, refuses, twin
from scratch.attention import MultiHeadAttention, causal_mask
from scratch.datasets import Batch, Example, collate
from scratch.feedforward import FeedForward
from scratch.language_model import (
    CausalBlock,
    CausalSelfAttention,
    KeyValueCache,
    LanguageModel,
    LanguageModelConfig,
    Vocabulary,
    generate,
    language_loss,
    make_feed_forward,
    make_norm,
    make_residual,
)
from scratch.residual import LayerNorm
from scratch.variants import GatedFeedForward, RMSNorm, grouped_attention, rotate

pytestmark = pytest.mark.usefixtures("one_thread")

SIZES: dict[str, Any] = {
    "d_model": 12,
    "n_heads": 6,
    "n_kv_heads": 6,
    "d_ff": 18,
    "n_layers": 2,
    "max_len": 24,
}
ALL: dict[str, Any] = {
    "norm": "pre",
    "norm_kind": "rms",
    "positions": "rotary",
    "feed_forward": "swiglu",
    "n_kv_heads": 2,
}
SWITCHES: dict[str, dict[str, Any]] = {
    "2017": {},
    **{key: {key: value} for key, value in ALL.items()},
    "one head": {"n_kv_heads": 1},
    "all": ALL,
}
each_switch = pytest.mark.parametrize("name", SWITCHES)


def language_model(name: str, *, seed: int = 0, **changes: Any) -> LanguageModel:
    """A tiny random model in float64 whose biases are not 0 and whose scales are not 1."""
    torch.manual_seed(seed)
    config = LanguageModelConfig(9, **{**SIZES, **SWITCHES[name], **changes})
    model = LanguageModel(config).double()
    randomise(model)
    return model


def first_attention(model: LanguageModel) -> CausalSelfAttention:
    block = model.blocks[0]
    assert isinstance(block, CausalBlock)
    return block.attention


def some_ids(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(3, 9, shape, generator=torch.Generator().manual_seed(seed))


# -- attention with a cache


def test_with_as_many_groups_as_heads_it_is_multi_head_attention() -> None:
    torch.manual_seed(0)
    ours, theirs = CausalSelfAttention(12, 3, 3).double(), MultiHeadAttention(12, 3).double()
    randomise(ours)
    theirs.load_state_dict(ours.state_dict())
    x = leaf(2, 5, 12)
    y = twin(x)
    for need_weights in (True, False):
        output, weights = ours(x, ours.start_cache(2), need_weights=need_weights)
        expected, expected_weights = theirs(y, y, y, mask=causal_mask(5), need_weights=need_weights)
        assert_same(output, expected)
        assert (weights is None) == (expected_weights is None)
        if weights is not None:
            assert_same(weights, expected_weights)
    output.square().sum().backward()
    expected.square().sum().backward()
    assert x.grad is not None
    assert y.grad is not None
    assert_same(x.grad, y.grad, "gradient of x")
    named = dict(theirs.named_parameters())
    assert named.keys() == dict(ours.named_parameters()).keys()
    for name, parameter in ours.named_parameters():
        assert parameter.grad is not None
        other = named[name].grad
        assert other is not None
        assert_same(parameter.grad, other, f"gradient of {name}")


# -- a block of 2017 is PyTorch's encoder layer under a causal mask


@pytest.mark.parametrize("norm", NORMS)
def test_block_equals_pytorch(norm: str) -> None:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"d_model": 12, "n_heads": 3, "n_kv_heads": 3, "d_ff": 18}
    ours = CausalBlock(LanguageModelConfig(9, **sizes, norm=norm)).double()
    randomise(ours)
    theirs = nn.TransformerEncoderLayer(
        12, 3, 18, dropout=0.0, batch_first=True, norm_first=norm == "pre"
    ).double()
    a, f = ours.attention, ours.feed_forward
    inward = (a.w_query, a.w_key, a.w_value)  # PyTorch keeps the three in one matrix
    table: dict[str, list[Tensor]] = {
        "self_attn.in_proj_weight": [part.weight for part in inward],
        "self_attn.in_proj_bias": [part.bias for part in inward],
    }
    outward = {"self_attn.out_proj": a.w_output, "linear1": f.expand, "linear2": f.contract}
    for name, part in outward.items():
        table |= {f"{name}.weight": [part.weight], f"{name}.bias": [part.bias]}
    for name, residual in (("norm1", ours.residual_1), ("norm2", ours.residual_2)):
        scale, shift = residual.norm.scale, residual.norm.shift
        table |= {f"{name}.weight": [scale], f"{name}.bias": [shift]}
    assert sum(map(len, table.values())) == len(list(ours.parameters()))
    theirs.load_state_dict({name: torch.cat(parts).detach() for name, parts in table.items()})
    x = leaf(2, 5, 12)
    y = twin(x)
    output, _ = ours(x, a.start_cache(2))
    expected = theirs(y, src_mask=~causal_mask(5)[0, 0])
    assert_same(output, expected)
    noise = torch.randn_like(output)
    (output * noise).sum().backward()
    (expected * noise).sum().backward()
    assert x.grad is not None
    assert y.grad is not None
    assert_same(x.grad, y.grad, "gradient of x")
    for name, parameter in theirs.named_parameters():
        gradients = [part.grad for part in table[name] if part.grad is not None]
        assert parameter.grad is not None
        assert_same(torch.cat(gradients), parameter.grad, f"gradient of {name}")


# -- the language model, for every switch


@each_switch
@pytest.mark.parametrize("train", [True, False])
def test_the_future_cannot_change_the_past(name: str, train: bool) -> None:
    model = language_model(name).train(train)

    @quick
    @given(seed=st.integers(0, 999), position=st.integers(1, 7))
    def check(seed: int, position: int) -> None:
        ids = some_ids(2, 8, seed=seed)
        other = ids.clone()
        other[:, position:] = some_ids(2, 8 - position, seed=seed + 1)
        before, after = model(ids), model(other)
        assert_same(after[:, :position], before[:, :position])
        if not torch.equal(ids, other):
            assert (after - before).abs().max() > 1e-6  # but what comes later is read

    check()


@each_switch
def test_the_past_is_read_in_order(name: str) -> None:
    model, ids = language_model(name), torch.tensor([[3, 4, 5, 6]])
    swapped = torch.tensor([[4, 3, 5, 6]])
    assert (model(ids) - model(swapped))[:, -1].abs().max() > 1e-4


@each_switch
def test_padding_changes_nothing(name: str) -> None:
    model = language_model(name)
    short, long = [1, 3, 4, 2], [1, 5, 6, 7, 8, 3, 2]
    alone, other, both = (
        collate([Example([2], row) for row in rows], 0) for rows in ([short], [long], [short, long])
    )
    assert_same(model(both.target)[:1, :3], model(alone.target))
    # 3 and 6 tokens: the loss of both is their mean, token by token
    parts = (language_loss(model, part) * n for part, n in ((alone, 3), (other, 6)))
    assert_same(language_loss(model, both), sum(parts, torch.zeros(())).double() / 9)


def test_the_loss_is_pytorchs() -> None:
    model, ids = language_model("all"), some_ids(2, 6)
    batch = Batch(ids[:, :1], ids[:, :-1], ids[:, 1:])
    logits, labels = model(batch.target).flatten(0, 1), batch.labels.flatten()
    assert_same(language_loss(model, batch), F.cross_entropy(logits, labels))
    smoothed = F.cross_entropy(logits, labels, label_smoothing=0.3)
    assert_same(language_loss(model, batch, 0.3), smoothed)


@each_switch
def test_cached_equals_uncached(name: str) -> None:
    model, ids = language_model(name), some_ids(3, 8)
    whole, cache = model(ids), model.start(3)
    parts = [model(ids[:, a:b], cache) for a, b in ((0, 1), (1, 5), (5, 6), (6, 8))]
    assert_same(torch.cat(parts, dim=1), whole)
    heads = model.config.n_kv_heads
    assert all(layer.keys.shape == (3, heads, 8, 2) for layer in cache)
    prompt = torch.full((5, 1), 1)
    for temperature in (0.3, 1.0, 3.0):
        written = generate(model, prompt, seed=4, temperature=temperature)
        assert written == generate(model, prompt, seed=4, temperature=temperature, cached=False)


@each_switch
def test_weights_sum_to_one_and_change_nothing(name: str) -> None:
    model, ids = language_model(name), some_ids(2, 5)
    states, weights = model.hidden(ids, need_weights=True)
    without, none = model.hidden(ids)
    assert_same(states, without)
    assert none == [None, None]
    for layer in weights:
        assert layer is not None
        assert layer.shape == (2, 6, 5, 5)
        torch.testing.assert_close(layer.sum(dim=-1), torch.ones(2, 6, 5).double())
        assert (layer.triu(1) == 0).all()


@each_switch
def test_one_batch_can_be_learned_by_heart(name: str) -> None:
    torch.manual_seed(0)
    model = LanguageModel(LanguageModelConfig(9, **{**SIZES, **SWITCHES[name]}))
    rows = [[1, 3, 4, 5, 2], [1, 4, 4, 6, 7, 8, 2]]
    batch = collate([Example([2], row) for row in rows], 0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    first = language_loss(model, batch).item()
    for _ in range(80):
        optimizer.zero_grad()
        loss = language_loss(model, batch)
        loss.backward()
        optimizer.step()
    # what comes first is a guess between two: log 2 for 2 of 10 tokens
    assert first > 1.5
    assert loss.item() < 2 * math.log(2) / 10 + 0.05
    written = generate(model, torch.full((20, 1), 1), seed=0)
    assert sorted({tuple(row) for row in written}) == [(3, 4, 5), (4, 4, 6, 7, 8)]


def test_dropout_acts_everywhere_in_training_and_nowhere_else() -> None:
    model, ids = language_model("all", dropout=0.5), some_ids(2, 5)
    for block in model.blocks:
        assert isinstance(block, CausalBlock)
        parts = (block.residual_1, block.residual_2, block.feed_forward)
        assert block.attention.dropout == 0.5
        dropouts = [part.dropout for part in parts]
        assert all(isinstance(d, nn.Dropout) and d.p == 0.5 for d in dropouts)
    assert model.dropout.p == 0.5
    attention, x = first_attention(model), torch.randn(2, 5, 12).double()
    first, second = (attention(x, attention.start_cache(2))[0] for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(model.eval()(ids), model(ids))


@each_switch
def test_no_position_after_the_longest_is_read(name: str) -> None:
    model = language_model(name)
    cache = model.start(2)
    model(some_ids(2, 20), cache)
    refuses(lambda: model(some_ids(2, 5), cache), "ids has 5 positions after 20", "24")


def test_rotary_positions_have_no_table_and_only_their_distances_count() -> None:
    model = language_model("positions")
    assert model.positions is None
    attention = first_attention(model)
    x, before = torch.randn(1, 4, 12).double(), torch.randn(1, 3, 12).double()
    near, far = attention.start_cache(1), attention.start_cache(1)
    attention(before, far)
    far_keys = far.keys[:, :, :0]  # three positions were read, and are forgotten
    output, _ = attention(x, near)
    shifted = KeyValueCache(far_keys, far_keys)
    query, key, value = (
        attention.split_heads(w(x)) for w in (attention.w_query, attention.w_key, attention.w_value)
    )
    key, value = shifted.append(rotate(key, start=3), value)
    heads, _ = grouped_attention(rotate(query, start=3), key, value, mask=causal_mask(4))
    assert_same(attention.w_output(heads.transpose(1, 2).flatten(-2)), output)


def test_the_switches_choose_their_parts() -> None:
    config = LanguageModelConfig(9, **{**SIZES, **ALL})
    old = LanguageModelConfig(9, **SIZES)
    assert isinstance(make_norm(config), RMSNorm)
    assert isinstance(make_norm(old), LayerNorm)
    assert isinstance(make_residual(config).norm, RMSNorm)
    assert make_residual(config).pre_norm
    assert isinstance(make_residual(old).norm, LayerNorm)
    gated = make_feed_forward(config)
    assert isinstance(gated, GatedFeedForward)
    assert gated.expand.out_features == 12  # two thirds of 18
    assert type(make_feed_forward(old)) is FeedForward
    assert isinstance(language_model("2017").final_norm, nn.Identity)
    assert isinstance(language_model("all").final_norm, RMSNorm)


@each_switch
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_computes_in_half_precision(name: str, dtype: torch.dtype) -> None:
    model, ids = language_model(name).float(), some_ids(2, 8)
    expected = model(ids)
    with torch.autocast("cpu", dtype):
        cache = model.start(2)
        logits = torch.cat((model(ids[:, :5], cache), model(ids[:, 5:], cache)), dim=1)
        loss = language_loss(model, Batch(ids[:, :1], ids[:, :-1], ids[:, 1:]))
        written = generate(model, torch.full((2, 1), 1), seed=0)
    assert logits.dtype == dtype
    # sums of a dozen products, each off by one part in 2^8 or 2^11
    scale = expected.abs().max().item()
    assert_close = torch.testing.assert_close
    assert_close(logits.float(), expected, rtol=0, atol=20 * torch.finfo(dtype).eps * scale)
    assert loss.isfinite() and len(written) == 2


def test_a_cache_of_another_batch_or_model_is_refused() -> None:
    """By PyTorch: no broadcasting makes one sequence of two."""
    ids = some_ids(2, 3)
    for cache in (MODEL.start(1), MODEL.start(3), MODEL.start(2)[:1]):
        with pytest.raises((ValueError, RuntimeError)):
            MODEL(ids, cache)


# -- writing


def test_sampling_follows_the_model() -> None:
    model = language_model("2017", max_len=2)  # one token and no more
    prompt = torch.full((4_000, 1), 1)
    logits = model(prompt[:1])[0, -1].detach()
    logits[:2] = -torch.inf
    for temperature in (1.0, 0.5):
        written = generate(model, prompt, seed=0, temperature=temperature)
        first = torch.tensor([(row or [2])[0] for row in written])
        share = torch.bincount(first, minlength=9) / len(first)
        # a share of 4,000 draws has a standard deviation of at most 0.008
        expected = (logits / temperature).softmax(0).float()
        torch.testing.assert_close(share, expected, atol=0.035, rtol=0)


def test_sampling_is_seeded_and_cold_sampling_is_greedy() -> None:
    model, prompt = language_model("all"), torch.tensor([[1, 4], [1, 5]])
    assert generate(model, prompt, seed=1) == generate(model, prompt, seed=1)
    assert generate(model, prompt, seed=1) != generate(model, prompt, seed=2)
    cold = generate(model, prompt, seed=1, temperature=1e-6)
    assert cold == generate(model, prompt, seed=2, temperature=1e-6)
    assert [row[0] for row in cold] == [4, 5]  # what was given is kept
    for row in cold:
        ids = torch.tensor([[1, *row]])
        choices = model(ids)[0].masked_fill(torch.arange(9) < 2, -torch.inf).argmax(-1)
        assert choices[1:-1].tolist() == row[1:]


def test_writing_ends_at_the_longest_length() -> None:
    model = language_model("all", max_len=5)
    with torch.no_grad():
        model.embedding.weight[2] = -100.0 * model.final_norm(torch.ones(12).double())
    written = generate(model, torch.full((50, 1), 1), seed=0)
    assert max(map(len, written)) <= 4
    assert all(2 < i < 9 for row in written for i in row)


# -- the vocabulary


def test_vocabulary_of_characters_and_of_words() -> None:
    letters = Vocabulary(["été", "tôt"])
    assert letters.units == ["<pad>", "<bos>", "<eos>", "t", "é", "ô"]
    assert letters.encode("té") == [1, 3, 4, 2]
    assert "".join(letters.decode([1, 4, 3, 4, 2, 0])) == "été"
    words = Vocabulary([("le", "chat"), ["un", "chat"]])
    assert len(words) == 6
    assert words.decode(words.encode(["un", "chat"])) == ["un", "chat"]


@quick
@given(st.text(alphabet="abc é", max_size=20))
def test_characters_come_back(text: str) -> None:
    vocabulary = Vocabulary(["abc é"])
    assert "".join(vocabulary.decode(vocabulary.encode(text))) == text


# -- bad input

CONFIG = LanguageModelConfig(9)
MODEL = LanguageModel(LanguageModelConfig(9, **SIZES))
IDS = torch.ones(2, 3, dtype=torch.int64)


def configured(**changes: Any) -> Callable[[], object]:
    return lambda: LanguageModelConfig(**{"vocab_size": 9, **changes})


BAD: list[tuple[Callable[[], object], tuple[str, ...]]] = [
    (lambda: CausalSelfAttention(5, 2, 2), ("d_model is 5",)),
    (configured(norm="none"), ("norm is 'none'",)),
    (configured(norm_kind="batch"), ("norm_kind is 'batch'",)),
    (configured(positions="learned"), ("positions is 'learned'",)),
    (configured(feed_forward="gelu"), ("feed_forward is 'gelu'",)),
    (configured(n_kv_heads=3), ("n_heads is 4", "n_kv_heads")),
    (configured(d_model=12, n_heads=4), ("d_model / n_heads is 3",)),
    (configured(d_ff=64), ("d_ff is 64",)),
    (configured(n_layers=0), ("n_layers is 0",)),
    (configured(dropout=1.0), ("dropout is 1.0",)),
    (configured(vocab_size=2), ("eos_id is 2",)),
    (configured(eos_id=0), ("pad_id is 0", "eos_id is 0", "three different ids")),
    (configured(bos_id=2), ("bos_id is 2, eos_id is 2", "different")),
    (lambda: LanguageModel(None), ("config is a NoneType",)),  # type: ignore[arg-type]
    (lambda: MODEL(IDS[0]), ("ids has shape (3,)",)),
    (lambda: MODEL(IDS + 8), ("ids holds the id 9",)),
    (lambda: MODEL(IDS.repeat(1, 9)), ("ids has 27 positions", "24")),
    (lambda: generate(MODEL, IDS, seed=0, temperature=0.0), ("temperature is 0.0",)),
    (lambda: Vocabulary(["ab"]).encode("abc"), ("holds 'c'",)),
    (lambda: Vocabulary(["ab"]).decode([7]), ("ids holds 7",)),
]


@pytest.mark.parametrize(("call", "parts"), BAD)
def test_bad_input_is_named(call: Callable[[], object], parts: tuple[str, ...]) -> None:
    refuses(call, *parts)


def test_defaults_are_of_2017() -> None:
    assert (CONFIG.norm, CONFIG.norm_kind) == ("post", "layer")
    assert (CONFIG.positions, CONFIG.feed_forward) == ("sinusoidal", "relu")
    assert CONFIG.n_kv_heads == CONFIG.n_heads
