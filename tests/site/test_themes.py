"""What a page is made of: formulas, figures in both themes, folded cells."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from docutils import nodes
from lxml import html
from matplotlib import pyplot as plt
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, expect

from press.run import FOLDED
from press.site.cards import cards_of
from press.site.extension import name_folds
from press.site.figures import SHADES, inline, theme_colour
from press.site.mathematics import tex_of, typeset
from scratch.plumbing.style import LIGHT_NUMBERS, STYLE, heat_map

SUMMARIES = {"the code of this figure", "the imports", "the code", "the check", "this cell"}
READABLE = 4.5  # the contrast that WCAG asks of words
# each word of each figure with its colour and that of what lies behind it
WORDS = """() => [
    ...document.querySelectorAll("article :is(svg.book-figure, .hero-picture)")
].flatMap(svg => {
    svg.scrollIntoView({block: "center"});
    const page = getComputedStyle(document.body).backgroundColor;
    const words = [...svg.querySelectorAll("text")].flatMap(
        t => t.querySelector("tspan") ? [...t.querySelectorAll("tspan")] : [t]);
    return words.filter(t => t.textContent.trim()).map(t => {
        const box = t.getBoundingClientRect();
        const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
        const behind = document.elementsFromPoint(x, y).find(e => e.closest("svg") === svg
            && !e.closest("text") && !e.querySelector("text, image") && e.tagName !== "image"
            && e !== svg && getComputedStyle(e).fill !== "none");
        const look = behind && getComputedStyle(behind);
        return [svg.id, t.textContent, getComputedStyle(t).fill, look ? look.fill : page,
            look ? Number(look.fillOpacity) * Number(look.opacity) : 1, page];
    });
})"""


def light(colour: str) -> tuple[float, float, float]:
    """Red, green and blue, from 0 to 1, of a colour as browsers and style sheets write it."""
    if colour.startswith("#"):
        digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        red, green, blue = (int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4))
        return red, green, blue
    numbers = [float(part) for part in re.findall(r"(?<![a-z])-?[\d.]+(?:e-\d+)?", colour)]
    red, green, blue = numbers[:3] if "srgb" in colour else [n / 255 for n in numbers[:3]]
    return red, green, blue


def luminance(colour: tuple[float, float, float]) -> float:
    parts = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour)
    return float(np.dot(list(parts), (0.2126, 0.7152, 0.0722)))


def contrast(one: tuple[float, float, float], other: tuple[float, float, float]) -> float:
    dark, bright = sorted((luminance(one), luminance(other)))
    return (bright + 0.05) / (dark + 0.05)


def mixed(share: float, one: Any, other: Any) -> tuple[float, float, float]:
    red, green, blue = (share * a + (1 - share) * b for a, b in zip(one, other, strict=True))
    return red, green, blue


@pytest.fixture(scope="module")
def articles(root: Path, pages: list[str]) -> dict[str, Any]:
    """The article of each page, parsed."""
    site = root / "_build" / "html"
    trees = {name: html.parse(str(site / name)) for name in pages}
    return {name: tree.xpath("//article")[0] for name, tree in trees.items()}


@pytest.fixture(scope="module")
def contexts(browser: Browser) -> Iterator[dict[str, BrowserContext]]:
    opened = {
        scheme: browser.new_context(
            viewport={"width": 1280, "height": 1000}, color_scheme=scheme, reduced_motion="reduce"
        )
        for scheme in ("light", "dark")
    }
    yield opened
    for context in opened.values():
        context.close()


# -- formulas --------------------------------------------------------------------------------------


def test_every_formula_of_every_page_is_typeset(articles: dict[str, Any]) -> None:
    """With MathML for who listens, TeX for who copies, and nothing for the Tab key to stop at."""
    faults, seen = [], 0
    for name, article in articles.items():
        for formula in article.xpath(".//*[contains(concat(' ', @class, ' '), ' math ')]"):
            seen += 1
            tex = formula.xpath(".//annotation[@encoding='application/x-tex']")
            shown = formula.xpath(".//span[@class='katex-html' and @aria-hidden='true']")
            raw = "".join(formula.xpath("./text()")).strip()
            broken = formula.xpath(".//*[contains(@class, 'error') or @tabindex] | .//merror")
            if len(tex) != 1 or not tex[0].text or len(shown) != 1 or raw or broken:
                faults.append((name, formula.text_content()[:80]))
    assert faults == []
    assert seen > 400


def test_no_page_brings_a_script_for_mathematics(root: Path, pages: list[str]) -> None:
    for name in pages:
        text = (root / "_build/html" / name).read_text(encoding="utf-8").lower()
        assert not re.search(r"<script[^>]*(katex|mathjax)", text), name


def test_equations_are_numbered_and_links_say_the_number(articles: dict[str, Any]) -> None:
    seen = 0
    for article in articles.values():
        for link in article.xpath(
            ".//a[starts-with(@href, '#equation-')][not(@class='headerlink')]"
        ):
            (equation,) = article.xpath(f".//div[@id='{link.get('href')[1:]}']")
            number = equation.xpath("./span[@class='eqno']/text()")[0]
            assert re.fullmatch(r"\(\d+\)", number) and link.text_content().strip() == number
            seen += 1
    assert seen > 10


def test_a_formula_that_cannot_be_set_is_not_passed_over(root: Path) -> None:
    (good, none), (bad, complaint) = typeset(root, [(r"\sqrt{K}", False), (r"\nonsense{K}", True)])
    assert "<msqrt>" in good and none == "" and bad == ""
    assert "Undefined control sequence" in complaint
    several = nodes.math_block("", r"a &= ½ \\ b &= 1", nowrap=False)
    assert tex_of(several) == r"\begin{split}a &= \tfrac{1}{2} \\ b &= 1\end{split}"
    own = nodes.math_block("", r"\begin{align} a &= 1 \end{align}", nowrap=True)
    assert tex_of(own) == r"\begin{align*} a &= 1 \end{align*}"


def test_a_card_keeps_a_formula_whole() -> None:
    formula = '<span class="katex"><span style="height:1em" aria-hidden="true">K</span></span>'
    body = f'<dl class="glossary"><dt id="term-x">x</dt><dd><p>{"long " * 200}</p></dd></dl>'
    card = cards_of(body.replace("long", f"so {formula} long", 1), "book/glossary")["term-x"]
    assert formula in card and "…" in card


def test_what_is_copied_of_a_formula_is_its_tex(browser: Browser, address: str) -> None:
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto(f"{address}/book/05_attention.html")
    line = page.locator("article li:has(.katex)").first
    line.evaluate("e => getSelection().selectAllChildren(e)")
    page.keyboard.press("Control+c")
    copied = page.evaluate("navigator.clipboard.readText()")
    said = r"say what heads add, what a mask forbids, and why scores are divided by $\sqrt{K}$;"
    assert copied.strip() == said
    page.locator("article div.math .katex").first.evaluate(
        "e => getSelection().selectAllChildren(e.querySelector('.mord'))"
    )
    page.keyboard.press("Control+c")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert re.fullmatch(r"\$\$.*\\sqrt\{d_k\}.*\$\$", copied.strip(), re.DOTALL)
    context.close()


def test_a_wide_formula_scrolls_in_its_box(browser: Browser, address: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto(f"{address}/book/notation.html")
    formula = page.locator("article div.math").first
    formula.evaluate("e => e.querySelector('.katex-html').style.setProperty('width', '900px')")
    assert formula.evaluate("e => e.scrollWidth - e.clientWidth") > 400
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    context.close()


# -- figures ---------------------------------------------------------------------------------------


def drawn(figure: Any) -> str:
    """A figure of matplotlib as a page would hold it."""
    text = io.StringIO()
    figure.savefig(text, format="svg")
    plt.close(figure)
    return inline(text.getvalue(), "A figure", "figure-1")


def test_a_figure_takes_its_colours_from_the_theme() -> None:
    with plt.style.context(STYLE):
        figure, (left, right) = plt.subplots(1, 2)
        heat_map(left, torch.tensor([[0.0, 1.0], [0.5, 0.8]]), rows=["a", "b"], numbers=".1f")
        right.plot([0, 1], [0, 1], color="#b9831a", label="<gold> & more")
        right.fill_between([0, 1], [0, 1], color="#c3ddf1")
        right.set_title("a title", color="#b9831a")
        right.legend()
        text = drawn(figure)
    assert not re.findall(r"(?<!light-dark\()(?<!,)#[0-9a-f]{6}\b", text)
    for part in (
        "stroke: var(--book-gold)", "fill: var(--book-gold-ink)", "light-dark(#c3ddf1,",
        "fill: color-mix(in srgb,var(--book-heat-high) 0.0%,var(--book-heat-low))",
        "fill: color-mix(in srgb,var(--book-heat-peak) 100.0%,var(--book-heat-high))",
        "fill: var(--book-on-dark-cell)", "&lt;gold&gt; &amp; more</text>", 'aria-label="A figure"',
    ):  # fmt: skip
        assert part in text, part
    assert "font-family" not in text and "<metadata" not in text and "<image" not in text
    assert "fill: var(--pst-color-background)" not in text, "white paper lies behind the figure"


def test_names_inside_figures_differ_from_figure_to_figure() -> None:
    svg = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9" width="9" height="9">
        <style>.a{fill:#2b5c9e;marker-end:url(#tip)}</style><rect width="9" height="9" fill="#fff"/>
        <marker id="tip"/><path id="unused" class="a" clip-path="url(#tip)"/></svg>"""
    one, other = (inline(svg, "x", f"figure-{number}") for number in (1, 2))
    assert one.replace("figure-1", "figure-2") == other != one
    assert 'id="figure-1-tip"' in one and one.count("url(#figure-1-tip)") == 2
    assert "unused" not in one and "<rect" not in one
    assert "#figure-1{.a{fill:var(--book-blue)" in one, (
        "a rule of the figure would hold for the page"
    )


@pytest.fixture(scope="module")
def heat(root: Path) -> dict[str, list[tuple[float, float, float]]]:
    """By theme: low, high and peak of the heat maps, and the numbers in light and in dark cells."""
    sheet = (root / "book/assets/book.css").read_text(encoding="utf-8")
    names = ("heat-low", "heat-high", "heat-peak", "on-light-cell", "on-dark-cell")
    found = {name: re.findall(rf"--book-{name}: (#\w+);", sheet) for name in names}
    return {
        theme: [light(found[name][which]) for name in names]
        for which, theme in enumerate(("light", "dark"))
    }


def shade(share: float, low: Any, high: Any, peak: Any) -> tuple[float, float, float]:
    return mixed(share / 0.8, high, low) if share <= 0.8 else mixed(share * 5 - 4, peak, high)


def test_numbers_can_be_read_on_every_cell_of_a_heat_map(heat: dict[str, Any]) -> None:
    for theme, (low, high, peak, on_light, on_dark) in heat.items():
        for share in np.linspace(0, 1, 501):
            number = on_dark if share > LIGHT_NUMBERS else on_light
            assert contrast(number, shade(share, low, high, peak)) > READABLE, (theme, share)


def test_the_light_theme_has_the_shades_that_matplotlib_draws(heat: dict[str, Any]) -> None:
    assert len(SHADES) == 256
    for colour, share in SHADES.items():
        mine = shade(share, *heat["light"][:3])
        assert np.abs(np.subtract(mine, light(colour))).max() < 0.006, colour
        assert "heat-peak" in theme_colour(colour, False) or share <= 0.8


def test_figures_stand_in_their_pages(articles: dict[str, Any]) -> None:
    """As text, with an alternative for who cannot see them, and with names of their own."""
    seen = 0
    for name, article in articles.items():
        names = article.xpath(".//@id")
        twice = {one for one in names if names.count(one) > 1}
        for figure in article.xpath(".//svg[@class='book-figure']"):
            seen += 1
            # what is one image to who listens would hide the links in it
            role = "group" if figure.xpath(".//a") else "img"
            assert figure.get("role") == role and len(figure.get("aria-label")) > 20, name
            own = set(figure.xpath(".//@id"))
            used = set(re.findall(r"(?:url\(|href=\")#([^)\"]+)", html.tostring(figure).decode()))
            assert used <= own and not (own | {figure.get("id")}) & twice, name
        assert not article.xpath(".//figure//img[contains(@src, '.png')]"), f"{name}: not drawn"
    assert seen > 60


def test_no_figure_is_a_slab_of_the_other_theme(
    contexts: dict[str, BrowserContext], address: str, chapter: str
) -> None:
    """By its pixels: dark on the dark page, light on the light one, as the page itself is."""
    for scheme, context in contexts.items():
        page = context.new_page()
        page.goto(f"{address}/{chapter}", wait_until="load")
        page.add_style_tag(content="#pst-skip-link, .back-to-top-btn { display: none !important }")
        figures = page.locator("article :is(svg.book-figure, .hero-picture, img):visible")
        assert figures.count() > 0
        for number in range(figures.count()):
            picture = Image.open(io.BytesIO(figures.nth(number).screenshot())).convert("L")
            mean = np.asarray(picture).mean() / 255
            assert mean < 0.35 if scheme == "dark" else mean > 0.65, (scheme, number, mean)
        page.close()


def test_the_words_of_figures_can_be_read(
    contexts: dict[str, BrowserContext], address: str, chapter: str
) -> None:
    faint = []
    for scheme, context in contexts.items():
        page = context.new_page()
        page.goto(f"{address}/{chapter}", wait_until="load")
        words = page.evaluate(WORDS)
        assert words
        for figure, word, colour, behind, share, paper in words:
            ground = mixed(share, light(behind), light(paper))
            if (ratio := contrast(light(colour), ground)) < READABLE:
                faint.append((scheme, figure, word, colour, behind, round(ratio, 2)))
        page.close()
    assert faint == []


# -- folded cells ----------------------------------------------------------------------------------


def test_the_line_that_unfolds_a_cell_says_what_is_there() -> None:
    def cell(mode: str, source: str, kind: str) -> nodes.container:
        code = nodes.container("", nodes.literal_block(source, source))
        return nodes.container("", code, nodes.container(mime_type=kind), hide_mode=mode)

    cells = [
        cell("input", "figure, axes = plt.subplots()", "image/png"),
        cell("input", "import torch", "text/plain"),
        cell("input", "x = 1", "text/plain"),
        cell("all", "assert x == 1", "text/plain"),
        cell("all", "x = 1", "text/plain"),
        cell("", "x = 2", "text/plain"),
    ]
    name_folds(None, nodes.section("", *cells))
    shown = [node.get("prompt_show", "") for node in cells]
    assert shown == [
        "Show the code of this figure", "Show the imports", "Show the code", "Show the check",
        "Show this cell", "",
    ]  # fmt: skip
    assert cells[0]["prompt_hide"] == "Hide the code of this figure"


def test_folded_cells_are_folded_here_and_in_jupyterlab(
    articles: dict[str, Any], root: Path
) -> None:
    seen = 0
    for path in sorted((root / "book").glob("[0-9]*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        tagged = [set(cell["metadata"].get("tags", [])) & FOLDED.keys() for cell in cells]
        for cell, tags in zip(cells, tagged, strict=True):
            hidden = {part for tag in tags for part in FOLDED[tag]}
            said = {
                name for name in cell["metadata"].get("jupyter", {}) if name.endswith("_hidden")
            }
            assert said == hidden, f"{path.name}: run press run, {cell['source'][:1]}"
        lines = articles[f"book/{path.stem}.html"].xpath(
            ".//details[contains(@class, 'hide')]/summary"
        )
        assert len(lines) == sum(map(bool, tagged)), path.name
        seen += len(lines)
        for line in lines:
            show, hide = (p.text_content() for p in line.xpath("./p"))
            assert show.startswith("Show ") and show[5:] in SUMMARIES and hide == f"Hide {show[5:]}"
    assert seen > 0


def test_a_folded_cell_opens_by_keyboard(browser: Browser, address: str) -> None:
    page = browser.new_page()
    page.goto(f"{address}/book/12_training.html")
    box = page.locator("details.hide").first
    code, line = box.locator("pre").first, box.locator("summary")
    expect(code).not_to_be_visible()
    assert line.evaluate("e => e.ariaLabel") is None, "a label would hide what the line says"
    line.focus()
    page.keyboard.press("Enter")
    expect(code).to_be_visible()
    expect(line.locator("p:visible")).to_have_text(re.compile("^Hide "))
    page.close()
