"""What a page shows before it is read: in a shared link, in a search, and while it loads."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from lxml import html
from PIL import Image
from playwright.sync_api import Browser, Page

from press.site.storefront import LONGEST, SIZE, moved
from visit import Visit, assert_nothing, window

SLOW = {"offline": False, "latency": 150, "downloadThroughput": 200_000, "uploadThroughput": 90_000}


def test_every_page_introduces_itself(root: Path, pages: list[str]) -> None:
    site, said = root / "_build" / "html", Counter[str]()
    for name in pages:
        head = html.parse(site / name).find("head")
        tags = {m.get("property") or m.get("name"): m.get("content") for m in head.iter("meta")}
        assert 0 < len(tags["description"]) <= LONGEST + 2, name
        assert tags["og:description"] == tags["description"] and tags["og:title"], name
        assert head.findtext("title").count("The Tested Transformer") == 1, name
        said[tags["description"]] += 1
        if "/api" not in name:
            with Image.open((site / name).parent / tags["og:image"]) as picture:
                assert picture.size == SIZE
    assert [text for text, times in said.items() if times > 1] == []


def test_the_first_page_stands_at_the_root(page: Page, address: str) -> None:
    visit = Visit(page, address).open("index.html")
    assert page.locator(".hero-picture").count() == 1
    page.get_by_label("Your own sentence").fill("A dog sleeps.")
    page.get_by_role("button", name="Translate").click()
    page.wait_for_url(f"{address}/book/playground.html#s=A+dog+sleeps.")
    assert visit.lost == visit.errors == []


def test_a_page_is_moved_with_what_it_leads_to() -> None:
    page = """<html data-content_root="../"><a href="x.html#y"></a><img src="../_static/z.png">
<a href="#here"></a><a href="https://a.b/c"></a><meta content="two words"><form action=""></form>"""
    assert moved(page, "book/index") == (
        page.replace('"../"', '"./"').replace("x.html", "book/x.html").replace("../_", "_")
    )


def test_a_lost_reader_is_led_back(page: Page, root: Path, address: str) -> None:
    lost = (root / "_build/html/404.html").read_text(encoding="utf-8")
    page.route("**/no/such/page", lambda route: route.fulfill(body=lost, content_type="text/html"))
    page.goto(f"{address}/no/such/page")
    assert page.get_by_role("heading", name="Not here").is_visible()
    page.get_by_role("link", name="The first page").click()
    page.wait_for_url(f"{address}/")


@pytest.mark.parametrize("width", ["wide", "narrow"])
@pytest.mark.parametrize("name", ["index", "05_attention", "playground"])
def test_nothing_jumps_on_a_slow_line(
    browser: Browser, address: str, name: str, width: str
) -> None:
    with window(browser, "light", width) as context:
        visit = Visit(context.new_page(), address)
        network = context.new_cdp_session(visit.page)
        network.send("Network.enable")
        network.send("Network.emulateNetworkConditions", SLOW)
        visit.open(f"book/{name}.html")
        assert re.search(r"\w", visit.page.inner_text("h1"))
        assert_nothing({"jumps": visit.jumps(once=True)})
