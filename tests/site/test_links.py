"""Every link inside the site leads somewhere.  No browser is needed for that."""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ATTRIBUTES = {"a": "href", "link": "href", "img": "src", "script": "src", "source": "src"}


class Links(HTMLParser):
    """What a page refers to, and the places in it that can be referred to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if target := values.get(ATTRIBUTES.get(tag, "")):
            self.targets.append(target)
        self.places |= {place for key in ("id", "name") if (place := values.get(key))}


@cache
def links(path: Path) -> Links:
    return Links(path.read_text("utf-8"))


def test_internal_links_are_alive(root: Path, pages: list[str]) -> None:
    site = root / "_build" / "html"
    dead: defaultdict[str, list[str]] = defaultdict(list)
    seen = 0
    for name in ["index.html", "search.html", "genindex.html", *pages]:
        for target in links(site / name).targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            seen += 1
            path = (site / name).parent / unquote(parts.path) if parts.path else site / name
            fragment = unquote(parts.fragment)
            alive = path.is_file() and (
                not fragment or path.suffix != ".html" or fragment in links(path).places
            )
            if not alive:
                dead[name].append(target)
    assert seen > 100
    assert not dead, dict(dead)


def test_links_to_other_hosts_are_encrypted(root: Path, pages: list[str]) -> None:
    site = root / "_build" / "html"
    plain = [
        f"{name}: {target}" for name in pages for target in links(site / name).targets
        if target.startswith("http:")
    ]  # fmt: skip
    assert plain == []
