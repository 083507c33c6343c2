"""The benchmark measures what it says: counts, tables, and models that are the same model.

No time is asserted here, and no peer has to be installed.
"""

import copy
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import busy
import contestants
import harness
import page
import training
from contestants import PyTorchs, Sizes, fixed_batch, flop_count
from reference import assert_same, copy_weights, pairs
from scratch.datasets import Batch
from scratch.transformer import Transformer

HERE = Path(__file__).parent
SMALL = Sizes(16, 2, 24, 2, vocab_size=50, rows=3, length=5, dropout=0.0)


@pytest.fixture(scope="module")
def command() -> ModuleType:
    """The command line of the benchmark, under a name that is not that of pytest's own."""
    spec = importlib.util.spec_from_file_location("bench_command", HERE / "__main__.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# -- counting


def test_operations_by_hand() -> None:
    """One layer each, two wide, one head, three hidden units, two rows of four, five tokens."""
    sizes = Sizes(2, 1, 3, 1, vocab_size=5, rows=2, length=4)
    projections = 4 * 2 * 2  # four of 2 x 2 for each attention
    attended = 4 * 2 + 4 * 2  # a score and an average over four positions, two wide
    fed = 2 * 3 + 3 * 2
    encoder = projections + attended + fed  # 44 multiplications a position
    decoder = 2 * (projections + attended) + fed  # 76
    assert (encoder, decoder) == (44, 76)
    forward = 2 * 4 * (44 + 76 + 5 * 2)  # 8 positions; 5 scores of 2
    assert flop_count(sizes) == 2 * 3 * forward == 6240


@pytest.mark.parametrize("name", ["nn.Transformer", "this book, as taught"])
def test_operations_as_pytorch_counts_them(name: str) -> None:
    contestant = contestants.CONTESTANTS[name](SMALL)
    for module in contestant.model.modules():
        if isinstance(getattr(module, "dropout", None), float):
            vars(module)["dropout"] = (
                1e-9  # too little to drop anything; attention in countable products
            )
    with FlopCounterMode(display=False) as counter:
        contestant.loss(contestant.model, fixed_batch(SMALL), 0.1).backward()
    assert counter.get_total_flops() == flop_count(SMALL)


def test_the_rate_of_matrix_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "SIDE", 10)
    assert harness.matrix_rate([2.0, 0.5, 1.0], repeat=3) == 3 * 2 * 10 * 10 * 10


# -- the contestants


@pytest.mark.parametrize("padded", [False, True])
def test_ours_and_pytorchs_are_the_same_model(padded: bool) -> None:
    """Same loss, same gradients from the same weights: all three do the same work."""
    batch = fixed_batch(SMALL)
    if padded:
        source, target, labels = batch.source.clone(), batch.target.clone(), batch.labels.clone()
        source[1, 2:] = target[1, 3:] = labels[1, 3:] = contestants.PAD
        batch = Batch(source, target, labels)
    taught, quick = contestants.ours_as_taught(SMALL), contestants.ours(SMALL)
    assert isinstance(taught.model, Transformer) and isinstance(quick.model, Transformer)
    theirs = contestants.pytorchs(SMALL)
    model: Any = theirs.model
    assert isinstance(model, PyTorchs)
    copy_weights(taught.model, model.transformer)
    with torch.no_grad():
        model.embedding.weight.copy_(taught.model.source_embedding.weight)
    quick.model.load_state_dict(copy.deepcopy(taught.model.state_dict()))
    losses = [c.loss(c.model, batch, 0.1) for c in (theirs, taught, quick)]
    for loss in losses:
        loss.backward()
        assert_same(loss, losses[0], "loss")
    for ours in (taught.model, quick.model):
        assert_same(gradient(ours.output.weight), gradient(model.embedding.weight), "embedding")
        for theirs_one, parts in pairs(ours, model.transformer):
            assert_same(torch.cat(list(map(gradient, parts))), gradient(theirs_one), "gradient")


def gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


@pytest.mark.parametrize("name", ["nn.Transformer", "this book, as taught", "this book, fast"])
def test_everybody_drops_what_was_asked_for(name: str) -> None:
    """With dropout two passes differ, without they do not; a step changes every weight."""
    for p, differ in ((0.0, False), (0.5, True)):
        sizes = Sizes(16, 2, 24, 1, vocab_size=50, rows=3, length=5, dropout=p)
        contestant = contestants.CONTESTANTS[name](sizes)
        batch = fixed_batch(sizes)
        a, b = (contestant.loss(contestant.model, batch, 0.1).item() for _ in "ab")
        assert (abs(a - b) > 1e-4) == differ, name
    before = copy.deepcopy(contestant.model.state_dict())
    training.Trainee(contestant).step(batch)
    after = dict(contestant.model.named_parameters())
    still = [n for n, p in after.items() if torch.equal(p, before[n])]
    assert still == []


def test_the_fixed_batch_has_the_size_that_the_page_names_and_no_padding() -> None:
    for sizes in contestants.SIZES.values():
        batch = fixed_batch(sizes)
        assert batch.source.shape == batch.target.shape == (128, 18)
        assert all((ids > 2).all() for ids in (batch.source, batch.target, batch.labels))
        assert torch.equal(batch.target[:, 1:], batch.labels[:, :-1])


# -- the race


def test_a_race_counts_every_round_but_the_first() -> None:
    runs: list[str] = []
    runners = {name: lambda name=name: runs.append(name) for name in "abc"}
    seconds = harness.race(runners, 5, label="test", warmup=1)
    assert {name: len(s) for name, s in seconds.items()} == {"a": 5, "b": 5, "c": 5}
    rounds = ["".join(runs[n : n + 3]) for n in range(0, 18, 3)]
    assert all(sorted(r) == ["a", "b", "c"] for r in rounds), "everybody once a round"
    assert len(set(rounds)) > 1, "in different orders"


def test_ratios_are_of_medians() -> None:
    seconds = {"a": [1.0, 4.0, 2.0], "b": [1.0, 1.0, 9.0]}
    assert harness.ratios(seconds, "a") == {"a": 1.0, "b": 2.0}


def test_memory_is_that_of_the_function_and_not_of_this_process() -> None:
    small, large = harness.alone(fill, 1), harness.alone(fill, 200)
    assert 150 < large - small < 300


def test_a_process_apart_lacks_what_it_is_not_to_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONE", "1")
    monkeypatch.setenv("TWO", "2")
    assert harness.apart(os.getenv, "TWO", without=["ONE", "NEVER_SET"]) == "2"
    assert harness.apart(os.getenv, "ONE", without=["ONE", "NEVER_SET"]) is None
    assert os.environ["ONE"] == "1"


def test_the_allocator_is_left_to_the_system_by_what_the_command_sets(command: ModuleType) -> None:
    assert set(training.ALLOCATOR) < command.SETTINGS.keys()


def fill(mebibytes: int) -> None:
    torch.ones(mebibytes, 2**18)


# -- results and page

EXAMPLE = {
    "machine": {
        "processor": "a", "kernels": "b", "threads": 2, "python": "3", "versions": {"torch": "2"}
    },
    "sizes": {
        "tiny": {
            "flops": 2 * 4 * 2 * 2048**3,
            "seconds": {name: [0.5] for name in contestants.CONTESTANTS}
            | {"this book, fast": [0.3, 0.25, 0.1], "matrix products": [0.1]},
            "memory": dict.fromkeys(contestants.CONTESTANTS, 1234.5),
        }
    },
    "real": {"tokens": 1000, "padding": 0.05, "seconds": {"nn.Transformer": [2.0], "b": [0.5]}},
    "allocator": {name: [0.5] for name in contestants.CONTESTANTS} | {"this book, fast": [0.25]},
}  # fmt: skip


def test_tables_hold_the_numbers() -> None:
    made = training.tables(EXAMPLE)
    fast = next(line for line in made["tiny"].splitlines() if "this book, fast" in line)
    # half as long as nn.Transformer; twice the operations of the matrices in 2.5 times their time
    assert fast == "| this book, fast | 250 | 2.00 | 80 % | 1,234 |"
    assert made["real"].splitlines()[-2:] == [
        "| nn.Transformer | 500 | 1.00 |",
        "| b | 2,000 | 4.00 |",
    ]
    assert "| this book, fast | 250 | 2.00 |" in made["allocator"]
    assert "| Padding in the real batches | 5 % |" in made["machine"]


BUSY = {
    "machine": EXAMPLE["machine"],
    "quiet": {"a": {"one thread": [0.2], "as it is": [0.1]}},
    "busy": {"a": {"one thread": [0.25, 0.2, 0.9], "as it is": [0.5, 0.1, 0.3]}},
}


def test_the_busy_table_divides_what_was_measured_beside_the_burner() -> None:
    assert busy.tables(BUSY)["times"].splitlines()[-1] == "| a | 200 | 100 | 250 | 300 | 1.20 |"


def test_with_one_core_busy_nothing_takes_much_longer_than_on_one_thread() -> None:
    if not (page.RESULTS / "busy.json").exists():
        pytest.skip('nobody has recorded it yet: make bench ARGS="busy"')
    found = busy.ratios(page.read_results("busy"))
    assert {name: ratio for name, ratio in found.items() if ratio > busy.MOST} == {}


def test_a_burner_burns_and_stops() -> None:
    with busy.one_core_busy() as burner:
        assert burner.poll() is None
    assert burner.returncode != 0


def test_results_survive_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "RESULTS", tmp_path / "bench")
    page.write_results("training", EXAMPLE)
    assert page.read_results("training") == json.loads(json.dumps(EXAMPLE))
    assert '"this book, fast": [0.3, 0.25, 0.1]' in (tmp_path / "bench/training.json").read_text()


def test_tables_are_put_where_they_belong() -> None:
    text = "a\n% table x.one\n% end\nb\n% table x.two\nold\n% end\n% table y.z\nkept\n% end\n"
    made = page.with_tables(text, "x", {"one": "1", "two": "2"})
    assert page.tables_of(made) == {"x.one": "1", "x.two": "2", "y.z": "kept"}
    assert page.with_tables(made, "x", {"one": "1", "two": "2"}) == made
    assert re.sub(r"(?m)^[12]?\n", "", made) == text.replace("old\n", "")
    for wrong in ({"one": "1"}, {"one": "1", "two": "2", "three": "3"}):
        with pytest.raises(ValueError, match="expected them for"):
            page.with_tables(text, "x", wrong)


def test_page_and_results_agree(command: ModuleType) -> None:
    """Each table of the page is the one that its results make; without results it is empty."""
    on_page = page.tables_of(page.PAGE.read_text("utf-8"))
    assert {name.partition(".")[0] for name in on_page} == set(command.BENCHMARKS)
    for name in command.BENCHMARKS:
        here = {key: table for key, table in on_page.items() if key.startswith(f"{name}.")}
        if (page.RESULTS / f"{name}.json").exists():
            made = importlib.import_module(name).tables(page.read_results(name))
            assert here == {f"{name}.{key}": table for key, table in made.items()}
        else:
            assert set(here.values()) == {""}, f"{name} has tables and no results"


# -- the command


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rounds", "0"], "rounds is '0', expected a whole number from 1"),
        (["speed"], "'speed' is no benchmark"),
        (["--help"], "make bench ARGS="),
    ],
)
def test_the_command_explains_itself(words: list[str], said: str) -> None:
    done = subprocess.run([sys.executable, HERE, *words], capture_output=True, text=True)
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == (0 if words == ["--help"] else 2)


def test_peers_are_pinned_with_their_reasons_and_kept_out_of_the_book(root: Path) -> None:
    lines = (HERE / "requirements.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert [line for line in pins if not re.fullmatch(r"\S+==[\w.]+ +# \S.*", line)] == []
    book = (root / "requirements.txt").read_text().lower()
    for pin in pins:
        name = pin.partition("==")[0]
        assert not re.search(rf"^{re.escape(name)}==", book, re.MULTILINE), name
