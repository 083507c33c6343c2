"""Every page in a browser: wide and narrow, light and dark, with pictures in _build/screenshots."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

WAYS = [(scheme, width) for scheme in ("light", "dark") for width in ("wide", "narrow")]
WIDTHS = {"wide": (1280, 900), "narrow": (390, 844)}
# formulas that are not typeset, or could not be; empty on a page that is in order
MATHEMATICS = """() => ({
    raw: [...document.querySelectorAll("article .math")]
        .filter(e => !e.querySelector(".katex math")).map(e => e.textContent),
    broken: [...document.querySelectorAll(".katex-error, merror")].map(e => e.textContent),
})"""
# images that say nothing to who cannot see them: no text, or a file's name for one
SILENT = """() => [...document.images]
    .filter(i => !i.alt.trim() || /\\.(png|svg|jpe?g)$/.test(i.alt.trim())).map(i => i.src)"""
UNLOADED = "() => [...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.src)"
# pictures that a dense screen would show blurred, and pictures out of shape
BLURRED = """() => [...document.querySelectorAll("article img[src$='.png']")].filter(i => {
    const style = getComputedStyle(i);
    const wide = i.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    const high = i.clientHeight - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom);
    const shape = (high * i.naturalWidth) / (wide * i.naturalHeight);
    return wide > 0 && (i.naturalWidth < 2 * wide - 2 || Math.abs(shape - 1) > .02);
}).map(i => i.src)"""
# the elements that stick out to the right and are not inside a box that scrolls
STICKING_OUT = """() => {
    const scrolls = e => e
        && (/auto|scroll|hidden/.test(getComputedStyle(e).overflowX) || scrolls(e.parentElement));
    return [...document.querySelectorAll("article *, footer *")]
        .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !scrolls(e.parentElement))
        .map(e => `${e.tagName}.${e.className}`).slice(0, 5);
}"""
# what axe-core calls serious or critical
AXE = """async () => (await axe.run()).violations
    .filter(v => ["serious", "critical"].includes(v.impact))
    .flatMap(v => v.nodes.map(n => [v.id, n.target.join(" "), n.html, n.failureSummary]))"""


class Visit:
    """A page that has been opened, and what happened meanwhile."""

    def __init__(self, page: Page, host: str) -> None:
        self.page = page
        self.elsewhere: list[str] = []
        self.errors: list[str] = []

        def request(r: Any) -> None:
            parts = urlsplit(r.url)
            if parts.scheme not in ("data", "blob") and parts.netloc != host:
                self.elsewhere.append(r.url)

        page.on("request", request)
        page.on("requestfailed", lambda r: self.errors.append(f"failed: {r.url}"))
        page.on(
            "response",
            lambda r: self.errors.append(f"{r.status}: {r.url}") if r.status >= 400 else None,
        )
        page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: self.errors.append(str(e)))

    def forget(self) -> None:
        """Begin again, for the next page in the same tab."""
        self.elsewhere.clear()
        self.errors.clear()


@pytest.fixture(scope="module")
def contexts(browser: Browser) -> Iterator[Callable[[str, str], BrowserContext]]:
    """Windows by scheme and width; the pages in one share its cache, as a reader's do."""
    opened: dict[tuple[str, str], BrowserContext] = {}

    def window(scheme: Any, width: str) -> BrowserContext:
        if (scheme, width) not in opened:
            wide, high = WIDTHS[width]
            opened[scheme, width] = browser.new_context(
                viewport={"width": wide, "height": high},
                color_scheme=scheme,
                reduced_motion="reduce",
            )
        return opened[scheme, width]

    yield window
    for context in opened.values():
        context.close()


def look(
    visit: Visit, address: str, root: Path, name: str, scheme: str, width: str
) -> dict[str, Any]:
    """Open a page, leave a picture of it, and return what is wrong with it."""
    page = visit.page
    page.goto(f"{address}/{name}", wait_until="networkidle")
    pictures = root / "_build" / "screenshots"
    pictures.mkdir(parents=True, exist_ok=True)
    stem = name.removesuffix(".html").replace("/", "-")
    page.screenshot(path=pictures / f"{stem}-{width}-{scheme}.png", full_page=True)
    return faults(visit, root)


def faults(visit: Visit, root: Path) -> dict[str, Any]:
    """Return what is wrong with the page that is open."""
    page = visit.page
    mathematics = page.evaluate(MATHEMATICS)
    sideways = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    page.add_script_tag(path=root / "node_modules/axe-core/axe.min.js")
    return {
        "requests to another host": visit.elsewhere,
        "complaints of the browser": visit.errors,
        "images that do not load": page.evaluate(UNLOADED),
        "images blurred or out of shape": page.evaluate(BLURRED),
        "images without alternative text": page.evaluate(SILENT),
        "wider than the page": page.evaluate(STICKING_OUT),
        "the page scrolls sideways by": max(0, sideways),
        "mathematics not typeset": mathematics["raw"] + mathematics["broken"],
        "grave faults that axe-core finds": page.evaluate(AXE),
    }


def test_page(
    contexts: Callable[[str, str], BrowserContext],
    address: str, root: Path, page_name: str, scheme: str, width: str,
) -> None:  # fmt: skip
    visit = Visit(contexts(scheme, width).new_page(), urlsplit(address).netloc)
    seen = look(visit, address, root, page_name, scheme, width)
    found = {what: places for what, places in seen.items() if places}
    assert not found, json.dumps(found, indent=2, ensure_ascii=False)
    assert visit.page.evaluate("document.documentElement.dataset.theme") == scheme
    visit.page.close()


def test_pages_of_names(
    contexts: Callable[[str, str], BrowserContext],
    address: str, root: Path, module_pages: list[str],
) -> None:  # fmt: skip
    """Every page of a public name, in one way for each module; no pictures of these."""
    scheme, width = WAYS[len(module_pages[0]) % 4]
    visit = Visit(contexts(scheme, width).new_page(), urlsplit(address).netloc)
    found: dict[str, dict[str, Any]] = {}
    for name in module_pages:
        visit.page.goto(f"{address}/{name}", wait_until="load")
        seen = {what: list(places) if isinstance(places, list) else places
                for what, places in faults(visit, root).items() if places}  # fmt: skip
        found |= {name: seen} if seen else {}
        visit.forget()
    assert not found, json.dumps(found, indent=2, ensure_ascii=False)
    visit.page.close()


def test_the_book_has_mathematics(browser: Browser, address: str, pages: list[str]) -> None:
    """So that the check above is not one of nothing."""
    page = browser.new_page()
    page.goto(f"{address}/book/notation.html", wait_until="networkidle")
    assert "book/notation.html" in pages
    assert page.locator("article .katex").count() > 20
    page.close()


@pytest.mark.parametrize(
    ("words", "title"), [("attention", "Notation"), ("causal+mask", "5 · Attention")]
)
def test_search_works_without_a_network(
    browser: Browser, address: str, words: str, title: str
) -> None:
    page = browser.new_page()
    page.goto(f"{address}/search.html?q={words}")
    # results come one by one, so wait for the one that is asked for
    found = page.locator("#search-results li a", has_text=title).first
    expect(found).to_be_visible(timeout=20_000)
    page.close()


def test_first_page_leads_to_the_book(browser: Browser, address: str) -> None:
    page = browser.new_page()
    page.goto(f"{address}/")
    page.wait_for_url(f"{address}/book/index.html")
    assert "The Tested Transformer" in page.title()
    page.close()
