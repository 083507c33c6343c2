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
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright

from press.site.serve import server
from visit import PATIENCE, window

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build" / "html"
QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def built_pages() -> list[str]:
    """Addresses of the pages, from the search index: what Sphinx wrote, stale files left out."""
    index = SITE / "_static/search/index.js"
    if not index.is_file():
        return []
    text = index.read_text("utf-8").removeprefix("window.bookIndex = ").rstrip().rstrip(";")
    return [address for address, _, _ in json.loads(text)]


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


# by module, because while it is open Playwright's loop runs in this thread, and no other one may
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        path = find_browser(playwright)
        if path is None:
            no_browser = "no Chromium: install it (Debian: apt-get install chromium)"
            if os.environ.get("CI"):
                pytest.fail(no_browser)
            pytest.skip(f"{no_browser}; the site is not looked at")
        browser = playwright.chromium.launch(executable_path=path, args=QUIET)
        expect.set_options(timeout=PATIENCE)
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    with window(browser, "light", "wide") as context:
        yield context


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test of `page_name` is one of each built page; one of `chapter`, of chapters and index."""
    if "page_name" in metafunc.fixturenames:
        names = [*built_pages(), "search.html", "genindex.html"]
        metafunc.parametrize("page_name", names, ids=[n.removesuffix(".html") for n in names])
    if "chapter" in metafunc.fixturenames:
        chapters = [name for name in built_pages() if re.match(r"book/(\d\d_|index)", name)]
        metafunc.parametrize("chapter", chapters)
