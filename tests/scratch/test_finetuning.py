"""Fine-tuning: what is frozen stays, groups are torch's, adapters are a dense product."""

import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from scratch.datasets import Example, encode_pairs
from scratch.finetuning import (
    LowRankAdapter,
    adapt,
    add_adapters,
    freeze,
    grouped_optimizer,
    merge_adapters,
    parameter_groups,
    parameters_under,
    train_only,
)
from scratch.plumbing.models.storage import load_pretrained
from scratch.splits import sentence_key
from scratch.training import TrainingConfig, batch_loss, endless_batches, train
from scratch.transformer import Transformer, TransformerConfig, count_parameters
from studies.cooking import INGREDIENTS, VERBS, all_recipe_pairs, recipe_pairs

TIED = ["source_embedding.weight", "target_embedding.weight", "output.weight"]
EXAMPLES = [Example([5 + i, 6, 7, 2], [1, 9, 8 + i, 2]) for i in range(6)]
SETTINGS = TrainingConfig(3, max_tokens=16, peak_rate=1e-2, warmup_steps=1)


def small(tied: bool = True) -> Transformer:
    torch.manual_seed(0)
    config = TransformerConfig(20, 8, 2, 12, 1, 2, dropout=0.0, tie_embeddings=tied)
    return Transformer(config)


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def run(model: Transformer, **changes: object) -> None:
    assert len(list(adapt(model, EXAMPLES, SETTINGS, **changes))) == 3  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name", ["encoder", "decoder.layers.1", "output", "encoder.layers.0.feed_forward"]
)
def test_what_is_frozen_stays_and_the_rest_moves(name: str) -> None:
    model = small()
    frozen = freeze(model, name)
    assert frozen and set(parameters_under(model, name)) <= set(frozen)
    before = weights(model)
    run(model)
    for key, p in model.named_parameters():
        assert torch.equal(p, before[key]) == (key in frozen), key
        assert (p.grad is None) == (key in frozen)


def test_freezing_after_a_step_leaves_no_old_gradient() -> None:
    model = small()
    list(train(model, EXAMPLES, SETTINGS))
    freeze(model, "encoder")
    assert all(p.grad is None for p in model.encoder.parameters())
    before = weights(model)
    run(model)
    assert all(torch.equal(p, before[f"encoder.{k}"]) for k, p in model.encoder.named_parameters())


def test_the_tied_matrix_is_frozen_under_all_its_names() -> None:
    assert freeze(small(), "source_embedding") == TIED
    assert freeze(small(), "output.weight") == TIED
    assert freeze(small(tied=False), "output") == ["output.weight"]


def test_train_only_is_the_complement() -> None:
    model = small()
    still = train_only(model, "decoder.layers.1", "output")
    learning = {n for n, p in model.named_parameters(remove_duplicate=False) if p.requires_grad}
    assert learning == {*TIED, *parameters_under(model, "decoder.layers.1")}
    assert learning.isdisjoint(still)
    everything = {n for n, _ in model.named_parameters(remove_duplicate=False)}
    assert learning | set(still) == everything


@pytest.mark.parametrize("name", ["layers", "decoder.layers.2", "enc", "decoder."])
def test_a_name_of_nothing_is_refused_before_anything_changes(name: str) -> None:
    for act in (freeze, train_only):
        model = small()
        with pytest.raises(ValueError, match=f"name is '{re.escape(name)}', expected a module"):
            act(model, name)
        assert all(p.requires_grad for p in model.parameters())


def test_a_prefix_ends_at_a_dot() -> None:
    model = nn.Sequential(*(nn.Linear(1, 1) for _ in range(11)))
    assert list(parameters_under(model, "1")) == ["1.weight", "1.bias"]
    assert len(parameters_under(model, "")) == 22


def test_each_parameter_is_in_one_group_and_the_longest_prefix_wins() -> None:
    model = small()
    rates = {"": 1.0, "decoder": 0.5, "decoder.layers.1": 0.25, "output": 2.0}
    groups = {g["name"]: g for g in parameter_groups(model, rates)}
    ids = [id(p) for g in groups.values() for p in g["params"]]
    assert sorted(ids) == sorted(id(p) for p in model.parameters())
    assert {id(p) for p in groups["decoder.layers.1"]["params"]} == {
        id(p) for p in model.decoder.layers[1].parameters()
    }
    assert any(p is model.output.weight for g in groups.values() for p in g["params"])


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ({"encoder": 1.0}, "rates has no prefix of"),
        ({"": 1.0, "nobody": 1.0}, "name is 'nobody'"),
        ({"": -1.0}, r"rates\[''\] is -1.0"),
    ],
)
def test_groups_that_do_not_fit_are_refused(rates: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parameter_groups(small(), rates)


def test_groups_equal_torchs_own_handling() -> None:
    """The same updates as groups with their rates written out, step by step."""
    ours, theirs = small().double(), small().double()
    rates = {"": 1.0, "encoder": 0.1, "decoder.layers.0": 0.0}
    run(ours, optimizer=grouped_optimizer(ours, rates))
    named = dict(theirs.named_parameters())
    groups: dict[float, list[nn.Parameter]] = {1.0: [], 0.1: [], 0.0: []}
    for key, p in named.items():
        part = 0.1 if key.startswith("encoder.") else 0.0 if ".layers.0." in key else 1.0
        groups[part].append(p)
    by_hand = [{"params": ps, "lr": 0.0} for ps in groups.values()]
    adam = torch.optim.Adam(by_hand, betas=(0.9, 0.98), eps=1e-9)
    stream = endless_batches(EXAMPLES, SETTINGS)
    for step in (1, 2, 3):
        for group, factor in zip(adam.param_groups, groups, strict=True):
            group["lr"] = factor * SETTINGS.rate(step)
        adam.zero_grad()
        batch_loss(theirs, next(stream)[1], SETTINGS.label_smoothing).backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), SETTINGS.clip_norm)
        adam.step()
    for key, p in ours.named_parameters():
        torch.testing.assert_close(p, named[key], rtol=0, atol=1e-10)


def test_without_rehearsal_and_groups_it_is_train() -> None:
    ours, theirs = small(), small()
    run(ours)
    list(train(theirs, EXAMPLES, SETTINGS))
    assert all(torch.equal(p, weights(theirs)[n]) for n, p in ours.named_parameters())


def test_rehearsal_adds_a_batch_of_the_old_domain_to_each_step() -> None:
    old = [Example([11, 12, 2], [1, 13, 2])]
    records = list(adapt(small(), EXAMPLES, SETTINGS, rehearsed=old))
    plain = list(adapt(small(), EXAMPLES, SETTINGS))
    assert [r.tokens - p.tokens for r, p in zip(records, plain, strict=True)] == [2, 2, 2]


def test_the_models_own_padding_is_left_out() -> None:
    model = Transformer(TransformerConfig(20, 8, 2, 12, 1, 1, dropout=0.0, pad_id=3))
    uneven = [Example([5, 2], [1, 9, 2]), Example([5, 6, 7, 2], [1, 9, 8, 7, 6, 2])]
    whole = TrainingConfig(1, max_tokens=99)
    (record,) = adapt(model, uneven, whole, rehearsed=uneven)
    assert record.tokens == 2 * (2 + 5)


def test_an_adapter_begins_with_small_numbers_and_a_scale_of_one() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(400, 50, bias=False)
    adapter, same = LowRankAdapter(linear, 20), LowRankAdapter(linear, 20, alpha=20)
    assert adapter.scale == same.scale == 1 and LowRankAdapter(linear, 20, alpha=5).scale == 0.25
    # 8,000 draws of standard deviation 1/20
    assert adapter.down.std().item() == pytest.approx(0.05, rel=0.05)
    assert not adapter.up.any()
    assert [name for name, _ in adapter.named_parameters() if "bias" in name] == []
    assert "bias" not in adapter.merged().state_dict()


def test_an_adapter_equals_the_dense_product_outputs_and_gradients() -> None:
    torch.manual_seed(1)
    linear = nn.Linear(7, 5).double()
    adapter = LowRankAdapter(linear, 3, alpha=6.0)
    nn.init.normal_(adapter.up)
    x = torch.randn(4, 2, 7, dtype=torch.float64)
    down, up = (p.detach().clone().requires_grad_() for p in (adapter.down, adapter.up))
    dense = F.linear(x, linear.weight + 2.0 * up @ down, linear.bias)
    torch.testing.assert_close(adapter(x), dense, rtol=0, atol=1e-10)
    adapter(x).square().sum().backward()
    dense.square().sum().backward()
    torch.testing.assert_close(adapter.down.grad, down.grad, rtol=0, atol=1e-10)
    torch.testing.assert_close(adapter.up.grad, up.grad, rtol=0, atol=1e-10)
    torch.testing.assert_close(adapter.merged()(x), adapter(x), rtol=0, atol=1e-12)


def test_adapters_begin_as_nothing_learn_alone_and_merge() -> None:
    model = small().double()
    batch = next(endless_batches(EXAMPLES, SETTINGS))[1]
    shape, names = count_parameters(model), list(weights(model))
    before, plain = weights(model), model(batch.source, batch.target)
    adapted = add_adapters(model, 2)
    assert len(adapted) == 2 * 5  # one encoder layer, two decoder layers with two attentions
    assert count_parameters(model) == 10 * 2 * (8 + 8)
    torch.testing.assert_close(model(batch.source, batch.target), plain, rtol=0, atol=0)
    run(model)
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters() if n in before)
    learned = model(batch.source, batch.target)
    assert not torch.allclose(learned, plain)
    merge_adapters(model)
    torch.testing.assert_close(model(batch.source, batch.target), learned, rtol=0, atol=1e-10)
    assert count_parameters(model) == shape and list(weights(model)) == names


def test_adapters_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="rank is 9, expected a whole number from 1 to 8"):
        add_adapters(small(), 9)
    with pytest.raises(ValueError, match="parts is"):
        add_adapters(small(), 2, parts=("query",))
    with pytest.raises(ValueError, match="alpha is 0"):
        LowRankAdapter(nn.Linear(3, 3), 1, alpha=0)
    model = small()
    add_adapters(model, 2)
    with pytest.raises(ValueError, match="model has adapters"):
        add_adapters(model, 2)


# -- the second domain ----------------------------------------------------------------------------


def test_recipes_are_distinct_and_nothing_held_out_is_trained_on() -> None:
    pairs = [pair for form in all_recipe_pairs().values() for pair in form]
    assert len({english for english, _ in pairs}) == len(pairs) > 1_000
    tests = set()
    for seed in (1, 2, 3):
        split = recipe_pairs(seed=seed)
        assert (len(split.train), len(split.test)) == (120, 100)
        for side in (0, 1):
            held = {sentence_key(pair[side]) for pair in split.test}
            assert held.isdisjoint(sentence_key(pair[side]) for pair in split.train)
        tests.add(tuple(split.test))
        words = [
            {w for pair in part for t in pair for w in re.findall(r"\w+", t.lower())}
            for part in (split.test, split.train)
        ]
        assert seed > 1 or words[0] <= words[1]  # in the chapter, new sentences, not new words
    assert len(tests) == 1
    assert recipe_pairs(seed=1).train != recipe_pairs(seed=2).train


@pytest.mark.parametrize(
    ("english", "french"),
    [
        ("Wash the apples and cut them.", "Lavez les pommes et coupez-les."),
        ("Do not open the oven.", "N'ouvrez pas le four."),
        ("Open the oven but do not close it.", "Ouvrez le four mais ne le fermez pas."),
        ("Add two eggs to the flour.", "Ajoutez deux œufs à la farine."),
        ("Add the milk to the oil.", "Ajoutez le lait à l'huile."),
        ("Wash the apple but do not peel it.", "Lavez la pomme mais ne l'épluchez pas."),
        ("Do not chop the onion.", "Ne hachez pas l'oignon."),
        ("Put the potatoes in the pan.", "Mettez les pommes de terre dans la poêle."),
        ("Add the cheese to the milk.", "Ajoutez le fromage au lait."),
    ],
)
def test_the_french_is_right(english: str, french: str) -> None:
    pairs = dict(pair for form in all_recipe_pairs().values() for pair in form)
    assert pairs[english] == french


def test_elision_and_contraction_everywhere() -> None:
    for form in all_recipe_pairs().values():
        for _, french in form:
            assert not re.search(r"\b([LlDdNn]e|[Ll]a) [aeéœouy]", french), french
            assert not re.search(r"\bà les?\b|'[^aeéhœou]", french), french
    assert all(verb[0].endswith("ez") for verb in VERBS.values())
    assert len({(i.english, i.kind == "p") for i in INGREDIENTS}) == len(INGREDIENTS)


def test_the_shipped_tokenizer_spells_every_recipe() -> None:
    _, tokenizer = load_pretrained("grammar-en-fr")
    for form in all_recipe_pairs().values():
        for pair in form:
            assert [tokenizer.decode(tokenizer.encode(text)) for text in pair] == list(pair)
    assert len(encode_pairs(recipe_pairs().train, tokenizer, max_len=64)) == 120
