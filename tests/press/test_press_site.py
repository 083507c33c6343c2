"""What press adds to the site: cards, downloads, a server, buttons that one setting brings."""

from __future__ import annotations

import ast
import gzip
import json
import shutil
import subprocess
import sys
import threading
import types
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from press.book import PressError
from press.site.cards import LONGEST, cards_of
from press.site.notebook import LIBRARIES, for_download, versions
from press.site.serve import server

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = {
    "cells": [
        {"cell_type": "markdown", "id": "a", "metadata": {}, "source": "# 1 · One\n\nText."},
        {
            "cell_type": "code", "id": "b", "metadata": {}, "source": "1 + 1",
            "execution_count": 1, "outputs": [],
        },
    ],
    "metadata": {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}
    },
    "nbformat": 4, "nbformat_minor": 5,
}  # fmt: skip
URL = "https://github.com/someone/a-book"


# -- cards -----------------------------------------------------------------------------------------


def test_cards_hold_what_a_link_leads_to() -> None:
    body = """<section id="top"><h1>Top<a class="headerlink" href="#top">#</a></h1><p>First.</p>
    <dl class="simple glossary"><dt id="term-mask">mask<a class="headerlink">#</a></dt>
      <dd><p>Says <a href="x.html"><em>who</em></a> may look.</p></dd></dl>
    <div class="citation" id="id1"><span class="label"><span>[</span>1</span>
      <p>Someone. A book. <span class="backrefs">(1)</span></p></div>
    <figure id="fig-a"><img alt="A" src="../_images/a.svg"/>
      <figcaption><p>Fig. 1</p></figcaption></figure>
    <div class="math" id="equation-e"><span class="eqno">(1)</span>\\[x < y\\]</div>
    <dl class="py function"><dt class="sig" id="m.f"><span class="sig-name">f</span>(x)</dt>
      <dd><p>Return it.</p><p>More.</p></dd></dl>
    <div class="exercise admonition" id="ex-a"><p>Exercise 1</p>
      <section><p>Do it.</p></section></div>
    <div class="solution dropdown admonition" id="ex-a-solution"><p>No.</p></div></section>"""
    cards = cards_of(body, "book/page")
    assert set(cards) == {
        "", "top", "term-mask", "id1", "fig-a", "equation-e", "m.f", "ex-a",
    }  # fmt: skip
    assert cards["top"] == cards[""] and "First." in cards[""] and "headerlink" not in cards[""]
    assert "<em>who</em> may look" in cards["term-mask"] and "href" not in cards["term-mask"]
    assert "Someone. A book." in cards["id1"] and "(1)" not in cards["id1"]
    assert 'data-src="_images/a.svg"' in cards["fig-a"] and "Fig. 1" in cards["fig-a"]
    assert "\\[x &lt; y\\]" in cards["equation-e"] and "(1)" not in cards["equation-e"]
    assert "Return it." in cards["m.f"] and "More." not in cards["m.f"]
    assert "Do it." in cards["ex-a"]


def test_a_card_is_cut_at_a_word_and_an_empty_page_has_none() -> None:
    text = "word " * LONGEST
    card = cards_of(f'<section id="a"><h1>A</h1><p>{text}</p></section>', "a")["a"]
    assert len(card) < LONGEST + 200 and "word …</p>" in card
    assert cards_of("  ", "a") == {}


# -- downloads -------------------------------------------------------------------------------------


def test_every_library_that_chapters_import_is_named() -> None:
    """What chapters and the package import, apart from what Python, kernels and the book have."""
    texts = [path.read_text("utf-8") for path in (ROOT / "code" / "scratch").rglob("*.py")]
    for path in (ROOT / "book").glob("*.ipynb"):
        cells = json.loads(path.read_text("utf-8"))["cells"]
        codes = ("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        texts += [code for code in codes if not code.lstrip().startswith(("%", "!"))]
    names = {name.split(".")[0] for text in texts for name in imports(text)}
    others = names - set(sys.stdlib_module_names) - {
        "scratch", "studies", "press", "translate_in_one_file",
        "matplotlib_inline", "IPython",
    }  # fmt: skip
    assert others <= set(LIBRARIES), others - set(LIBRARIES)


def imports(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def test_a_downloaded_chapter_says_what_it_needs_and_is_otherwise_the_same() -> None:
    pinned = versions(ROOT)
    loaded = json.loads(for_download(json.dumps(NOTEBOOK), "", "main", pinned))
    said, code, *rest = loaded["cells"]
    assert rest == NOTEBOOK["cells"]
    assert said["cell_type"] == "markdown" and f"torch {pinned['torch']}" in said["source"]
    assert code["cell_type"] == "code" and code["outputs"] == []
    ast.parse(code["source"])
    assert "github.com" not in said["source"]
    linked = json.loads(for_download(json.dumps(NOTEBOOK), URL, "main", pinned))["cells"][0]
    assert f"([github.com/someone/a-book]({URL}))" in linked["source"]


def test_versions_must_be_pinned(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("torch==1.0 ; sys_platform == 'x'\nnumpy>=2\n")
    with pytest.raises(PressError, match=r"requirements\.txt must pin numpy"):
        versions(tmp_path)
    assert versions(ROOT)["torch"] in (ROOT / "requirements.txt").read_text()


def first_cell(url: str, folder: Path) -> str:
    loaded = json.loads(for_download(json.dumps(NOTEBOOK), url, "main", versions(ROOT)))
    code: str = loaded["cells"][1]["source"]
    return code.replace("/content/tested-transformer", str(folder))


def test_on_colab_the_first_cell_fetches_and_installs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With git and pip stood in for: nothing is fetched, and what would be run is seen."""
    folder, commands = tmp_path / "book-of-the-reader", []

    def run(command: list[str], check: bool) -> None:
        assert check
        commands.append(command)
        (folder / "book").mkdir(parents=True, exist_ok=True)

    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    exec(first_cell(URL, folder).replace("'tqdm': ", "'no_such_module_here': "), {})
    cloned, lacking, installed = commands
    assert cloned[:2] == ["git", "clone"] and cloned[-2:] == [URL, str(folder)]
    assert lacking[-1].startswith("no_such_module_here==") and "-q" in lacking
    assert installed[-3:] == ["--no-deps", "-e", str(folder)]
    assert sys.path[0] == f"{folder}/code" and Path.cwd() == folder / "book"


def test_without_an_address_the_first_cell_asks_for_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = first_cell("", tmp_path / "none")
    exec(code, {})  # not on Colab, and the book is installed: nothing happens
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    with pytest.raises(SystemExit, match="Copy the repository of the book to"):
        exec(code, {})


# -- the server ------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    (tmp_path / "index.html").write_text("<p>" + "text " * 500)
    (tmp_path / "a.bin").write_bytes(b"\0" * 500)
    with server(tmp_path) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield tmp_path, f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def get(url: str, accept: str) -> tuple[bytes, str | None]:
    request = urllib.request.Request(url, headers={"Accept-Encoding": accept})
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.headers["Vary"] == "Accept-Encoding"
        return answer.read(), answer.headers["Content-Encoding"]


def test_the_server_compresses_text_for_who_accepts_it(small: tuple[Path, str]) -> None:
    folder, url = small
    plain = (folder / "index.html").read_bytes()
    for accept in ("gzip, deflate", "br;q=1.0, GZIP;q=0.8", "gzip;q=0.01", "identity;q=0,gzip"):
        body, encoding = get(f"{url}/index.html?v=1", accept)
        assert encoding == "gzip" and len(body) < len(plain) / 5 and gzip.decompress(body) == plain
    for accept in ("identity", "", "gzip;q=0", "br, gzip ; q=0.000, deflate", "gzipped"):
        assert get(f"{url}/index.html", accept) == (plain, None)
    assert get(f"{url}/a.bin", "gzip") == (b"\0" * 500, None)
    (folder / "index.html").write_text("<p>changed")
    assert gzip.decompress(get(f"{url}/index.html", "gzip")[0]) == b"<p>changed"


@pytest.mark.parametrize("accept", ["gzip", "identity"])
def test_the_server_stays_in_its_folder(
    small: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory, accept: str
) -> None:
    folder, url = small
    secret = tmp_path_factory.mktemp("elsewhere") / "secret.txt"
    secret.write_text("no")
    (folder / "link.txt").symlink_to(secret)
    (folder / "linked").symlink_to(secret.parent)
    (folder / "loop.txt").symlink_to(folder / "loop.txt")
    (folder / "here.txt").symlink_to(folder / "index.html")
    above = f"..%2f{secret.parent.name}%2fsecret.txt"
    for path in (above, "link.txt", "linked/secret.txt", "linked/", "loop.txt", "%00", "a%00.txt",
                 "a" * 5000):  # fmt: skip
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(f"{url}/{path}", accept)
    assert get(f"{url}/here.txt", accept) == get(f"{url}/index.html", accept)


def test_a_folder_without_a_site_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no site: run make book"):
        server(tmp_path)


# -- one setting for the repository ----------------------------------------------------------------


def build(folder: Path, url: str) -> str:
    """Build a site of one chapter by the book's own `_config.yml`; return the chapter's HTML."""
    (folder / "book").mkdir()
    shutil.copytree(ROOT / "book" / "assets", folder / "book" / "assets")
    shutil.copy(ROOT / "requirements.txt", folder)
    (folder / "_build" / "vendor").mkdir(parents=True)
    config = (ROOT / "_config.yml").read_text("utf-8")
    assert config.count('  url: ""\n') == 1, "the setting is empty until there is a repository"
    (folder / "_config.yml").write_text(config.replace('  url: ""\n', f'  url: "{url}"\n'))
    (folder / "_toc.yml").write_text(
        "format: jb-book\nroot: book/index\nchapters:\n- file: book/01_one\n"
    )
    (folder / "book" / "index.md").write_text("# A book\n")
    (folder / "book" / "references.bib").write_text("")
    (folder / "book" / "01_one.ipynb").write_text(json.dumps(NOTEBOOK))
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", ".", "-q"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return (folder / "_build" / "html" / "book" / "01_one.html").read_text("utf-8")


def test_buttons_follow_the_address_of_the_repository(tmp_path: Path) -> None:
    page = build(tmp_path, URL)
    for address in (
        f'href="{URL}"',
        "https://colab.research.google.com/github/someone/a-book/blob/notebooks/01_one.ipynb",
        "https://mybinder.org/v2/gh/someone/a-book/main?urlpath=lab/tree/book/01_one.ipynb",
    ):
        assert address in page, address
    saved = json.loads((tmp_path / "_build/html/_sources/book/01_one.ipynb").read_text("utf-8"))
    assert URL in "".join(saved["cells"][1]["source"])


def test_without_an_address_no_button_leads_to_one(tmp_path: Path) -> None:
    page = build(tmp_path, "")
    assert "01_one.ipynb" in page, "the chapter can be downloaded all the same"
    for word in ("colab", "mybinder", "github", "btn-source-repository", "launch-buttons"):
        assert word not in page.lower(), word
