"""The translator in one file: short, by itself, and the package's French word for word."""

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import translate_in_one_file as one
from reference import quick
from same_french import NEAR, differences, english_sentences
from scratch.plumbing.data import fetch
from scratch.plumbing.data.everyday import everyday_sentences, first_inputs
from scratch.plumbing.models.storage import load_pretrained
from scratch.tokens import Tokenizer

PATH = Path(one.__file__)
VOCABULARY = one.Vocabulary(one.SHIPPED / "tokenizer.json")
TOKENIZER = Tokenizer.load(one.SHIPPED / "tokenizer.json")


# the book and the libraries that it stands on are not to be found
ALONE = """
import runpy, sys
for name in ("torch", "tokenizers", "safetensors", "scratch"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(*words: str, text: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", ALONE, str(PATH), *words]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=120)


def test_it_is_short_and_asks_for_numpy_alone() -> None:
    source = PATH.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 250
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)]
    plain = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import)]
    names = {node.module for node in nodes} | {a.name for node in plain for a in node.names}
    assert names - set(sys.stdlib_module_names) == {"numpy"}


def test_it_translates_lines_by_itself_and_at_once() -> None:
    began = time.perf_counter()
    done = run(text="The small cat sees the red bicycle.\n\nWHERE is it?\n")
    print(f"{time.perf_counter() - began:.2f} s")  # under one second where nothing else runs
    assert done.returncode == 0, done.stderr
    first, empty, third = done.stdout.splitlines()
    assert (first, empty) == ("Le petit chat voit le vélo rouge.", "")
    assert third
    other = run("--beam", "5", text="The small cat sees the red bicycle.\n")
    assert other.stdout == first + "\n"


def test_what_it_cannot_do_is_one_line() -> None:
    long = run(text="dog " * 200 + "\n")
    assert long.returncode == 1
    assert long.stderr.count("\n") == 1 and "201 tokens, expected 128" in long.stderr
    missing = run("--model", "nowhere", text="Hello.\n")
    assert missing.returncode == 1 and "nowhere" in missing.stderr
    assert "usage" in run("--help", text="").stdout


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=40)


@quick
@given(st.one_of(texts, st.lists(st.sampled_from(["it's", "l’eau", "12:30", "naïve", "€5", "-"]))))
def test_it_cuts_text_as_the_library_does(text: str | list[str]) -> None:
    text = " ".join(text) if isinstance(text, list) else text
    if not text.strip():
        return
    ids = VOCABULARY.encode(text)
    assert ids == TOKENIZER.encode(text)
    assert VOCABULARY.decode(ids) == TOKENIZER.decode(ids).strip(" ")


@pytest.mark.parametrize("name", ["en-fr", "grammar-en-fr"])
def test_it_reads_the_weights_that_ship(name: str) -> None:
    found = one.read_weights(one.SHIPPED.parent / name / "model.safetensors")
    model, _ = load_pretrained(name)
    for key, weight in model.named_parameters():
        assert (found[key] == weight.detach().numpy()).all(), key


@pytest.mark.parametrize("beam", [1, 5])
def test_what_people_type_comes_out_as_the_package_has_it(beam: int) -> None:
    sentences = [s.english for s in (*everyday_sentences(), *first_inputs())]
    different, gap = differences(sentences, beam)
    assert different == []
    assert gap < NEAR


@pytest.mark.parametrize("beam", [1, 5])
def test_test_sentences_come_out_as_the_package_has_them(beam: int) -> None:
    missing = [name for name in fetch.CHECKSUMS if not fetch.is_cached(name)]
    if missing:
        pytest.skip(f"{', '.join(missing)} not in {fetch.cache_folder()}: no test sentences")
    different, gap = differences(english_sentences(50), beam)
    assert different == []
    assert gap < NEAR
