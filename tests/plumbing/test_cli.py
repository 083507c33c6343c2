"""The command line: lines in, as many lines out; a mistake is one line on stderr and status 2."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scratch.plumbing import cli
from scratch.plumbing.cli import main
from scratch.plumbing.models import storage as checkpoint
from scratch.plumbing.models.storage import save_pretrained
from scratch.plumbing.training import recipes
from scratch.plumbing.training import run as trainer
from scratch.training import TrainingConfig
from small import PAIRS, model, tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")

Run = Callable[..., tuple[int, str, str]]
COMMAND = [sys.executable, "-m", "scratch"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a tiny model with random weights."""
    folder = tmp_path_factory.mktemp("model")
    save_pretrained(folder, model(vocab_size=len(tokenizer()), max_len=40), tokenizer())
    return str(folder)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call main in this process with some standard input: status, stdout and stderr."""

    def call(*words: str, stdin: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="ascii"))
        try:
            status = main(words)
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 1
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def refused(result: tuple[int, str, str], *parts: str) -> None:
    """One line on stderr that holds ``parts``, nothing on stdout, and status 2."""
    status, out, err = result
    assert status == 2
    assert out == ""
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    for part in parts:
        assert part in err


# -- translate


@pytest.mark.parametrize(
    ("stdin", "lines"),
    [
        (b"", 0),
        (b"\n", 1),
        (b"I see him.", 1),
        (b"I see him.\nThe man.\n", 2),
        (b"I see him.\r\n\r\nThe man.\r\n", 3),
        (b"\n\n I see.\n\n", 4),
        ("L'été\u2028\x85a\x0bb\x0cc\rd\n".encode(), 1),  # only a newline ends a line
        ("\U0001f6b2 \u05e9\u05dc\n\x00\n".encode(), 2),
        (b"\xef\xbb\xbfI see.\n", 1),
        (b"\xef\xbb\xbf\nI see.\n", 2),
    ],
)
@pytest.mark.parametrize("beam", ["1", "3"])
def test_as_many_lines_come_out_as_go_in(
    run: Run, saved: str, stdin: bytes, lines: int, beam: str
) -> None:
    status, out, err = run("translate", "--model", saved, "--beam", beam, stdin=stdin)
    assert (status, err) == (0, "")
    assert out.count("\n") == lines
    assert out == "".join(f"{line}\n" for line in out.split("\n")[:-1])
    given = stdin.decode("utf-8-sig").split("\n")[:lines]
    found = out.split("\n")[:-1]
    assert [bool(line) for line in found] == [bool(line.strip()) for line in given]


def test_a_byte_order_mark_is_none_of_the_text(run: Run, saved: str) -> None:
    words = ("translate", "--model", saved, "--beam", "1")
    assert run(*words, stdin=b"\xef\xbb\xbfI see.\n") == run(*words, stdin=b"I see.\n")
    inside = run(*words, stdin=b"I see.\n\xef\xbb\xbfI see.\n")[1].split("\n")
    assert inside[0] != inside[1]


def test_the_batch_size_changes_no_line(run: Run, saved: str) -> None:
    stdin = "\n".join(["", *(english for english, _ in PAIRS), "", "I see."]).encode()
    words = ("translate", "--model", saved, "--beam", "2")
    expected = run(*words, stdin=stdin)
    assert expected[0] == 0
    for size in ("1", "3", "4096"):
        assert run(*words, "--batch-size", size, stdin=stdin) == expected
    refused(run(*words, "--batch-size", "0", stdin=b"x"), "--batch-size is 0")


def test_draws_depend_on_the_seed_and_on_nothing_else(run: Run, saved: str) -> None:
    stdin = "\n".join(["", *["I see him."] * 12, "", "The man."]).encode()
    words = ("translate", "--model", saved, "--sample", "--temperature", "0.8")
    expected = run(*words, "--seed", "3", stdin=stdin)
    assert expected[0] == 0
    lines = expected[1].split("\n")
    assert len(set(lines[1:13])) > 6  # every line has a die of its own
    for size in ("1", "4096"):  # blocks of 1 and of all lines
        assert run(*words, "--seed", "3", "--batch-size", size, stdin=stdin) == expected
    assert run(*words, "--seed", "4", stdin=stdin)[1] != expected[1]
    assert run("translate", "--model", saved, "--sample", stdin=stdin)[0] == 0


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--sample", "--beam", "5"), ("--beam is 5 with --sample",)),
        (("--sample", "--length-penalty", "0"), ("--length-penalty is 0.0 with --sample",)),
        (("--temperature", "0.7"), ("--temperature is 0.7 without --sample",)),
        (("--seed", "0"), ("--seed is 0 without --sample",)),
        (("--sample", "--temperature", "0"), ("--temperature is 0.0", "at least 0.01")),
        (("--sample", "--temperature", "nan"), ("--temperature is nan",)),
        (("--sample", "--seed", "-1"), ("--seed is -1",)),
        (("--device", "tpu"), ("device is 'tpu'", "'cpu', 'cuda'")),
        (("--batch-size", "-1"), ("--batch-size is -1",)),
    ],
)
def test_options_that_contradict_each_other_are_one_line(
    run: Run, saved: str, words: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    refused(run("translate", "--model", saved, *words, stdin=b"The man.\n"), *parts)


def test_a_device_that_is_not_there_is_one_line(
    run: Run, saved: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    words = ("translate", "--model", saved, "--device", "cuda")
    refused(run(*words, stdin=b"The man.\n"), "device is 'cuda'", "finds no GPU")


def test_a_line_is_answered_before_the_next_one_is_written(saved: str) -> None:
    with subprocess.Popen(
        [*COMMAND, "translate", "--model", saved, "--beam", "1", "--batch-size", "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line in (b"The man.\n", b"\n", b"I see him.\n"):
            process.stdin.write(line)
            process.stdin.flush()
            answer = process.stdout.readline()
            assert answer.endswith(b"\n")
            assert bool(answer.strip()) == bool(line.strip())
        process.stdin.close()
        assert process.stdout.read() == b""
        assert process.wait(timeout=60) == 0


@pytest.mark.parametrize("terminal", [False, True])
def test_a_progress_bar_is_for_terminals_only(
    saved: str, terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from scratch.plumbing.scoring import lines
    from scratch.translation import Translator

    monkeypatch.setattr(lines, "SHOWN_AFTER", 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    translator = Translator.from_pretrained(saved)
    assert len(list(lines.translated(translator, ["I see him."] * 3, 1, beam_size=1))) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert ("3 lines" in captured.err) == terminal
    assert terminal or captured.err == ""


def test_a_model_that_writes_line_ends_writes_one_line(
    run: Run, saved: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scratch.translation import Translation, Translator

    found = [Translation("un\ndeux\r\x0btrois\u2028", [], -1.0)]
    monkeypatch.setattr(Translator, "translate", lambda *_, **__: found)
    assert run("translate", "--model", saved, stdin=b"x") == (0, "un deux trois\n", "")


def test_the_attention_is_drawn(run: Run, saved: str, tmp_path: Path) -> None:
    # an untrained model writes broken characters, which it could not read: they are more tokens
    for name, start in (("a.png", b"\x89PNG"), ("a.svg", b"<?xml")):
        status, out, err = run(
            "translate",
            "--model",
            saved,
            "--beam=1",
            "--attention",
            str(tmp_path / name),
            stdin="\nThe $^$ \U0001f6b2.\n".encode(),
        )
        assert (status, err) == (0, "")
        assert out.count("\n") == 2
        assert (tmp_path / name).read_bytes().startswith(start)


def test_dollar_signs_are_drawn_as_they_are(tmp_path: Path) -> None:
    import torch

    from scratch.plumbing.style import attention_figure

    figure = attention_figure(torch.ones(1, 2), ["$^$", "$$\\frac"], ["$"])
    figure.savefig(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 0


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--model", "nonsense"), ("model is 'nonsense'",)),
        (("--model", "x" * 5_000), ()),
        (("--model", "SAVED", "--beam", "0"), ("--beam is 0",)),
        (("--model", "SAVED", "--beam", "-3"), ("--beam is -3",)),
        (("--model", "SAVED", "--beam", "100000000"), ("--beam is 100000000",)),
        (("--model", "SAVED", "--beam", "many"), ("--beam", "'many'")),
        (("--model", "SAVED", "--length-penalty", "nan"), ("--length-penalty is nan",)),
        (("--model", "SAVED", "--length-penalty", "-1"), ("--length-penalty",)),
        (("--model", "SAVED", "--length-penalty", "1e9"), ("--length-penalty",)),
        (("--model", "SAVED", "--beams"), ("--beams",)),
        (("--model",), ("--model",)),
    ],
)
def test_mistakes_are_one_line(
    run: Run, saved: str, words: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    words = tuple(saved if word == "SAVED" else word for word in words)
    refused(run("translate", *words, stdin=b"The man.\n"), *parts)


def test_bad_input_is_one_line(run: Run, saved: str) -> None:
    refused(run("translate", "--model", saved, stdin=b"na\xefve\n"), "line 1", "UTF-8")
    refused(run("translate", "--model", saved, stdin=b"\xed\xa0\x80\n"), "line 1", "UTF-8")
    refused(run("translate", "--model", saved, stdin=b"x" * 5_000), "text 'xxx", "at most 39")


def test_lines_before_one_that_cannot_be_read_are_translated(run: Run, saved: str) -> None:
    words = ("translate", "--model", saved, "--beam", "2")
    good = b"I see.\n\nThe man.\n"
    expected = run(*words, stdin=good)[1]
    for bad, parts in (
        (b"x" * 5_000, ("text 'xxx", "at most 39")),
        (b"na\xefve", ("UTF-8",)),
        (b"x" * 1_000_000, ("100,000 bytes or more",)),
    ):
        for size in ("1", "2", "64"):
            result = run(*words, "--batch-size", size, stdin=good + bad + b"\nI see.\n")
            assert result[1] == expected
            refused((result[0], "", result[2]), "line 4 of the input", *parts)


def test_a_line_that_never_ends_is_not_read_to_its_end() -> None:
    from scratch.plumbing.scoring.lines import MOST_BYTES, input_lines

    stream = io.BytesIO(b"The man.\n" + b" " * 100 * MOST_BYTES)
    lines = input_lines(stream)
    assert next(lines) == "The man."
    with pytest.raises(ValueError, match="line 2"):
        next(lines)
    assert stream.tell() < 2 * MOST_BYTES
    assert list(input_lines(io.BytesIO(b" " * (MOST_BYTES - 1) + b"\n"))) == [
        " " * (MOST_BYTES - 1)
    ]


def test_a_source_that_is_too_long_is_named_before_any_is_translated(
    run: Run, saved: str, tmp_path: Path
) -> None:
    (tmp_path / "fr").write_text("Un.\nDeux.\n")
    for long, part in (("x" * 5_000, "at most 39"), ("x" * 200_000, "200,000 characters")):
        (tmp_path / "en").write_text(f"One.\n{long}\n")
        words = ("--source", str(tmp_path / "en"), "--references", str(tmp_path / "fr"))
        refused(run("evaluate", "--model", saved, *words), "line 2 of the sources", part)


@pytest.mark.parametrize("size", ["100000", "99999999999999999999999"])
def test_more_lines_at_a_time_than_fit_are_refused(run: Run, saved: str, size: str) -> None:
    words = ("translate", "--model", saved, "--batch-size", size)
    refused(run(*words, stdin=b"The man.\n"), f"--batch-size is {size}", "from 1 to 4096")


def test_want_of_memory_is_one_line(run: Run, saved: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from scratch.translation import Translator

    def too_much(*_: object, **__: object) -> None:
        torch.empty(2**50)  # more than any machine has: PyTorch says so at once

    def python(*_: object, **__: object) -> None:
        raise MemoryError

    for raises in (too_much, python):
        monkeypatch.setattr(Translator, "translate", raises)
        result = run("translate", "--model", saved, stdin=b"The man.\n")
        refused(result, "not enough memory", "--batch-size")


def test_a_fault_of_the_code_is_not_taken_for_one_of_the_user(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(_: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(cli, "_sizes", fault)
    with pytest.raises(RuntimeError, match="a fault"):
        run("sizes")


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("max_len", 10**12),
        ("n_encoder_layers", 10**9),
        ("n_decoder_layers", 10**9),
        ("d_model", 10**30),
        ("d_ff", 10**30),
        ("vocab_size", 10**30),
    ],
)
def test_a_configuration_of_absurd_sizes_is_one_line(
    run: Run, saved: str, tmp_path: Path, name: str, size: int
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(saved, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, name: size}))
    result = run("translate", "--model", str(folder), stdin=b"The man.\n")
    refused(result, "config.json", f"{name} is {size}")


def test_a_folder_is_a_path_and_a_shipped_model_a_name(
    run: Run, saved: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "PRETRAINED", tmp_path / "shipped")
    folders = {"here": tmp_path / "here" / "one", "shipped": tmp_path / "shipped" / "one"}
    shutil.copytree(saved, folders["here"])
    sizes: dict[str, Any] = {"d_ff": 40, "max_len": 40}
    save_pretrained(folders["shipped"], model(5, vocab_size=len(tokenizer()), **sizes), tokenizer())
    (tmp_path / "shipped" / "two").mkdir()  # empty: no model
    (tmp_path / "here" / "one" / "deeper").mkdir()
    words = ("translate", "--beam", "1", "--model")
    found = {key: run(*words, str(path), stdin=b"I see.\n") for key, path in folders.items()}
    assert found["here"][0] == found["shipped"][0] == 0
    assert found["here"] != found["shipped"]
    for place, name, key in (
        ("here", "one", "shipped"),
        ("here", "./one", "here"),
        ("here", "one/", "here"),
        ("here/one", ".", "here"),
        ("here/one/deeper", "..", "here"),
    ):
        monkeypatch.chdir(tmp_path / place)
        assert run(*words, name, stdin=b"I see.\n") == found[key], name
    shutil.copytree(saved, tmp_path / "here" / "two")
    monkeypatch.chdir(tmp_path / "here")
    assert run(*words, "two", stdin=b"I see.\n") == found["here"]
    assert checkpoint.find_pretrained(Path("one")) == Path("one")
    assert checkpoint.find_pretrained("one") == folders["shipped"]


@pytest.mark.parametrize("name", ["missing/a.png", "a.nonsense", "a", ".", "", "b.png"])
def test_a_picture_that_cannot_be_written_is_one_line(
    run: Run, saved: str, tmp_path: Path, name: str
) -> None:
    """Before any line is translated."""
    (tmp_path / "b.png").mkdir()
    path = str(tmp_path / name) if name else ""
    words = ("translate", "--model", saved, "--attention", path)
    refused(run(*words, stdin=b"The man.\n"), f"--attention is {path!r}", "cannot be drawn")


def test_a_line_without_words_has_no_picture(run: Run, saved: str, tmp_path: Path) -> None:
    words = ("translate", "--model", saved, "--attention", str(tmp_path / "a.png"))
    status, _, err = run(*words, stdin=b"\n")
    refused((status, "", err), "--attention")


# -- train


TINY = recipes.Recipe(
    corpus="tiny",
    vocab_size=300,
    training=TrainingConfig(steps=3, max_tokens=60, warmup_steps=2),
    model={"d_model": 16, "n_heads": 2, "d_ff": 16, "n_encoder_layers": 1, "n_decoder_layers": 1},
)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setitem(recipes.RECIPES, "tiny", TINY)
    monkeypatch.setattr(trainer, "load_pairs", lambda corpus: PAIRS)
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)


@pytest.mark.usefixtures("tiny")
def test_training_leaves_a_model_that_translates(run: Run, tmp_path: Path) -> None:
    out = str(tmp_path / "my run")
    assert run("train", "tiny", "--out", out)[0] == 0
    header = json.loads((tmp_path / "my run" / "log.jsonl").read_text().splitlines()[0])
    assert header["command"] == f"python -m scratch train tiny --out '{out}'"
    assert run("translate", "--model", out, stdin=b"The man.\n")[0] == 0
    refused(run("train", "tiny", "--out", out), "already holds a finished model")
    refused(run("train", "tiny", "--out", out, "--resume"), "already holds a finished model")
    refused(run("train", "tiny", "--out", str(tmp_path / "new"), "--resume"), "nothing to resume")


@pytest.mark.usefixtures("tiny")
def test_a_recipe_can_be_changed_from_the_command_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scratch.plumbing.data import corpora

    files = corpora.load_pairs
    monkeypatch.setattr(trainer, "load_pairs", lambda c: files(c) if ":" in c else PAIRS)
    fast = replace(TINY, extras=recipes.Extras(noise=True))
    monkeypatch.setitem(recipes.RECIPES, "tiny", fast)
    tsv, out = tmp_path / "pairs.tsv", tmp_path / "run"
    tsv.write_text("".join(f"{a}\t{b}\n" for a, b in PAIRS), encoding="utf-8")
    words = ["--tsv", str(tsv), "--batch-size", "40", "--steps", "4", "--seed", "9"]
    assert run("train", "tiny", "--out", str(out), *words)[0] == 0
    header, *entries = (json.loads(line) for line in (out / "log.jsonl").open())
    assert header["training"]["max_tokens"] == 40
    assert header["training"]["seed"] == 9
    assert header["extras"]["noise"] is False  # it is made for English and French
    assert header["examples"] == len(PAIRS)
    assert [e["step"] for e in entries if "loss" in e] == [1, 2, 3, 4]
    assert (header["processes"], header["threads"]) == (1, 1)
    more = ["--tsv", str(tsv), "--begin-with", str(out), "--out", str(tmp_path / "more")]
    more += ["--accumulate", "2", "--peak-rate", "0.5", "--patience", "0"]
    assert run("train", "tiny", *more)[0] == 0
    header = json.loads((tmp_path / "more" / "log.jsonl").read_text().splitlines()[0])
    assert (header["training"]["accumulate"], header["training"]["peak_rate"]) == (2, 0.5)
    assert header["changes"]["patience"] == header["extras"]["patience"] == 0
    out, (pipe, writer) = tmp_path / "other", os.pipe()
    os.write(writer, tsv.read_bytes())
    os.close(writer)
    for words, part in (
        (["--tsv", str(tmp_path / "none")], "none"),
        (["--tsv", f"/dev/fd/{pipe}"], "a pipe"),
        (["--begin-with", "none"], "none"),
        (["--batch-size", "0"], "max_tokens is 0"),
        (["--steps", "0"], "steps is 0"),
        (["--accumulate", "0"], "accumulate is 0"),
        (["--peak-rate", "0"], "peak_rate is 0.0"),
        (["--peak-rate", "nan"], "peak_rate is nan"),
        (["--patience", "-1"], "patience is -1"),
        (["--patience", "1"], "patience is 1, expected 0: tiny has no dev sentences"),
        (["--seed", "-1"], "seed is -1"),
        (["--device", "tpu"], "device is 'tpu'"),
        (["--steps", "x"], "--steps"),
    ):
        refused(run("train", "tiny", "--out", str(out), *words), part)
        assert not out.exists()


@pytest.mark.usefixtures("tiny")
def test_mistakes_of_training_are_one_line(run: Run, tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    refused(run("train", "nonsense", "--out", out), "recipe is 'nonsense'", "'grammar'")
    refused(run("train", "tiny"), "--out")
    refused(run("train", "--out", out), "recipe")
    refused(run("train", "tiny", "--out", ""), "--out is ''")
    for count in ("0", "-1", "x", "1.5", "65"):
        refused(run("train", "tiny", "--out", out, "--processes", count), "--processes")
    (tmp_path / "file").write_text("")
    refused(run("train", "tiny", "--out", str(tmp_path / "file")), "is a file")
    status, _, err = run("train", "tiny", "--out", str(tmp_path / "file" / "run"))
    assert status == 2
    assert "Traceback" not in err
    assert not Path(out).exists()


# -- evaluate


def test_mistakes_of_evaluation_are_one_line(
    run: Run, saved: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = str(tmp_path / "here")
    Path(here).write_text("Un.\n")
    model, files = ("--model", saved), ("--hypotheses", here)
    refused(run("evaluate"), "--model")
    refused(run("evaluate", *model, *files), "--model", "not both")
    refused(run("evaluate", "--model", "nonsense"), "model is 'nonsense'")
    refused(run("evaluate", *model, "--pair", "en-xx"), "--pair is 'en-xx'", "'en-hi'")
    refused(run("evaluate", *model, "--pair", "en-de", "--set", "everyday"), "multi30k-val")
    refused(run("evaluate", *model, "--set", "nonsense"), "--set is 'nonsense'", "'tatoeba-dev'")
    refused(run("evaluate", *model, "--beam", "0"), "--beam is 0")
    for option in ("--out", "--json"):
        for place in (str(tmp_path / "a" / "b"), str(tmp_path), "."):
            refused(run("evaluate", *model, option, place), f"{option} is {place!r}")
    refused(run("evaluate", *model, "--set", "all", "--out", here), "--set is 'all'")
    refused(run("evaluate", *files, "--set", "all"), "--set is 'all'")
    refused(run("evaluate", *model, "--source", here), "--references")
    refused(run("evaluate", *model, "--references", here), "--source")
    refused(run("evaluate", *files, "--references", here, "--set", "everyday"), "no --set")
    refused(run("evaluate", *files, "--set", "everyday"), f"{here} has 1 lines", "expected 40")
    refused(run("evaluate", *files, "--references", str(tmp_path / "none")), "none")
    refused(run("evaluate", *files, "--references", here, "--record"), "--record")
    refused(run("evaluate", *model, "--set", "all", "--record"), "scratch ship")
    from scratch.plumbing.data import fetch

    def offline(*_: Any) -> None:
        raise ConnectionError

    monkeypatch.setenv("SCRATCH_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr(fetch, "_downloader", lambda: offline)
    monkeypatch.setattr(fetch, "RETRIES", 0)
    refused(run("evaluate", "--model", saved), "test_2016_flickr.en.gz", "could not be fetched")
    refused(run("evaluate", *files, "--set", "tatoeba-dev"), "fra.txt", "could not be fetched")


@pytest.mark.parametrize("words", [[], ["--set", "multi30k-test"]])
def test_an_evaluation_prints_scores_and_writes_lines(
    run: Run, saved: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    from scratch.plumbing.data import corpora

    monkeypatch.setattr(corpora, "multi30k", lambda split: PAIRS)
    path, scores = tmp_path / "out.fr", tmp_path / "scores.json"
    more = ["--beam", "1", "--out", str(path), "--json", str(scores)]
    status, out, err = run("evaluate", "--model", saved, *words, *more)
    assert status == 0
    assert "8/8" in err  # the bar
    for part in ("multi30k-test: 8", "published protocol: BLEU = ", "\n  BLEU = ", "chrF2 = "):
        assert part in out
    assert out.count("version:") == 3
    lines = path.read_text(encoding="utf-8").split("\n")
    assert len(lines) == len(PAIRS) + 1
    found = json.loads(scores.read_text(encoding="utf-8"))
    assert (found["beam"], found["length_penalty"]) == (1, 0.6)
    kept = found["sets"]["multi30k-test"]["scores"]
    assert list(kept) == ["BLEU, published protocol", "BLEU", "chrF2"]
    # what translate writes, line for line, scores the same
    stdin = "".join(f"{english}\n" for english, _ in PAIRS).encode()
    status, translated, _ = run("translate", "--model", saved, "--beam", "1", stdin=stdin)
    assert translated.split("\n") == lines
    again = run("evaluate", "--hypotheses", str(path), *words, "--json", str(scores))
    assert again[1] == out
    assert json.loads(scores.read_text(encoding="utf-8"))["sets"] == found["sets"]


def test_other_test_sets_are_files(run: Run, saved: str, tmp_path: Path) -> None:
    paths = {name: str(tmp_path / f"test.{name}") for name in ("en", "fr", "fr2", "mt")}
    for name, lines in (
        ("en", [english for english, _ in PAIRS]),
        ("fr", [french for _, french in PAIRS]),
        ("fr2", ["Non."] * len(PAIRS)),
    ):
        Path(paths[name]).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    one, two = ["--references", paths["fr"]], ["--references", paths["fr2"], paths["fr"]]
    words = ["--source", paths["en"], "--beam", "1", "--out", paths["mt"]]
    status, out, _ = run("evaluate", "--model", saved, *words, *one)
    assert status == 0
    assert out.count("nrefs:1") == 3
    assert run("evaluate", "--hypotheses", paths["mt"], *one)[1] == out
    perfect = run("evaluate", "--hypotheses", paths["fr"], *two)[1]
    assert perfect.count("BLEU = 100.00") + perfect.count("chrF2 = 100.00") == 3
    assert perfect.count("nrefs:2") == 3
    Path(paths["fr2"]).write_text("Non.\n", encoding="utf-8")
    refused(run("evaluate", "--hypotheses", paths["mt"], *two), "8 lines", "expected 1")


@pytest.mark.parametrize("name", ["everyday", "tatoeba-x", "multi30k-test"])
def test_a_file_is_scored_as_a_file_whatever_its_name(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_text("".join(f"{french}\n" for _, french in PAIRS), encoding="utf-8")
    words = ("--hypotheses", name, "--references", name, "--json", "scores.json")
    status, out, _ = run("evaluate", *words)
    assert status == 0
    # the published protocol, too
    assert out.count("BLEU = 100.00") + out.count("chrF2 = 100.00") == 3
    found = json.loads(Path("scores.json").read_text(encoding="utf-8"))["sets"][name]
    assert list(found) == ["sentences", "scores"]


def test_scores_take_the_place_of_nothing_but_a_file(run: Run, tmp_path: Path) -> None:
    text = "".join(f"{french}\n" for _, french in PAIRS)
    (tmp_path / "fr").write_text(text, encoding="utf-8")
    (tmp_path / "link").symlink_to("scores.json")
    words = ("--hypotheses", str(tmp_path / "fr"), "--references", str(tmp_path / "fr"), "--json")
    assert run("evaluate", *words, str(tmp_path / "link"))[0] == 0
    assert (tmp_path / "link").is_symlink()
    expected = (tmp_path / "scores.json").read_bytes()
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    assert run("evaluate", *words, str(tmp_path / "pipe"))[0] == 0
    assert os.read(reader, 2 * len(expected)) == expected
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()


def test_wrong_everyday_sentences_are_listed(run: Run, tmp_path: Path) -> None:
    from scratch.plumbing.data.everyday import everyday_sentences

    lines = [sentence.accepted[0] for sentence in everyday_sentences()]
    lines[0] = "Où est la guerre ?"
    path = tmp_path / "everyday.fr"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    scores = tmp_path / "scores.json"
    words = ("--set", "everyday", "--json", str(scores))
    status, out, _ = run("evaluate", "--hypotheses", str(path), *words)
    assert status == 0
    assert "right: 39 of 40" in out
    assert out.count("wrong:") == 1
    assert "Where is the station? -> Où est la guerre ?" in out
    assert json.loads(scores.read_text(encoding="utf-8"))["sets"]["everyday"]["right"] == 39


# -- sizes and help


def test_the_sizes_stand_beside_the_papers(run: Run) -> None:
    status, out, _ = run("sizes")
    assert status == 0
    lines = {line.split()[0]: line for line in out.splitlines() if line}
    assert "63,082,496" in lines["base"]
    assert "65 million" in lines["base"]
    assert "214,245,376" in lines["big"]
    assert "213 million" in lines["big"]
    assert "Conjecture" in out


@pytest.mark.parametrize("command", [None, "translate", "train", "evaluate", "ship", "sizes"])
def test_help_is_there(run: Run, command: str | None) -> None:
    status, out, err = run(*([command] if command else []), "--help")
    assert (status, err) == (0, "")
    assert "usage: python -m scratch" in out
    assert "%(" not in out


def test_help_names_what_there_is_to_choose(run: Run) -> None:
    from scratch.plumbing.models.storage import STORED_AS

    shipping = run("ship", "--help")[1]
    assert all(kind in shipping for kind in STORED_AS)
    training = "".join(run("train", "--help")[1].split())  # it may break at a hyphen
    assert all(name in training for name in recipes.RECIPES)


def test_commands_that_do_not_exist_are_one_line(run: Run) -> None:
    refused(run(), "COMMAND")
    refused(run("traduire"), "traduire")


def test_help_comes_at_once() -> None:
    """The command line does not import torch before it knows that it is needed."""
    code = "import sys, scratch.plumbing.cli; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"


# -- the process


def test_a_process_translates(saved: str) -> None:
    done = subprocess.run(
        [*COMMAND, "translate", "--model", saved, "--beam", "1"],
        input="The man.\n\nÀ l'été.\n",
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 3


def test_what_comes_out_is_utf_8_whatever_the_locale(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def print_french(_: object) -> None:
        print("L’été, œuf")

    monkeypatch.setattr(cli, "_sizes", print_french)
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    assert run("sizes") == (0, "", "")
    assert written.getvalue().decode("utf-8").split("\n")[0].rstrip("\r") == "L’été, œuf"


def test_closed_streams_are_one_line(
    run: Run, saved: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -m scratch sizes >&-"], capture_output=True, timeout=60
    )
    refused((done.returncode, "", done.stderr.decode()), "standard output is closed")
    monkeypatch.setattr(sys, "stdin", None)  # as Python does when it is closed
    status = main(["translate", "--model", saved])
    captured = capsys.readouterr()
    refused((status, captured.out, captured.err), "standard input is closed")
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["translate", "--beam", "0"]) == 2
    assert capsys.readouterr().out == ""  # the message does not stand among translations


def test_a_reader_that_has_seen_enough_is_no_error(saved: str) -> None:
    with subprocess.Popen(
        [*COMMAND, "translate", "--model", saved, "--beam", "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stdin is not None
        process.stdin.write(b"The man.\n" * 3)
        process.stdin.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 0


def test_a_full_disk_is_one_line(saved: str) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, "translate", "--model", saved],
            input=b"The man.\n",
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
        )
    refused((done.returncode, "", done.stderr.decode()), "space")


def heed_ctrl_c() -> None:
    """Undo what a shell does to a job in the background, whose children would ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_leaves_no_traceback(saved: str) -> None:
    """Its input never ends, so however slow the machine is, the process is at work."""
    with subprocess.Popen(["yes", "The man."], stdout=subprocess.PIPE) as endless:
        try:
            with subprocess.Popen(
                [*COMMAND, "translate", "--model", saved, "--beam", "1", "--batch-size", "1"],
                stdin=endless.stdout,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                preexec_fn=heed_ctrl_c,
            ) as process:
                assert process.stdout is not None
                assert process.stdout.readline().strip()
                os.kill(process.pid, signal.SIGINT)
                _, err = process.communicate()
        finally:
            endless.kill()
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert b"stopped" in err


# -- several processes


def train_until(folder: Path, *words: str, steps: int) -> tuple[int, str]:
    """Train with endless patience; Ctrl-C to all processes once the log has ``steps`` of them."""
    command = [*COMMAND, "train", "grammar", "--out", str(folder), "--steps", "1000000", *words]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=heed_ctrl_c
    ) as process:
        log = folder / "log.jsonl"
        while process.poll() is None:
            if log.exists() and log.read_text().count('"loss"') >= steps:
                os.killpg(process.pid, signal.SIGINT)
                break
            time.sleep(0.05)
        _, err = process.communicate()
    return process.returncode, err


def test_the_command_starts_its_processes_itself(tmp_path: Path) -> None:
    """Two of one thread each, stopped by Ctrl-C, gone on with, and stopped again."""
    tsv, out = tmp_path / "pairs.tsv", tmp_path / "run"
    tsv.write_text("".join(f"{a}\t{b}\n" for a, b in PAIRS), encoding="utf-8")
    words = ["--tsv", str(tsv), "--batch-size", "60", "--processes", "2"]
    for more, steps in ((words, 1), ([*words, "--resume"], 3)):
        status, err = train_until(out, *more, steps=steps)
        assert status == 130, err
        assert "\nscratch train: stopped at step " in err
        assert "go on with --resume" in err
        assert "Traceback" not in err
    header, *entries = (json.loads(line) for line in (out / "log.jsonl").open())
    assert (header["processes"], header["threads"]) == (2, 1)
    assert header["command"].endswith("--processes 2")
    numbers = [entry["step"] for entry in entries if "loss" in entry]
    assert numbers == list(range(1, len(numbers) + 1))
    (resumed,) = [entry["resumed"] for entry in entries if "resumed" in entry]
    assert (resumed["processes"], resumed["threads"]) == (2, 1)


def test_what_several_processes_refuse_is_one_line(tmp_path: Path) -> None:
    words = [*COMMAND, "train", "grammar", "--out", str(tmp_path / "run"), "--tsv", "none"]
    done = subprocess.run([*words, "--processes", "2"], capture_output=True, text=True)
    refused((done.returncode, done.stdout, done.stderr), "none")
    assert not (tmp_path / "run").exists()


def test_ctrl_c_says_what_the_command_has_to_say(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(_: object) -> None:
        raise KeyboardInterrupt("stopped at step 7; go on with --resume")

    monkeypatch.setattr(cli, "_sizes", stop)
    status, out, err = run("sizes")
    assert (status, out) == (130, "")
    assert err == "\nscratch sizes: stopped at step 7; go on with --resume\n"
