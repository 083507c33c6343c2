"""The built site, served on this machine, and a browser to look at it with."""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Playwright, sync_playwright

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


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """Address of the built site, on a free port of this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(SITE))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


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


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each built page, with the search page and the index, wide and narrow, light and dark.

    Pages of the API reference are many and alike: each is opened in one of the four ways.
    """
    if "page_name" not in metafunc.fixturenames:
        return
    cases = []
    for number, name in enumerate([*built_pages(), "search.html", "genindex.html"]):
        ways = [WAYS[number % 4]] if name.startswith("book/api/") else WAYS
        cases += [(name, scheme, width) for scheme, width in ways]
    ids = [f"{name.removesuffix('.html')}-{scheme}-{width}" for name, scheme, width in cases]
    metafunc.parametrize(("page_name", "scheme", "width"), cases, ids=ids)
