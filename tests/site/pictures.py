"""Pictures of every page, wide and narrow, light and dark (`make pictures`)."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from visit import WIDTHS, Visit, window

each_scheme = pytest.mark.parametrize("scheme", ["light", "dark"])
each_width = pytest.mark.parametrize("width", ["wide", "narrow"])


def take(page: Page, root: Path, name: str, scheme: str, width: str) -> None:
    """Leave a picture of the whole page, and assert that there is something on it."""
    at = root / "_build" / "screenshots" / f"{name.replace('/', '-')}-{width}-{scheme}.png"
    at.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=at, full_page=True)
    with Image.open(at) as picture:
        assert picture.width == WIDTHS[width][0] and picture.height >= WIDTHS[width][1]
        shades = sum(count > 0 for count in picture.convert("L").histogram())
    assert shades > 20, "nothing can be seen"


@each_scheme
@each_width
def test_page(
    browser: Browser, address: str, root: Path, page_name: str, scheme: str, width: str
) -> None:
    with window(browser, scheme, width) as context:
        visit = Visit(context.new_page(), address).open(page_name)
        take(visit.page, root, page_name.removesuffix(".html"), scheme, width)


@each_scheme
@each_width
def test_playground_at_work(
    browser: Browser, address: str, root: Path, scheme: str, width: str
) -> None:
    with window(browser, scheme, width) as context:
        page = Visit(context.new_page(), address).open("book/playground.html").page
        page.locator("input[value=beam]").check(force=True)
        page.click("#pg-go")
        expect(page.locator("#pg-status")).to_contain_text("The translation: ")
        page.uncheck("#pg-mask")
        expect(page.locator("#pg-status")).to_contain_text("With the mask off")
        take(page, root, "playground-at-work", scheme, width)
