"""A page of the site that is open in a browser, and what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Page

PATIENCE = 120_000  # milliseconds: the machine may be doing other things
WIDTHS = {"wide": (1280, 900), "narrow": (390, 844)}
SCRIPT = Path(__file__).resolve().parents[2] / "node_modules/axe-core/axe.min.js"
# formulas are typeset, the theme is chosen, and what a change of width or theme sets off has run
READY = """async () => {
    await document.fonts.ready;
    for (let frame = 0; frame < 2; frame++) await new Promise(requestAnimationFrame);
}"""
# what axe-core calls serious or critical, in the whole page or in a part, by all rules or by some
AXE = """async ([part, rules]) => {
    const options = { resultTypes: ["violations"], ...(rules.length && { runOnly: rules }) };
    return (await axe.run(part ?? document, options)).violations
        .filter(v => ["serious", "critical"].includes(v.impact))
        .flatMap(v => v.nodes.map(n => [v.id, n.target.join(" "), n.html, n.failureSummary]));
}"""
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
# boxes that scroll and that the keyboard does not reach
OUT_OF_REACH = """() => {
    const scrolls = (style, inside, outside) => /auto|scroll/.test(style) && inside > outside + 1;
    return [...document.body.querySelectorAll("*")].filter(e => {
        const style = getComputedStyle(e);
        return (scrolls(style.overflowX, e.scrollWidth, e.clientWidth)
            || scrolls(style.overflowY, e.scrollHeight, e.clientHeight))
            && e.checkVisibility() && e.tabIndex < 0
            && ![...e.querySelectorAll("*")].some(inner => inner.tabIndex >= 0);
    }).map(e => `${e.tagName}.${e.className}`);
}"""
# Of each kind of text one piece is looked at for its contrast: those alike in colour, size and
# weight, and in the backgrounds of all that they stand in, have the same.
FAINT = """async () => {
    const kinds = new Map();
    for (const e of document.body.querySelectorAll("*")) {
        const text = [...e.childNodes].some(n => n.nodeType === Node.TEXT_NODE && n.data.trim());
        if (!text || !e.checkVisibility()) continue;
        const { color, fontSize, fontWeight, textShadow } = getComputedStyle(e);
        const kind = [color, fontSize, fontWeight, textShadow];
        for (let box = e; box; box = box.parentElement) {
            const { backgroundColor, backgroundImage, opacity } = getComputedStyle(box);
            kind.push(backgroundColor, backgroundImage, opacity);
        }
        if (!kinds.has(kind.join())) kinds.set(kind.join(), e);
    }
    const options = { resultTypes: ["violations"], runOnly: ["color-contrast"] };
    return (await axe.run({ include: [...kinds.values()] }, options)).violations
        .flatMap(v => v.nodes.map(n => [n.target.join(" "), n.html, n.failureSummary]));
}"""
# how far the page has jumped by itself since it began to load: the sum that browsers report, with
# what jumped; what a reader has set off does not count
JUMPS = """() => new Promise(done => {
    new PerformanceObserver(list => {
        const jumps = list.getEntries().filter(e => !e.hadRecentInput);
        const parts = jumps.flatMap(e => e.sources.map(s => s.node?.nodeName));
        done([jumps.reduce((sum, e) => sum + e.value, 0), parts]);
    }).observe({ type: "layout-shift", buffered: true });
    setTimeout(() => done([0, []]), 300);
})"""
MOST_JUMPS = 0.05
SIDEWAYS = "() => Math.max(0, document.documentElement.scrollWidth - innerWidth)"


class Visit:
    """A page, what it asked for, and what the browser complained of meanwhile."""

    def __init__(self, page: Page, address: str) -> None:
        self.page, self.address, self.host = page, address, urlsplit(address).netloc
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.lost: list[str] = []
        error, lose = self.errors.append, self.lost.append
        page.on("request", lambda r: self.requests.append(r.url))
        page.on("requestfailed", lambda r: lose(f"failed: {r.url}"))
        page.on("response", lambda r: lose(f"{r.status}: {r.url}") if r.status >= 400 else None)
        page.on("console", lambda m: error(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: error(str(e)))

    def open(self, name: str) -> Self:
        self.page.goto(f"{self.address}/{name}", wait_until="load")
        self.page.evaluate(READY)
        return self

    def become(self, scheme: Any, width: str) -> None:
        """Let the open page be seen in another way."""
        wide, high = WIDTHS[width]
        self.page.set_viewport_size({"width": wide, "height": high})
        self.page.emulate_media(color_scheme=scheme)
        self.page.wait_for_function("s => document.documentElement.dataset.theme === s", arg=scheme)
        self.page.evaluate(READY)

    def elsewhere(self) -> list[str]:
        """Return the requests to other hosts."""
        parts = map(urlsplit, self.requests)
        return [
            p.geturl() for p in parts if p.scheme not in ("data", "blob") and p.netloc != self.host
        ]

    def misfits(self) -> dict[str, Any]:
        """Return what does not fit into the width of the window."""
        checks = {
            "images blurred or out of shape": BLURRED,
            "wider than the page": STICKING_OUT,
            "the page scrolls sideways by": SIDEWAYS,
            "boxes that scroll beyond the keyboard's reach": OUT_OF_REACH,
        }
        return {what: self.page.evaluate(check) for what, check in checks.items()}

    def jumps(self, *, once: bool = False) -> list[Any]:
        """Return how far the page jumped while it was loading, and what did, if it is too far."""
        far, what = self.page.evaluate(JUMPS)
        if far >= MOST_JUMPS and not once:
            # again, with what is in the cache: on a busy machine letters come late, and what they
            # move is measured by test_storefront.py
            again = self.page.context.new_page()
            again.goto(self.page.url, wait_until="load")
            again.evaluate(READY)
            far, what = again.evaluate(JUMPS)
            again.close()
        return [round(far, 3), *what] if far >= MOST_JUMPS else []

    def axe(self, *rules: str, part: str | None = None) -> list[Any]:
        """Return the grave faults that axe-core finds, by all its rules or by those named."""
        return self._with_axe(AXE, [part, rules])

    def faint(self) -> list[Any]:
        """Return the kinds of text with too little contrast."""
        return self._with_axe(FAINT)

    def _with_axe(self, script: str, *given: Any) -> list[Any]:
        if not self.page.evaluate("'axe' in window"):
            self.page.add_script_tag(path=SCRIPT)
        found: list[Any] = self.page.evaluate(script, *given)
        return found


@contextmanager
def window(browser: Browser, scheme: Any, width: str, **settings: Any) -> Iterator[BrowserContext]:
    """A window of its own: nothing in its cache, nothing remembered, nothing that moves."""
    wide, high = WIDTHS[width]
    settings = {"viewport": {"width": wide, "height": high}, "reduced_motion": "reduce"} | settings
    context = browser.new_context(color_scheme=scheme, **settings)
    context.set_default_timeout(PATIENCE)
    yield context
    context.close()


def assert_nothing(found: dict[str, Any]) -> None:
    """Assert that no kind of fault has been found anywhere."""
    found = {what: places for what, places in found.items() if places}
    assert not found, json.dumps(found, indent=2, ensure_ascii=False)
