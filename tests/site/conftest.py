"""The built site, served on this machine, and a browser to look at it with."""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Playwright, sync_playwright

from press.site.serve import server

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build" / "html"
QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
WAYS = [(scheme, width) for scheme in ("light", "dark") for width in ("wide", "narrow")]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def built_pages() -> list[str]:
    """Addresses of the pages, from the search index: what Sphinx wrote, stale files left out."""
    index = SITE / "searchindex.js"
    if not index.is_file():
        return []
    found = re.fullmatch(r"Search\.setIndex\((.*)\)", index.read_text("utf-8"), re.DOTALL)
    assert found, "searchindex.js has another form than expected"
    return [f"{name}.html" for name in json.loads(found[1])["docnames"]]


@pytest.fixture(scope="session")
def pages() -> list[str]:
    pages = built_pages()
    assert pages, "the site is not built: make book"
    return pages


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """Address of the built site, as `make serve` serves it, on a free port of this machine."""
    with server(SITE) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def find_browser(playwright: Playwright) -> str | None:
    """The system's Chromium, or the one that `playwright install chromium` fetched."""
    own = Path(playwright.chromium.executable_path)
    return next(filter(None, map(shutil.which, NAMES)), str(own) if own.is_file() else None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        path = find_browser(playwright)
        if path is None:
            no_browser = "no Chromium: install it (Debian: apt-get install chromium)"
            if os.environ.get("CI"):
                pytest.fail(no_browser)
            pytest.skip(f"{no_browser}; the site is not looked at")
        browser = playwright.chromium.launch(executable_path=path, args=QUIET)
        yield browser
        browser.close()


def of_one_name(page: str) -> bool:
    """Is it a page of the reference about one public name?"""
    return page.startswith("book/api/") and page.count("/") > 2


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each built page, with the search page and the index, wide and narrow, light and dark.

    Pages of the API reference are many and alike: each is opened in one of the four ways, and those
    of single names in one test for each module, one after the other in one tab.
    """
    pages = built_pages()
    if "page_name" in metafunc.fixturenames:
        cases = []
        kept = [name for name in pages if not of_one_name(name)]
        for number, name in enumerate([*kept, "search.html", "genindex.html"]):
            ways = [WAYS[number % 4]] if name.startswith("book/api/") else WAYS
            cases += [(name, scheme, width) for scheme, width in ways]
        ids = [f"{name.removesuffix('.html')}-{scheme}-{width}" for name, scheme, width in cases]
        metafunc.parametrize(("page_name", "scheme", "width"), cases, ids=ids)
    if "module_pages" in metafunc.fixturenames:
        names = [name for name in pages if of_one_name(name)]
        folders = sorted({name.rsplit("/", 1)[0] for name in names})
        groups = [[name for name in names if name.startswith(f"{at}/")] for at in folders]
        ids = [folder.rsplit("/", 1)[1] for folder in folders]
        metafunc.parametrize("module_pages", groups, ids=ids)
    if "chapter" in metafunc.fixturenames:
        chapters = [name for name in pages if re.match(r"book/(\d\d_|index)", name)]
        metafunc.parametrize("chapter", chapters)
