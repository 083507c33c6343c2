"""What the site can do, in a real browser: its buttons, its cards and its figures."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Route, expect
from torch import nn

from press.site.extension import version_modules
from scratch.alignment import word_attention
from scratch.attention import scaled_dot_product_attention
from scratch.feedforward import FeedForward
from scratch.plumbing.models.storage import load_pretrained
from scratch.positional import sinusoidal_table
from scratch.residual import LayerNorm
from scratch.tokens import train_tokenizer
from scratch.training import label_smoothed_loss
from scratch.transformer import Transformer, TransformerConfig, attention_maps, count_parameters
from scratch.translation import Translator
from visit import Visit, window

CHAPTER = "book/05_attention.html"
# a ring or a shadow that the element has only while it is focused
RING = """() => {
    const e = document.activeElement;
    const look = () => {
        const s = getComputedStyle(e);
        return [s.outlineStyle, s.outlineWidth, s.boxShadow].join();
    };
    const focused = look();
    const name = e.tagName + "." + e.className;
    e.blur();
    const blurred = look();
    e.focus({preventScroll: true, focusVisible: true});
    return [name, focused !== blurred && !/^none,[^,]*,none$/.test(focused)];
}"""


@pytest.fixture
def open_page(page: Page, address: str) -> Callable[[str], Page]:
    def go(name: str) -> Page:
        page.goto(f"{address}/{name}", wait_until="load")
        return page

    return go


# -- reading ---------------------------------------------------------------------------------------


def test_the_text_of_a_chapter_waits_for_no_script(browser: Browser, address: str) -> None:
    with window(browser, "light", "wide", java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(f"{address}/{CHAPTER}")
        expect(page.locator("article h1")).to_be_visible()
        expect(page.locator("article h1 ~ p").first).to_contain_text("le vélo rouge")
        expect(page.locator("article .cell_output pre").first).to_be_visible()


def test_every_icon_is_drawn(open_page: Callable[[str], Page]) -> None:
    page = open_page(CHAPTER)
    page.wait_for_function("document.documentElement.dataset.mode")
    blank = page.evaluate("""() => [...document.querySelectorAll(
        "i:is(.fa-solid, .fas, .far, .fab), span:is(.fa-solid, .fas)")]
        .filter(e => !getComputedStyle(e).maskImage.startsWith("url(")).map(e => e.className)""")
    assert blank == []
    assert page.locator("i.fa-solid, i.fas").count() > 8


def test_modules_have_new_addresses_when_one_of_them_changes(tmp_path: Path) -> None:
    folder = tmp_path / "book" / "assets" / "playground"
    folder.mkdir(parents=True)
    (folder / "page.js").write_text("one")
    (folder / "look.css").write_text("two")
    place = "../_static/playground"
    body = f'<link href="{place}/look.css"><script type="module" src="{place}/page.js"></script>'

    def versioned() -> str:
        context = {"body": body}
        version_modules(SimpleNamespace(srcdir=tmp_path), "book/playground", "", context, None)
        return context["body"]

    first = versioned()
    (found,) = set(re.findall(r"\?v=([0-9a-f]{8})", first))
    imports = json.loads(first.split('<script type="importmap">')[1].split("</script>")[0])
    assert imports == {"imports": {f"{place}/page.js": f"{place}/page.js?v={found}"}}
    assert first.index("importmap") < first.index('type="module"')
    assert first.count(f"look.css?v={found}") == 1 and f'src="{place}/page.js?v={found}"' in first
    (folder / "look.css").write_text("three")
    assert versioned() != first == versioned().replace(versioned().split("?v=")[1][:8], found)
    context = {"body": "<p>no module</p>"}
    version_modules(SimpleNamespace(srcdir=tmp_path), "book/index", "", context, None)
    assert context == {"body": "<p>no module</p>"}


# -- buttons ---------------------------------------------------------------------------------------


def first_code(root: Path) -> str:
    """The first cell of code that is not folded."""
    cells = json.loads((root / "book/05_attention.ipynb").read_text("utf-8"))["cells"]
    code = (cell for cell in cells if cell["cell_type"] == "code")
    return next(
        "".join(cell["source"])
        for cell in code
        if not {"hide-input", "hide-cell"} & set(cell["metadata"].get("tags", []))
    )


def test_copy_copies_the_code(
    context: BrowserContext, open_page: Callable[[str], Page], address: str, root: Path
) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address)
    page = open_page(CHAPTER)
    cell = page.locator("div.cell_input:visible").first
    cell.hover()
    cell.locator("button.copybtn").click()
    page.wait_for_function("document.querySelector('button.copybtn.success')")
    assert page.evaluate("navigator.clipboard.readText()").strip() == first_code(root).strip()


def test_the_theme_is_switched_and_remembered(open_page: Callable[[str], Page]) -> None:
    page = open_page(CHAPTER)
    seen = {}
    for _ in range(3):
        page.locator("button.theme-switch-button:visible").first.click()
        mode, theme = page.evaluate(
            "[document.documentElement.dataset.mode, document.documentElement.dataset.theme]"
        )
        seen[mode] = theme
        if mode == "dark":
            back = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert max(map(int, re.findall(r"\d+", back))) < 60
    assert seen == {"light": "light", "dark": "dark", "auto": "light"}
    while page.evaluate("document.documentElement.dataset.mode") != "dark":
        page.locator("button.theme-switch-button:visible").first.click()
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_a_solution_is_hidden_until_it_is_asked_for(open_page: Callable[[str], Page]) -> None:
    page = open_page(CHAPTER)
    box = page.locator(".solution.dropdown").first
    text, opener = box.locator("section p").first, box.locator(".toggle-button")
    expect(text).not_to_be_visible()
    opener.click()
    expect(text).to_be_visible()
    page.reload()
    expect(text).not_to_be_visible()
    opener.focus()
    page.keyboard.press("Enter")
    expect(text).to_be_visible()
    expect(opener).to_have_attribute("aria-expanded", "true")


def test_a_chapter_is_downloaded_with_what_it_needs(
    open_page: Callable[[str], Page], root: Path, tmp_path: Path
) -> None:
    page = open_page(CHAPTER)
    page.locator(".dropdown-download-buttons > button").click()
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Notebook").click()
    waiting.value.save_as(tmp_path / "chapter.ipynb")
    assert waiting.value.suggested_filename == "05_attention.ipynb"
    needs, code, *rest = json.loads((tmp_path / "chapter.ipynb").read_text("utf-8"))["cells"]
    source = json.loads((root / "book/05_attention.ipynb").read_text("utf-8"))["cells"]
    assert [cell["id"] for cell in rest] == [cell["id"] for cell in source]
    assert "What this notebook needs" in "".join(needs["source"]) and "google.colab" in "".join(
        code["source"]
    )


def test_the_next_chapter_follows(open_page: Callable[[str], Page]) -> None:
    page = open_page(CHAPTER)
    expect(page.locator("a.left-prev")).to_contain_text("4 · Positions")
    page.locator("a.right-next").click()
    page.wait_for_url("**/06_feedforward.html")
    expect(page.locator("article h1")).to_contain_text("6 ·")


# -- keyboard --------------------------------------------------------------------------------------


def test_the_keyboard_reaches_the_text_first_and_shows_where_it_is(
    open_page: Callable[[str], Page],
) -> None:
    page = open_page(CHAPTER)
    page.keyboard.press("Tab")
    expect(page.locator("#pst-skip-link a")).to_be_focused()
    page.keyboard.press("Enter")
    assert page.url.endswith("#main-content")
    page.goto(page.url.split("#")[0])
    dim, seen = [], set()
    for _ in range(60):
        page.keyboard.press("Tab")
        name, ringed = page.evaluate(RING)
        seen.add(name)
        if not ringed:
            dim.append(name)
    assert len(seen) > 5
    assert dim == [], "focus cannot be seen there"


# -- hover cards -----------------------------------------------------------------------------------


def card_of(page: Page, link: Locator) -> Locator:
    link.scroll_into_view_if_needed()
    page.mouse.move(2, 2)
    link.hover()
    card = page.locator("#book-card")
    expect(card).to_be_visible()
    return card


@pytest.mark.parametrize(
    ("name", "link", "says"),
    [
        (CHAPTER, "a[href*='#term-softmax']", "positive weights that sum to 1"),
        (CHAPTER, ".bibtex-citation a", "Vaswani"),
        (CHAPTER, "a[href^='notation.html']", "Notation"),
        ("book/api/scratch.attention.html", "a[href*='causal_mask']", "hides the future"),
    ],
)
def test_a_link_shows_what_it_leads_to(
    open_page: Callable[[str], Page], name: str, link: str, says: str
) -> None:
    page = open_page(name)
    anchor = page.locator(f"article {link}").first
    card = card_of(page, anchor)
    expect(card).to_contain_text(says)
    expect(anchor).to_have_attribute("aria-describedby", "book-card")
    expect(card).to_have_role("tooltip")
    box = card.bounding_box()
    assert box and box["x"] >= 0 and box["x"] + box["width"] <= 1280
    at = anchor.bounding_box()
    assert (
        at
        and min(abs(box["y"] - at["y"] - at["height"]), abs(box["y"] + box["height"] - at["y"]))
        < 40
    )
    card.hover()  # the pointer may go there and the card stays
    page.wait_for_timeout(400)
    expect(card).to_be_visible()
    page.keyboard.press("Escape")
    expect(card).not_to_be_visible()


def test_a_card_typesets_its_mathematics(open_page: Callable[[str], Page]) -> None:
    page = open_page("book/07_residual.html")
    card = card_of(page, page.locator("article a.reference[href*='#equation-']").first)
    expect(card.locator(".katex-html")).to_be_visible()


def test_a_card_follows_the_keyboard(open_page: Callable[[str], Page]) -> None:
    page = open_page(CHAPTER)
    anchor = page.locator("article a[href*='#term-softmax']").first
    for _ in range(80):
        page.keyboard.press("Tab")
        if anchor.evaluate("e => e === document.activeElement"):
            break
    expect(anchor).to_be_focused()
    card = page.locator("#book-card")
    expect(card).to_contain_text("positive weights that sum to 1")
    page.keyboard.press("Tab")
    expect(card).not_to_contain_text("positive weights that sum to 1")


def test_every_card_that_a_chapter_may_ask_for_is_there(root: Path, pages: list[str]) -> None:
    """Terms, citations, equations and figures that prose links to; read from the files."""
    site = root / "_build" / "html"
    cards: dict[str, set[str]] = {}
    missing, seen = [], 0
    for name in (page for page in pages if re.match(r"book/\d\d_", page)):
        text = (site / name).read_text("utf-8")
        for href in re.findall(
            r'<a class="reference internal" href="([^"]*#(?:term|fig|equation|id\d)[^"]*)"', text
        ):
            path, place = href.split("#")
            target = (site / name).parent / path if path else site / name
            page = target.resolve().relative_to(site.resolve()).as_posix().removesuffix(".html")
            if page not in cards:
                script = (site / "_static" / "cards" / f"{page}.js").read_text("utf-8")
                found = re.fullmatch(r'bookCards\("[^"]*",(.*)\)\n', script, re.DOTALL)
                assert found
                cards[page] = set(json.loads(found[1]))
            seen += 1
            if place not in cards[page]:
                missing.append(f"{name}: {href}")
    assert seen > 300
    assert missing == []


def test_a_card_that_did_not_arrive_is_asked_for_again(open_page: Callable[[str], Page]) -> None:
    page = open_page(CHAPTER)
    tried: list[str] = []

    def lose(route: Route) -> None:
        tried.append(route.request.url)
        route.abort()

    page.route("**/_static/cards/**", lose)
    link = page.locator("article a[href*='#term-softmax']").first
    with page.expect_event("requestfailed", lambda request: "/_static/cards/" in request.url):
        link.hover()
    expect(page.locator("#book-card")).to_have_count(0)
    page.unroute("**/_static/cards/**")
    expect(card_of(page, link)).to_contain_text("positive weights that sum to 1")
    assert len(tried) == 1


def test_an_open_card_is_accessible(page: Page, address: str) -> None:
    """The card and the link that it is about; the rest of the page is looked at elsewhere."""
    visit = Visit(page, address)
    visit.open(CHAPTER)
    link = page.locator("article a[href*='#term-softmax']").first
    for scheme in ("light", "dark"):
        visit.become(scheme, "wide")
        card = card_of(page, link)
        assert visit.axe(part="#book-card, [aria-describedby='book-card']") == []
        expect(card).to_be_visible()


def test_a_long_name_breaks_where_its_words_end(open_page: Callable[[str], Page]) -> None:
    page = open_page("book/api/scratch.attention.html")
    parts = page.locator("article h1").first.evaluate(
        """h1 => [...h1.querySelectorAll("wbr")].map(
            e => [e.previousSibling.data, e.nextSibling.data])"""
    )
    assert parts == [["scratch.", "attention"]]
    option = open_page("book/13_translation.html").locator(".no-break", has_text="--model").first
    assert option.evaluate("e => e.getClientRects().length") == 1


def test_what_goes_on_beyond_an_edge_fades_until_its_end_is_seen(
    browser: Browser, address: str
) -> None:
    with window(browser, "light", "narrow") as context:
        page = context.new_page()
        page.goto(f"{address}/book/data_card.html", wait_until="load")
        wide = page.locator("article .goes-on").first.element_handle()
        assert wide.evaluate("e => getComputedStyle(e).maskImage").startswith("linear-gradient")
        wide.evaluate("e => e.scrollTo(e.scrollWidth, 0)")
        page.wait_for_function("e => !e.classList.contains('goes-on')", arg=wide)
        narrow = page.locator("article .goes-on").evaluate_all(
            "all => all.filter(e => e.scrollWidth <= e.clientWidth).length"
        )
        assert narrow == 0


def test_citations_side_by_side_are_told_apart(open_page: Callable[[str], Page]) -> None:
    cited = open_page("book/data_card.html").locator(".bibtex-citation:has(a + a)").first
    assert re.fullmatch(r"\[Elliott et al., \d{4}; Elliott et al., \d{4}\]", cited.inner_text())


# -- from disk -------------------------------------------------------------------------------------


def test_the_book_opens_from_disk(context: BrowserContext, page: Page, root: Path) -> None:
    errors: list[str] = []
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.on("requestfailed", lambda r: errors.append(r.url))
    page.goto((root / "_build/html/index.html").as_uri())
    page.get_by_role("link", name="Attention", exact=True).first.click()
    page.wait_for_url("**/05_attention.html")
    page.wait_for_selector("article .katex")
    expect(page.locator("[data-figure=scale] tbody tr")).to_have_count(6)
    expect(card_of(page, page.locator("article a[href*='#term-softmax']").first)).to_contain_text(
        "sum to 1"
    )
    assert errors == []
    page.goto((root / "_build/html/search.html").as_uri() + "?q=causal+mask")
    expect(page.locator("ol.found strong").first).to_have_text("causal mask")
    assert errors == []


# -- figures to play with --------------------------------------------------------------------------


def slide(figure: Locator, label: str, value: float) -> None:
    figure.get_by_label(label).fill(str(value))


def numbers(cells: Locator) -> list[float]:
    return [float(text.replace("\u2212", "-")) for text in cells.all_inner_texts()]


def test_merges_are_those_of_the_tokenizer(open_page: Callable[[str], Page]) -> None:
    figure = open_page("book/02_tokens.html").locator("[data-figure=merges]")
    times = {"cat": 5, "rat": 3, "at": 2, "cats": 1, "car": 1, "red": 1}
    text = [word for word, count in times.items() for _ in range(count)]
    figure.get_by_label("Your word").fill("cart")
    for n in range(7):
        slide(figure, "Merges", n)
        scratchs = train_tokenizer(text, 3 + 256 + n)
        for row, word in zip(figure.locator("tbody tr").all(), [*times, "cart"], strict=True):
            tokens = [
                piece.replace(" ", "\u2423") for piece in scratchs.pieces(scratchs.encode(word))
            ]
            assert row.locator(".play-token").all_inner_texts() == tokens
    expect(figure.get_by_role("status")).to_contain_text("Merge 6 made \u2423at.")
    figure.get_by_label("Your word").fill("bat")
    expect(figure.locator(".play-unknown")).to_have_text(["b"])
    expect(figure.get_by_role("status")).to_contain_text("The text has no b")


def test_a_query_that_is_turned(open_page: Callable[[str], Page]) -> None:
    page = open_page(CHAPTER)
    figure = page.locator("[data-figure=query]")
    keys = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)

    def assert_weights_are_scratchs(asked: list[float]) -> None:
        query = torch.tensor([asked], dtype=torch.float64)
        # keys of the chapter have four features, two of them 0, so scores are halved
        weights = scaled_dot_product_attention(query / math.sqrt(2), keys, keys)[1][0]
        shown = numbers(figure.locator("tbody td:nth-child(3) .play-number"))
        assert shown == pytest.approx(weights.tolist(), abs=0.0051)
        expect(figure.get_by_role("status")).to_contain_text(
            f"{10 * weights[1]:.1f} red and {10 * weights[2]:.1f} bicycle"
        )

    for adjective, noun in ((4, 2), (0, 6), (3, 3)):
        figure.get_by_label("adjective").fill(str(adjective))
        figure.get_by_label("noun").fill(str(noun))
        assert_weights_are_scratchs([adjective, noun])
    figure.get_by_label("noun").press("ArrowLeft")
    assert_weights_are_scratchs([3, 2.9])

    figure.scroll_into_view_if_needed()
    plane = figure.locator(".play-plane").bounding_box()
    assert plane
    page.mouse.move(plane["x"] + plane["width"] * 0.5, plane["y"] + plane["height"] * 0.5)
    page.mouse.down()
    page.mouse.move(plane["x"] + plane["width"] * 0.9, plane["y"] + plane["height"] * 0.2, steps=4)
    page.mouse.up()
    dragged = [float(figure.get_by_label(n).input_value()) for n in ("adjective", "noun")]
    assert dragged[0] > 4 and dragged[1] > 3.5
    assert_weights_are_scratchs(dragged)


def test_a_chain_against_one_look(open_page: Callable[[str], Page]) -> None:
    page = open_page("book/01_why_attention.html")
    figure = page.locator("[data-figure=reach]")
    for words, factor, score in ((7, 0.5, 4.0), (47, 1.0, 4.0), (3, 1.5, 8.0)):
        for label, value in (("Words", words), ("Factor", factor), ("Score", score)):
            figure.get_by_label(label).fill(str(value))
        scores = torch.tensor([score] + [0.0] * (words - 1), dtype=torch.float64)
        found: Any = page.evaluate("given => bookFigures.arrives(...given)", [words, factor, score])
        assert found["chain"] == pytest.approx(factor ** (words + 1))
        assert found["attention"] == pytest.approx(scores.softmax(-1)[0].item())
        expect(figure.locator("tbody .play-number").last).to_have_text(f"{found['attention']:.2f}")
    before = figure.get_by_role("status").inner_text()
    figure.get_by_label("Factor").press("ArrowLeft")
    expect(figure.get_by_role("status")).not_to_have_text(before)


def test_a_row_and_the_words_that_are_like_it(open_page: Callable[[str], Page]) -> None:
    figure = open_page("book/03_embedding.html").locator("[data-figure=likeness]")
    rows = torch.tensor(
        [[3, 0, 0, 0], [3, 2, 0, 0], [0, 0, 3, 0], [0, 1, 0, 3], [0, 1, 3, 0], [1, 0, 1, 0]]
    ).double()

    def assert_cosines(dog: list[float]) -> None:
        shown = numbers(figure.locator("tbody .play-number"))
        exact = torch.cosine_similarity(torch.tensor(dog).double(), rows)
        assert shown == pytest.approx(exact.tolist(), abs=0.0051)

    assert_cosines([3, 3, 0, 0])
    figure.get_by_role("button", name="Halve all").click()
    assert_cosines([3, 3, 0, 0])
    figure.get_by_label("quality").fill("6")
    assert_cosines([1.5, 1.5, 6, 0])
    expect(figure.get_by_role("status")).to_contain_text("most like small: cosine 0.97")
    for side in ("noun", "alive", "quality"):
        figure.get_by_label(side).fill("0")
    assert_cosines([0, 0, 0, 0])


def test_a_beam_keeps_and_drops_and_can_miss(open_page: Callable[[str], Page]) -> None:
    figure = open_page("book/13_translation.html").locator("[data-figure=choose]")
    status = figure.get_by_role("status")
    expect(status).to_contain_text(
        "Greedy decoding ends with la bicyclette, 0.20. It misses le vélo"
    )
    figure.get_by_label("Beam size").fill("2")
    expect(status).to_contain_text("ends with le vélo, 0.36. No sentence is more probable.")
    figure.get_by_label("Probability of un").fill("0.3")
    expect(status).to_contain_text("It misses un vélo, 0.30.")
    expect(figure.get_by_role("row", name="un vélo")).to_contain_text("never seen")
    figure.get_by_label("Beam size").press("ArrowRight")
    expect(status).to_contain_text("A beam of 3 ends with un vélo, 0.30. No sentence")


def test_softmax_and_its_scale(open_page: Callable[[str], Page]) -> None:
    page = open_page(CHAPTER)
    figure = page.locator("[data-figure=scale]")
    largest = {}
    for step, divided in ((0, False), (4, True), (10, False), (10, True)):
        slide(figure, "Width K", step)
        figure.get_by_role("switch").set_checked(divided)
        width = 2**step
        drawn: Any = page.evaluate("([d, seed]) => bookFigures.draw(d, 6, seed)", [width, 6])
        query = torch.tensor([drawn["query"]], dtype=torch.float64)
        keys = torch.tensor(drawn["keys"], dtype=torch.float64)
        if not divided:
            query = query * math.sqrt(width)  # takes the division back
        weights = scaled_dot_product_attention(query, keys, keys)[1][0]
        shown = numbers(figure.locator("tbody td:nth-child(3) .play-number"))
        assert shown == pytest.approx(weights.tolist(), abs=0.0051)
        scores = numbers(figure.locator("tbody td:nth-child(2) .play-number"))
        exact = (query @ keys.T / math.sqrt(width))[0]
        assert scores == pytest.approx(exact.tolist(), abs=0.051)
        largest[width, divided] = weights.max().item()
        expect(figure.get_by_role("status")).to_contain_text(
            f"largest weight is {largest[width, divided]:.2f}"
        )
    assert largest[1024, False] > 0.95 > 0.5 > largest[1024, True]


def test_what_a_loss_asks_for(open_page: Callable[[str], Page]) -> None:
    page = open_page("book/12_training.html")
    figure = page.locator("[data-figure=target]")
    for score, smoothing in ((2.0, 0.0), (3.95, 0.1), (8.0, 0.4)):
        slide(figure, "Score of vélo", score)
        slide(figure, "Smoothing", smoothing)
        logits = torch.tensor([[score, 1.0, 0.0]], dtype=torch.float64, requires_grad=True)
        loss = label_smoothed_loss(logits, torch.tensor([0]), smoothing)
        loss.backward()
        found: Any = page.evaluate(
            "given => bookFigures.smoothed(...given)", [[score, 1, 0], smoothing]
        )
        assert found["loss"] == pytest.approx(loss.item())
        assert logits.grad is not None
        push = [-g for g in logits.grad[0].tolist()]
        assert numbers(figure.locator("td:nth-child(4) .play-number")) == pytest.approx(
            push, abs=6e-3
        )
        expect(figure.get_by_role("status")).to_contain_text(f"The loss is {loss.item():.2f}")
    slide(figure, "Smoothing", 0.1)
    slide(figure, "Score of vélo", 3.9)
    figure.get_by_label("Score").press("ArrowRight")
    expect(figure.get_by_role("status")).to_contain_text("Nothing pushes vélo any more.")


def test_one_hidden_unit(open_page: Callable[[str], Page]) -> None:
    figure = open_page("book/06_feedforward.html").locator("[data-figure=unit]")
    x = torch.tensor([[0.0, 0, 0, 1], [1, 0, 0, 1], [0, 1, 1, 0], [1, 1, 1, 0]])
    network = FeedForward(4, 1)
    network.expand.weight.data = torch.tensor([[1.0, 1, 0, 0]])
    network.contract.weight.data = torch.tensor([[0.0], [0], [-1], [1]])
    nn.init.zeros_(network.contract.bias)
    shown = figure.locator("tbody td:last-child .play-number")
    for bias in (-1.0, 0.0, -1.5):
        slide(figure, "Bias", bias)
        nn.init.constant_(network.expand.bias, bias)
        assert numbers(shown) == (x + network(x))[:, 3].tolist()
    slide(figure, "Bias", -1)
    expect(figure.get_by_role("status")).to_contain_text("Only hot dog changes")
    figure.get_by_role("switch").press("Space")
    sums = network.contract(x[:, :2].sum(1, keepdim=True) - 1)  # no bend
    assert numbers(shown) == (x + sums)[:, 3].tolist()
    expect(figure.get_by_role("status")).to_contain_text("cold soup, hot dog")


def test_four_numbers_are_normalised(open_page: Callable[[str], Page]) -> None:
    page = open_page("book/07_residual.html")
    figure = page.locator("[data-figure=norm]")

    def assert_result_is_scratchs(x: list[float]) -> None:
        exact = LayerNorm(4).double()(torch.tensor(x, dtype=torch.float64))
        assert numbers(figure.locator("tbody td:nth-child(2) .play-number")) == x
        shown = numbers(figure.locator("tbody td:nth-child(3) .play-number"))
        assert shown == pytest.approx(exact.tolist(), abs=0.0051)

    assert_result_is_scratchs([9, 3, 3, 1])
    figure.get_by_role("button", name="Double all").click()
    assert_result_is_scratchs([18, 6, 6, 2])
    expect(figure.get_by_role("button", name="Double all")).to_be_disabled()  # 36 is off the scale
    figure.get_by_role("button", name="Add 2 to all").click()
    assert_result_is_scratchs([20, 8, 8, 4])
    figure.get_by_label("number 4").fill("-20")
    figure.get_by_label("number 4").press("ArrowRight")
    assert_result_is_scratchs([20, 8, 8, -19.5])
    figure.get_by_role("button", name="Make all equal").click()
    assert_result_is_scratchs([20, 20, 20, 20])
    expect(figure.get_by_role("status")).to_contain_text("only zeros are left")


def test_positions_and_their_hands(open_page: Callable[[str], Page]) -> None:
    page = open_page("book/04_positional.html")
    figure = page.locator("[data-figure=clock]")
    table = sinusoidal_table(60, 64)
    for pair, position in ((0, 0), (4, 11), (31, 59)):
        slide(figure, "Hand i", pair)
        slide(figure, "Position p", position)
        row = page.evaluate("p => bookFigures.encode(p, 64)", position)
        assert row == pytest.approx(table[position].tolist(), abs=1e-6)
        sine, cosine = table[position, 2 * pair : 2 * pair + 2].tolist()
        said = f"its sine is {sine:.3f} and its cosine {cosine:.3f}".replace("-", "\u2212")
        expect(figure.get_by_role("status")).to_contain_text(said)
        expect(figure.locator(".play-chosen")).to_have_count(2)
    before = figure.locator(".play-curve path").last.get_attribute("d")
    figure.get_by_label("Hand i").press("ArrowLeft")
    assert figure.locator(".play-curve path").last.get_attribute("d") != before


def test_a_query_and_a_key_that_turn_together(open_page: Callable[[str], Page]) -> None:
    figure = open_page("book/04_positional.html").locator("[data-figure=rotary]")
    clock = [[math.pi / 6, math.pi / 1.8]]  # angles from twelve: the vector is (sin, cos)
    query, key = torch.tensor(clock, dtype=torch.float64).T
    angles = 0.4 * torch.arange(21, dtype=torch.float64)
    queries = torch.stack([(query + angles).sin(), (query + angles).cos()], dim=-1)
    keys = torch.stack([(key + angles).sin(), (key + angles).cos()], dim=-1)
    scores = queries @ keys.T
    for p, s in ((0, 0), (3, 4), (20, 7)):
        slide(figure, "Query at p", p)
        slide(figure, "Key at s", s)
        said = f"the score is {scores[p, s]:.2f}".replace("-", "\u2212")
        expect(figure.get_by_role("status")).to_contain_text(said)
    both = figure.get_by_role("button", name="Move both")
    both.click()  # the query cannot go on, so both go back
    expect(figure.get_by_role("status")).to_contain_text("Places 13 and 0, distance 13")
    both.click()
    expect(figure.get_by_role("status")).to_contain_text("Places 14 and 1, distance 13")


def test_batches_waste_less_when_sorted_by_length(open_page: Callable[[str], Page]) -> None:
    figure = open_page("book/11_data.html").locator("[data-figure=batches]")
    expect(figure.locator(".play-filler")).to_have_count(24)
    lengths = [int(n) for n in (figure.get_attribute("data-lengths") or "").split()]
    slide(figure, "Places in a batch", 160)
    figure.get_by_label("sort by length").check()
    groups: list[list[int]] = [[]]
    for length in sorted(lengths):
        if length * (len(groups[-1]) + 1) > 160:
            groups.append([])
        groups[-1].append(length)
    places = sum(len(group) * group[-1] for group in groups)
    said = f"{len(groups)} batches have {places} places for {sum(lengths)} words"
    expect(figure.get_by_role("status")).to_contain_text(said)
    before = figure.locator(".play-page").inner_html()
    figure.get_by_role("button", name="Another order").click()
    expect(figure.get_by_role("status")).to_contain_text(said)  # sorted, it is the same
    assert figure.locator(".play-page").inner_html() == before


def test_the_size_of_a_cache(open_page: Callable[[str], Page]) -> None:
    figure = open_page("book/15_variants.html").locator("[data-figure=cache]")
    shown = figure.locator("tbody td .play-number")
    for heads, tokens, narrow in ((32, 4_096, False), (8, 131_072, False), (8, 131_072, True)):
        slide(figure, "Heads of keys", math.log2(heads))
        slide(figure, "Tokens read", math.log2(tokens))
        if narrow:
            figure.get_by_role("switch").press("Space")
        kept = min(tokens, 4_096) if narrow else tokens
        layer = torch.empty(1, heads, kept, 128, dtype=torch.float16, device="meta")
        size = 32 * 2 * layer.nbytes / 2**30  # keys and values of 32 layers
        assert numbers(shown)[1] == pytest.approx(size, abs=0.051)
        expect(figure.get_by_role("status")).to_contain_text(f"For {tokens:,} tokens")


def shown_mask(figure: Locator) -> torch.Tensor:
    pressed = figure.locator(".play-square").evaluate_all(
        "all => all.map(e => e.ariaPressed === 'true')"
    )
    return torch.tensor(pressed).view(6, 6)


def assert_weights_are_scratchs(page: Page, figure: Locator) -> None:
    scores = torch.tensor(page.evaluate("bookFigures.scores"), dtype=torch.float64)
    keys = torch.eye(6, dtype=torch.float64) * math.sqrt(6)  # so that the scores are the queries
    mask = shown_mask(figure)
    weights = scaled_dot_product_attention(scores, keys, keys, mask=mask)[1]
    texts = figure.locator(".play-square").all_inner_texts()
    assert [text == "" for text in texts] == [not allowed for allowed in mask.flatten().tolist()]
    shown = torch.tensor([float(text or 0) for text in texts]).view(6, 6)
    assert torch.allclose(shown.double(), weights, atol=0.0051)
    shades = figure.locator(".play-square").evaluate_all(
        "all => all.map(e => Number(e.style.getPropertyValue('--value')))"
    )
    assert torch.allclose(torch.tensor(shades).view(6, 6).double(), weights, atol=1e-4)


def test_a_mask_is_painted_by_pointer_and_by_keyboard(open_page: Callable[[str], Page]) -> None:
    page = open_page("book/09_decoder.html")
    figure = page.locator("[data-figure=paint]")
    squares = figure.locator(".play-square")
    causal = torch.ones(6, 6, dtype=torch.bool).tril()
    assert torch.equal(shown_mask(figure), causal)
    assert_weights_are_scratchs(page, figure)
    expect(figure.get_by_role("status")).to_contain_text("No word may look at a later one.")

    figure.scroll_into_view_if_needed()
    squares.nth(1).hover()
    page.mouse.down()
    for number in (2, 3):
        squares.nth(number).hover()
    page.mouse.up()
    squares.nth(5).hover()  # the button is up, so nothing more is painted
    painted = causal.clone()
    painted[0, 1:4] = True
    assert torch.equal(shown_mask(figure), painted)
    assert_weights_are_scratchs(page, figure)
    expect(figure.get_by_role("status")).to_contain_text("leaks in 3 squares: le may look at vélo")

    figure.get_by_role("button", name="Hide all").click()
    assert not shown_mask(figure).any()
    expect(figure.get_by_role("status")).to_contain_text("weights are all 0")
    squares.nth(1).focus()
    for key in ("Home", "ArrowDown", "ArrowRight", " ", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    hand = torch.zeros(6, 6, dtype=torch.bool)
    hand[1, 1] = hand[2, 1] = True
    assert torch.equal(shown_mask(figure), hand)
    assert_weights_are_scratchs(page, figure)
    assert figure.locator(".play-square[tabindex='0']").count() == 1


def test_a_sentence_is_written_step_by_step(open_page: Callable[[str], Page]) -> None:
    figure = open_page("book/09_decoder.html").locator("[data-figure=writing]")
    trace = json.loads(figure.get_attribute("data-trace") or "")
    model, tokenizer = load_pretrained("grammar-en-fr")
    source = [*tokenizer.encode("The small cat sees the red bicycle."), tokenizer.eos_id]
    written, said = [tokenizer.bos_id], figure.get_by_role("status")
    for step in range(1, 10):
        target = torch.tensor([written])
        with torch.no_grad():
            chances = model(torch.tensor([source]), target)[0, -1].softmax(dim=-1)
            maps = attention_maps(model, torch.tensor([source]), target)
        written.append(int(chances.argmax()))
        looked = maps.cross[-1][0].mean(dim=0)[-1].tolist()  # the last layer, mean over heads
        assert numbers(figure.locator("tbody .play-number")) == pytest.approx(looked, abs=0.0051)
        assert trace["chances"][step - 1] == pytest.approx(chances.max().item(), abs=0.0051)
        most = trace["source"][looked.index(max(looked))]
        expect(said).to_contain_text(f"looks most at {most} ")
        expect(said).to_contain_text(f"and writes {trace['target'][step]},")
        expect(figure.locator(".play-line .play-unknown")).to_have_count(9 - step)
        expect(figure.locator(".play-kept.play-new")).to_have_count(2)  # one column grows
        expect(figure.locator(".play-kept.play-old")).to_have_count(2 * (step - 1) + 2 * 9)
        if step < 9:
            figure.get_by_role("button", name="Write on").press("Enter")
    assert [piece.strip() for piece in tokenizer.pieces(written)] == trace["target"]
    assert [piece.strip() for piece in tokenizer.pieces(source)] == trace["source"]
    expect(figure.get_by_role("button", name="Write on")).to_be_disabled()
    figure.get_by_label("Step").press("ArrowLeft")
    expect(said).to_contain_text("Step 8 reads rouge")


def test_a_change_is_cut_to_a_rank(open_page: Callable[[str], Page]) -> None:
    figure = open_page("book/14_finetuning.html").locator("[data-figure=cut]")
    trace = json.loads(figure.get_attribute("data-trace") or "")
    rank = figure.get_by_label("Rank r")
    rank.press("Home")
    for line in trace:
        held = min(1, 2 * line["rank"] / trace[-1]["rank"])
        expected = [100 * held, 100 * line["share"], line["recipes"], line["grammar"]]
        shown = numbers(figure.locator("tbody .play-number"))
        assert shown == pytest.approx(expected, abs=0.51)
        said = f"{line['recipes']} of 100 recipes and {line['grammar']} of 100 old sentences"
        expect(figure.get_by_role("status")).to_contain_text(said)
        rank.press("ArrowRight")


def test_a_layer_with_parts_missing(open_page: Callable[[str], Page]) -> None:
    page = open_page("book/08_encoder.html")
    figure = page.locator("[data-figure=layer]")
    share = math.e**2 / (math.e**2 + 1)  # of her or they in what watch receives
    said = figure.get_by_role("status")

    def assert_out(*expected: float) -> None:
        shown = numbers(figure.locator("tbody td:nth-child(3) .play-number"))
        assert shown == pytest.approx(expected, abs=0.0051)

    assert_out(share, 0, 1, share, 0)
    figure.get_by_role("button", name="they watch").press("Enter")
    assert_out(0, share, 1, 0, share)
    expect(said).to_contain_text("to look, 0.88")
    figure.get_by_role("button", name="her watch").click()
    for part, expected, reason in (
        ("attention", (0, 0, 1, 0, 0), "met nobody"),
        ("keep what it had", (share, 0, 0, 0, 0), "forgotten"),
        ("feed-forward", (share, 0, 1, 0, 0), "nobody draws"),
    ):
        figure.get_by_label(part).press("Space")
        assert_out(*expected)
        expect(said).to_contain_text(reason)
        figure.get_by_label(part).press("Space")
    assert_out(share, 0, 1, share, 0)


def test_the_parameters_of_a_size_are_those_of_the_model(open_page: Callable[[str], Page]) -> None:
    page = open_page("book/10_transformer.html")
    figure = page.locator("[data-figure=sizes]")
    said = figure.get_by_role("status")

    def assert_counts(config: TransformerConfig) -> None:
        with torch.device("meta"):
            count = count_parameters(Transformer(config))
        parts = numbers(figure.locator("tbody .play-number"))
        assert sum(parts) == pytest.approx(count / 1e6, abs=0.021)  # four numbers, rounded
        expect(said).to_contain_text(f"{count / 1e6:.1f} million")

    assert_counts(TransformerConfig.preset("tiny"))
    expect(said).to_contain_text("the table: 44 per cent")
    figure.get_by_label("one table").press("Space")
    assert_counts(TransformerConfig.preset("tiny", tie_embeddings=False))
    for name in ("big", "base"):
        figure.get_by_role("button", name=name).press("Enter")
        assert_counts(TransformerConfig.preset(name))
        expect(said).to_contain_text("feed-forward networks")
    figure.get_by_label("Width D").press("ArrowLeft")
    assert_counts(TransformerConfig.preset("base", d_model=256, d_ff=1024))


def test_each_box_of_the_drawing_leads_to_its_chapter(open_page: Callable[[str], Page]) -> None:
    page = open_page("book/10_transformer.html")
    drawing = page.locator("svg.book-figure").first
    links = drawing.locator("a").evaluate_all(
        "all => all.map(a => [a.textContent, a.getAttribute('href')])"
    )
    assert len(links) > 15
    for text, address in links:
        name = re.search(r"ch(?:apter|\.) (\d+)$", text)
        assert re.search(rf"^0{name[1] if name else 7}_\w+\.html$", address), (text, address)
    drawing.get_by_role("link", name="masked self-attention").press("Enter")
    expect(page.locator("article h1")).to_contain_text("Attention")


def test_figures_fit_a_phone(browser: Browser, address: str) -> None:
    with window(browser, "light", "narrow", has_touch=True) as context:
        page = context.new_page()
        for name in (
            "04_positional", "05_attention", "08_encoder", "09_decoder", "10_transformer",
        ):  # fmt: skip
            page.goto(f"{address}/book/{name}.html", wait_until="load")
            inside = page.locator(".play").evaluate_all(
                """all => all.map(f => [...f.querySelectorAll("*")].every(
                    e => e.getBoundingClientRect().right <= f.getBoundingClientRect().right + 1))"""
            )
            assert inside and all(inside), name


def test_the_first_page_plays_what_the_model_wrote_and_where_it_looked(root: Path) -> None:
    page = (root / "book/index.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"data-trace='([^']*)'", page)
    trace = json.loads(text)
    english, french = (" ".join(trace[side]).replace(" .", ".") for side in ("source", "target"))
    model, tokenizer = load_pretrained("en-fr")
    assert Translator(model, tokenizer).translate([english])[0].text == french
    weights, source, target = word_attention(model, tokenizer, english, french)
    assert (source, target) == (trace["source"], trace["target"])
    seen = torch.tensor(trace["weights"])
    assert torch.allclose(weights[-1].mean(dim=0), seen, rtol=0, atol=0.011)  # two digits are kept
    assert target[int(seen[:, source.index("red")].argmax())] == "rouge"
