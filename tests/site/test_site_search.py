"""The search: the right place first, while one types, from what a reader reads."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from visit import Visit, window


@pytest.mark.parametrize(
    ("query", "heading", "place"),
    [
        ("BLEU", "BLEU", "glossary"),
        ("causal mask", "causal mask", "glossary"),
        ("why divide by the square root", "Why divide by the square root", "05_attention"),
        ("KV cache", "KV cache", "glossary"),
        ("label_smoothed_loss", "label_smoothed_loss", "api/scratch.training"),
        ("scaled_dot_product_attention", "dot", "(glossary|scratch.attention)"),
        ("attenton", "attention", "glossary"),  # a slip
    ],
)
def test_the_right_place_comes_first(
    page: Page, address: str, query: str, heading: str, place: str
) -> None:
    page.goto(f"{address}/search.html")
    page.locator("article input[type=search]").press_sequentially(query)
    first = page.locator("article ol.found a").first
    expect(first).to_have_text(re.compile(re.escape(heading), re.IGNORECASE))
    expect(first).to_have_attribute("href", re.compile(place))
    assert query.split()[0] in page.evaluate("location.search")


@pytest.mark.parametrize("word", ["constructor", "__proto__", "qqqq", "the"])
def test_no_word_breaks_it(page: Page, address: str, word: str) -> None:
    visit = Visit(page, address).open(f"search.html?q={word}")
    expect(page.locator("article .found-status")).to_have_text(re.compile("places?$|Nothing"))
    assert visit.errors == []


def test_it_knows_prose_and_not_what_surrounds_it(page: Page, address: str) -> None:
    page.goto(f"{address}/search.html")
    page.wait_for_function("window.bookIndex")
    texts = page.evaluate("bookIndex.flatMap(([, , entries]) => entries.map(e => e[3]))")
    assert len(texts) > 500
    assert not [text for text in texts if re.search(r"\\[a-z]{3}|import torch|Copy to clip", text)]


def test_the_dialog_shows_places_too(browser: Browser, address: str) -> None:
    with window(browser, "dark", "narrow") as context:
        visit = Visit(context.new_page(), address).open("book/05_attention.html")
        visit.page.keyboard.press("Control+k")
        visit.page.keyboard.type("softmax")
        places = visit.page.locator("dialog ol.found > li")
        expect(places).to_have_count(6)
        assert visit.misfits()["the page scrolls sideways by"] == 0
        assert visit.axe(part="dialog") == []
        places.first.locator("a").click()
        visit.page.wait_for_url("**/glossary.html#term-softmax")
