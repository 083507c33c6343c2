"""Shipping: a finished run becomes a small model with its log and a card."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from reference import refuses
from scratch.plumbing import cli
from scratch.plumbing.data import corpora
from scratch.plumbing.data.everyday import EverydaySentence
from scratch.plumbing.fast.step import Dropout
from scratch.plumbing.files import read_log
from scratch.plumbing.models import storage as checkpoint
from scratch.plumbing.models.card import CARD, card_text, seconds_of
from scratch.plumbing.models.ship import ship, shorten_log
from scratch.plumbing.models.storage import dequantize_rows, load_pretrained, quantize_rows
from scratch.plumbing.scoring import evaluation
from scratch.plumbing.training import recipes
from scratch.plumbing.training import run as trainer
from scratch.plumbing.training.recipes import RECIPES, Extras
from scratch.training import TrainingConfig
from small import PAIRS

pytestmark = pytest.mark.usefixtures("one_thread")

FIRST = recipes.Recipe(
    corpus="pairs",
    vocab_size=300,
    training=TrainingConfig(steps=26, max_tokens=80, warmup_steps=2, seed=3),
    model={"d_model": 16, "n_heads": 2, "d_ff": 24, "n_encoder_layers": 1, "n_decoder_layers": 1,
           "max_len": 64, "norm": "pre"},
    extras=Extras(Dropout(0.1, hidden=0.25), noise=True),
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has ended."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RECIPES, "one", FIRST)
        patch.setattr(trainer, "load_pairs", lambda corpus: PAIRS)
        dev = {"tatoeba": [(english, [french]) for english, french in PAIRS]}
        patch.setattr(trainer, "dev_sets", lambda corpus: dev)
        trainer.start_run("one", folder, command="python -m scratch train one --out runs")
    return folder


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in the place of the one that models ship in."""
    monkeypatch.setattr(checkpoint, "PRETRAINED", tmp_path / "pretrained")
    return tmp_path / "pretrained"


def test_a_run_is_shipped(run: Path, shelf: Path) -> None:
    folder, loss = ship(run, "en-fr", hardware="an abacus")
    assert folder == shelf / "en-fr"
    assert {path.name for path in folder.iterdir()} == {
        "README.md", "config.json", "tokenizer.json", "model.safetensors", "shipped.json",
        "log.jsonl",
    }  # fmt: skip
    trained, _ = load_pretrained(run)
    shipped, _ = load_pretrained("en-fr")
    worst = 0.0
    for a, b in zip(trained.parameters(), shipped.parameters(), strict=True):
        if a.ndim == 2:
            assert torch.equal(b, dequantize_rows(*quantize_rows(a.detach())))
            errors = (a - b).abs().amax(dim=1) / a.abs().amax(dim=1).clamp(min=1e-30)
            worst = max(worst, errors.max().item())
        else:
            assert torch.equal(a, b)
    assert loss.worst == pytest.approx(worst, rel=1e-4)
    assert 0 < worst < 0.004
    about = json.loads((folder / "shipped.json").read_text())
    assert about["worst"] == pytest.approx(worst, rel=0.01)
    card = (folder / CARD).read_text()
    for part in (
        "# Model card: en-fr", "an abacus", "int8", "Not measured yet",
        "26 steps of about 80 tokens",
        "dropout 0.1, hidden 0.25; seed 3", "English as people type it", "float32",
        "`python -m scratch train one --out runs`", "evaluate --model en-fr --set all --record",
        f"{sum(p.numel() for p in trained.parameters()):,} parameters", "8 pairs", "| tatoeba ",
    ):  # fmt: skip
        assert part in card
    assert card == card_text(folder)


def test_a_model_can_be_shipped_in_other_ways_and_again(run: Path, shelf: Path) -> None:
    folder, loss = ship(run, "en-fr", stored_as="float32")
    assert loss.worst == loss.overall == 0.0
    (folder / "scores.json").write_text("{}")
    ship(run, "en-fr", stored_as="float16")
    assert not (folder / "scores.json").exists()  # they were another model's
    assert "float16" in (folder / CARD).read_text()
    trained, shipped = (load_pretrained(m)[0] for m in (run, "en-fr"))
    for a, b in zip(trained.parameters(), shipped.parameters(), strict=True):
        assert torch.equal(a.half().float(), b)


def test_what_is_no_finished_run_is_refused(run: Path, shelf: Path, tmp_path: Path) -> None:
    one = run
    refuses(lambda: ship(tmp_path, "x"), str(tmp_path), "finished run")
    for name in ("", "..", "a/b", "En", "-a", "a b"):
        refuses(lambda n=name: ship(one, n), "--as is")  # type: ignore[misc]
    refuses(lambda: ship(one, "x", stored_as="int4"), "--stored-as is 'int4'")
    half = tmp_path / "half"
    half.mkdir()
    (half / "log.jsonl").write_bytes((one / "log.jsonl").read_bytes())
    refuses(lambda: ship(half, "x"), "under way")
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (half / name).write_bytes((one / name).read_bytes())
    (half / "checkpoint.safetensors").write_text("")
    refuses(lambda: ship(half, "x"), "under way")
    (half / "checkpoint.safetensors").unlink()
    (half / "log.jsonl").write_text('{"recipe": "one"}\n')
    refuses(lambda: ship(half, "x"), "no steps")
    assert not shelf.exists()


def test_the_clock_of_a_resumed_run_begins_again() -> None:
    clock = [1.0, 2.0, 50.0, 0.5, 30.0, 2.0, 3.0]
    entries = [{"step": n, "loss": 1.0, "seconds": s} for n, s in enumerate(clock, 1)]
    assert seconds_of(entries) == 50 + 30 + 3
    assert seconds_of([]) == 0


def test_a_log_that_says_where_it_was_resumed_is_taken_at_its_word() -> None:
    """Where the first step after a resume took longer than all before, the clock never falls."""
    resumed = {"step": 2, "resumed": {"processes": 1, "threads": 2}}
    clock = [1.0, 2.0, None, 9.0, 10.0, 11.0, None, 0.5]
    entries = [
        resumed if s is None else {"step": n, "loss": 1.0, "seconds": s}
        for n, s in enumerate(clock, 31)
    ]
    assert seconds_of(entries) == 2 + 11 + 0.5
    assert seconds_of([resumed, *entries, resumed]) == 2 + 11 + 0.5
    short = shorten_log(entries)
    assert [e.get("seconds") for e in short] == [1.0, 2.0, None, 9.0, 11.0, None, 0.5]
    assert seconds_of(short) == seconds_of(entries)


def test_a_shortened_log_is_as_long_as_the_whole_one() -> None:
    """A stretch of three short steps before a clock that falls, in a log older than the lines."""
    clock = [*range(101, 131), 1, 2, 3, *range(1, 60)]
    entries = [{"step": n, "loss": 1.0, "seconds": float(s)} for n, s in enumerate(clock, 1)]
    assert seconds_of(shorten_log(entries)) == seconds_of(entries) == 130 + 3 + 59


def test_a_shortened_log_keeps_what_counts(run: Path) -> None:
    clock = [float(n) for n in range(1, 108)] + [0.5 * n for n in range(1, 90)]
    entries: list[dict[str, object]] = []
    for step, seconds in enumerate(clock, 1):
        entries.append({"step": step, "loss": 1.0, "seconds": seconds})
        if step in (63, 107, 150):  # the end of an epoch, once where the run was interrupted
            entries.append({"step": step, "dev_bleu": {"a": 1.0}})
    short = shorten_log(entries)
    assert [e["step"] for e in short if "dev_bleu" in e] == [63, 107, 150]
    steps = [e["step"] for e in short if "loss" in e]
    assert steps == [*range(1, 21), 40, 60, 80, 100, 107, 108, 120, 140, 160, 180, 196]
    assert seconds_of(short) == seconds_of(entries) == 107 + 44.5
    _, *entries = read_log(run / "log.jsonl")
    assert shorten_log(shorten_log(entries)) == shorten_log(entries)


def test_the_card_says_on_what_a_run_went_on(run: Path, shelf: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "one")
    header, *entries = read_log(run / "log.jsonl")
    resumed = [{"step": 3, "resumed": {"processes": n, "threads": 2}} for n in (1, 4, 4)]
    lines = [header | {"processes": 2, "threads": 1}, *resumed, *entries]
    (tmp_path / "one/log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    folder, _ = ship(tmp_path / "one", "en-fr")
    card = (folder / CARD).read_text()
    assert "processes × threads: 2 × 1, then 1 × 2, then 4 × 2" in card


DAMAGED: list[dict[str, Any]] = [
    {"training": 5}, {"training": {}}, {"extras": None}, {"extras": {"dropout": []}},
    {"examples": "many"}, {"data": 5},
    {"processes": None}, {"parameters": []}, {"command": None},
]  # fmt: skip


@pytest.mark.parametrize("wrong", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_log_is_refused_before_anything_is_written(
    wrong: dict[str, Any], run: Path, shelf: Path, tmp_path: Path
) -> None:
    header, *entries = read_log(run / "log.jsonl")
    shutil.copytree(run, tmp_path / "one")
    ship(run, "en-fr")
    before = {p: p.read_bytes() for p in shelf.rglob("*") if p.is_file()}
    damaged = [{k: v for k, v in (header | wrong).items() if v is not None}, *entries]
    log = tmp_path / "one" / "log.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in damaged))
    refuses(lambda: ship(tmp_path / "one", "en-fr"))
    refuses(lambda: ship(tmp_path / "one", "new"))
    assert {p: p.read_bytes() for p in shelf.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    "line", ["5", "[]", "[" * 100_000, '{"step": "x", "seconds": "y"}', '{"step": 1, "resumed": 5}',
             '{"step": 1, "dev_bleu": 5}', '{"step": 1, "dev_bleu": {"a": "b"}}'], ids=range(7)
)  # fmt: skip
def test_a_damaged_line_of_a_log_is_refused(
    line: str, run: Path, shelf: Path, tmp_path: Path
) -> None:
    shutil.copytree(run, tmp_path / "one")
    with (tmp_path / "one" / "log.jsonl").open("a") as log:
        log.write(line + "\n")
    refuses(lambda: ship(tmp_path / "one", "en-fr"))
    assert not shelf.exists()


def test_the_command_line_ships_and_records_the_scores(
    run: Path, shelf: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(corpora, "multi30k", lambda split: PAIRS)
    monkeypatch.setattr(corpora, "tatoeba", lambda split: [*PAIRS, (PAIRS[0][0], "Non.")])
    monkeypatch.setattr(evaluation, "phrases", lambda name: [
        EverydaySentence("x", english, (french,)) for english, french in PAIRS
    ])  # fmt: skip
    words = ["ship", "--run", str(run), "--as", "en-fr"]
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    assert "next: python -m scratch evaluate --model en-fr --set all --record" in out
    assert "0.39 % of the largest" in out or "0.38 % of the largest" in out
    words = ["evaluate", "--model", "en-fr", "--set", "all", "--record", "--beam", "2"]
    assert cli.main(words) == 0
    printed, card = capsys.readouterr().out, (shelf / "en-fr" / CARD).read_text()
    scores = json.loads((shelf / "en-fr" / "scores.json").read_text())
    weights = (shelf / "en-fr" / "model.safetensors").read_bytes()
    assert scores["weights"] == hashlib.sha256(weights).hexdigest()
    assert list(scores["sets"]) == list(evaluation.SETS)
    assert scores["sets"]["tatoeba-test"]["sentences"] == len(PAIRS)  # sources, not pairs
    assert "first" in scores["sets"]["multi30k-test"]
    for name, found in scores["sets"].items():
        for kind, score in found.get("scores", {}).items():
            signature = score["signature"].replace("|", "\\|")
            number = f"{score['score']:.2f} ± {score['interval']:.2f}"
            row = f"| {name} | 8 | {kind} | {number} | `{signature}` |"
            assert row in card
            assert f"= {score['score']:.2f}" in printed
    assert f"| everyday | 8 | right | {scores['sets']['everyday']['right']} | |" in card
    assert "Beam 2, length penalty 0.6" in card
    assert "--set all --record --beam 2 --length-penalty 0.6`" in card
    assert card == card_text(shelf / "en-fr")
