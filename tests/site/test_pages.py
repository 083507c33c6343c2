"""Every page in a browser, each check in every way that can change its answer.

A page is opened once, as on a phone, and then made wide and dark. What fits depends on the width,
contrast on the theme; requests, errors, texts of images and formulas depend on neither. The frame
around the text is the same on every page, so what width and theme change in it is looked at on a
few light pages, opened afresh in each way.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from visit import READY, SILENT, UNLOADED, Visit, assert_nothing, window

MOST_BYTES, MOST_REQUESTS = 1_200_000, 60
# formulas that are not typeset, or could not be; empty on a page that is in order
MATHEMATICS = """() => [
    ...[...document.querySelectorAll("article .math")]
        .filter(e => !e.querySelector(".katex math")),
    ...document.querySelectorAll(".katex-error, merror"),
].map(e => e.textContent)"""
# a picture of one point, drawn a hundred points wide
DOT = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAA"
    "AABJRU5ErkJggg==#dot.png"
)
SPOILED = f"""<div class="too-wide" style="width: 1000px">Wide</div>
<p class="scrolling" style="overflow: auto; width: 50px; white-space: pre">One two three four</p>
<p class="faint" style="color: #555; background: #444">Faint</p>
<img src="/nothing.png" alt="nothing.png">
<img src="{DOT}" alt="A dot" style="width: 100px; height: 100px">"""
FRAMES = ["book/index.html", "book/data_card.html", "book/api.html", "search.html"]


def test_page(browser: Browser, address: str, page_name: str) -> None:
    with window(browser, "light", "narrow") as context:
        visit = Visit(context.new_page(), address)
        weight = Weight(visit)
        visit.open(page_name)
        found: dict[str, Any] = {"jumps while it loads": visit.jumps()}
        found |= {f"{what}, narrow": places for what, places in visit.misfits().items()}
        visit.page.evaluate("scrollTo(0, document.body.scrollHeight)")  # loads what waits for that
        visit.become("light", "wide")
        found |= {f"{what}, wide": places for what, places in visit.misfits().items()}
        found |= {
            "images that do not load": visit.page.evaluate(UNLOADED),
            "images without alternative text": visit.page.evaluate(SILENT),
            "mathematics not typeset": visit.page.evaluate(MATHEMATICS),
            "grave faults that axe-core finds": visit.axe(),
        }
        if re.match(r"book/(\d\d_|index)", page_name):
            weight.is_little()
        visit.become("dark", "wide")
        found |= {
            "images that do not load in the dark": visit.page.evaluate(UNLOADED),
            "contrast in the dark": visit.faint(),
            "requests to another host": visit.elsewhere(),
            "complaints of the browser": visit.errors + visit.lost,
        }
        assert_nothing(found)


@pytest.mark.parametrize("page", FRAMES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", ["wide", "narrow"])
def test_frame(browser: Browser, address: str, page: str, scheme: str, width: str) -> None:
    with window(browser, scheme, width) as context:
        visit = Visit(context.new_page(), address)
        visit.open(page)
        found: dict[str, Any] = visit.misfits()
        found |= {
            "jumps while it loads": visit.jumps(),
            "images that do not load": visit.page.evaluate(UNLOADED),
            "grave faults that axe-core finds": visit.axe(),
            "complaints of the browser": visit.errors + visit.lost,
        }
        assert_nothing(found)
        assert visit.page.evaluate("document.documentElement.dataset.theme") == scheme


class Weight:
    """What a page asks for over a cold cache: bytes on the wire, headers included."""

    def __init__(self, visit: Visit) -> None:
        self.address = visit.address
        self.urls: dict[str, str] = {}
        self.bytes: dict[str, float] = {}
        network = visit.page.context.new_cdp_session(visit.page)
        network.send("Network.enable")
        network.on(
            "Network.requestWillBeSent",
            lambda e: self.urls.update({e["requestId"]: e["request"]["url"]}),
        )
        network.on(
            "Network.loadingFinished",
            lambda e: self.bytes.update({e["requestId"]: e["encodedDataLength"]}),
        )

    def is_little(self) -> None:
        asked = [url for url in self.urls.values() if url.startswith(self.address)]
        total = sum(self.bytes.values())
        print(f"{len(asked)} requests, {total:,.0f} bytes")
        heavy = sorted((size, self.urls[which]) for which, size in self.bytes.items())[-6:]
        assert total < MOST_BYTES, heavy
        assert 20 < len(asked) < MOST_REQUESTS
        for word in ("fontawesome", "searchindex", "/cards/", "onnx", "/model/"):
            assert not [url for url in asked if word in url], f"{word} is not needed to read"


def test_a_spoiled_page_is_noticed(page: Page, address: str) -> None:
    """So that the checks above are not some of nothing."""
    visit = Visit(page, address).open("book/index.html")
    visit.become("dark", "narrow")
    assert_nothing(visit.misfits() | {"faint": visit.faint()})
    page.evaluate(
        f"document.querySelector('article h1').insertAdjacentHTML('afterend', `{SPOILED}`)"
    )
    page.evaluate(READY)
    found = visit.misfits()
    assert found["the page scrolls sideways by"] > 500
    assert "DIV.too-wide" in found["wider than the page"]
    assert found["boxes that scroll beyond the keyboard's reach"] == ["P.scrolling"]
    assert found["images blurred or out of shape"] == [f"{address}/nothing.png", DOT]
    assert [kind[0] for kind in visit.faint()] == [".faint"]
    assert "color-contrast" in {fault[0] for fault in visit.axe()}
    assert page.evaluate(UNLOADED) == page.evaluate(SILENT) == [f"{address}/nothing.png"]
    assert visit.lost == [f"404: {address}/nothing.png"]


def test_the_book_has_mathematics(page: Page, address: str, pages: list[str]) -> None:
    """So that the check above is not one of nothing."""
    page.goto(f"{address}/book/notation.html")
    assert "book/notation.html" in pages
    assert page.locator("article .katex").count() > 20


def test_first_page_leads_to_the_book(page: Page, address: str) -> None:
    page.goto(f"{address}/")
    assert page.title().count("The Tested Transformer") == 1
    page.get_by_role("link", name="Start with chapter 1").click()
    page.wait_for_url(f"{address}/book/01_why_attention.html")
