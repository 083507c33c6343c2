"""The playground in a browser: the shipped model beside Python's, and what a reader may do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import torch
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from scratch.alignment import links_both_ways, word_attention
from scratch.datasets import grammar
from scratch.plumbing.cli import DEFAULT_MODEL
from scratch.translation import Translator, next_log_probs, translate_ids

PAGE = "book/playground.html"
FIRST = "A man rides a red bicycle."
LONG = 120_000  # milliseconds: the machine may be doing other things
STARTED = "document.querySelector('#pg-go').textContent === 'Translate'"
# searches without the page around them; `window.book` is what Start loads
PREPARE = """async () => {
    const at = (name) => import(new URL(`../_static/playground/${name}.js`, location));
    const names = ["start", "model", "search", "words", "steps"];
    window.parts = Object.assign({}, ...await Promise.all(names.map(at)));
    window.book = await parts.load(() => {});
    window.on = parts.everythingOn(book.model.config);
    const still = async () => {};
    const translate = async (ids, search, switches, ...settings) => {
        const memory = await book.model.read(ids, switches);
        const limit = parts.longestOutput(book.model.config, ids.length);
        return search(book.model, memory, switches, limit, ...settings, still);
    };
    const each = async (all, work) => {
        const found = [];
        for (const ids of all) found.push(await work(ids));
        return found;
    };
    window.greedy = (all, switches = on) =>
        each(all, async (ids) => (await translate(ids, parts.greedySearch, switches)).tokens);
    window.beam = (all, settings) =>
        each(all, (ids) => translate(ids, parts.beamSearch, on, settings));
    window.sampled = async (ids, settings) =>
        (await translate(ids, parts.sample, on, settings)).tokens;
}"""
ODD = [
    "", "   ", "\ufeff", " \ufeff a", "\u0085x\u0085", "<eos> stops <pad><bos>", "l\u2019homme",
    "<img src=x onerror=alert(1)>", "😀 family 👨\u200d👩\u200d👧", "مرحبا",
    "a\u200bb\u00a0c\u3000d", "e\u0301te\u0301", "tabs\tand\nlines\r\n", "\x1c\x1f",
    "12345 3.14 ½", "''quote'' \"this\"", "\U00010400\U0001d4b3", "x" * 500,
]  # fmt: skip
AXE = """async () => (await axe.run()).violations
    .filter(v => ["serious", "critical"].includes(v.impact))
    .flatMap(v => v.nodes.map(n => [v.id, n.target.join(" "), n.html, n.failureSummary]))"""
STICKING_OUT = """() => {
    const scrolls = e => e
        && (/auto|scroll|hidden/.test(getComputedStyle(e).overflowX) || scrolls(e.parentElement));
    return [...document.querySelectorAll("article *")]
        .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !scrolls(e.parentElement))
        .map(e => `${e.tagName}.${e.className}`).slice(0, 5);
}"""


class Reader:
    """Someone at the playground, and what the browser reported meanwhile."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.page: Page = context.new_page()
        self.page.set_default_timeout(LONG)
        self.address, self.host = f"{address}/{PAGE}", urlsplit(address).netloc
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda r: self.requests.append(r.url))
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda e: self.errors.append(str(e)))
        self.page.on("dialog", lambda d: self.errors.append(f"dialog: {d.message}"))

    def open(self, after: str = "") -> Reader:
        self.page.goto(self.address + after)
        expect(self.page.locator("#pg-app")).to_be_visible()
        return self

    def start(self) -> Reader:
        self.page.click("#pg-go")
        self.page.wait_for_function(STARTED, timeout=LONG)
        return self.done()

    def done(self, what: str = "The translation: ") -> Reader:
        """Wait until a translation, or ``what`` else, has been announced."""
        self.page.wait_for_function(
            "what => document.querySelector('#pg-status').textContent.startsWith(what)",
            arg=what, timeout=LONG,
        )  # fmt: skip
        return self

    def forget(self) -> None:
        self.page.evaluate("document.querySelector('#pg-status').textContent = ''")

    def ask(self, text: str) -> str:
        """Type ``text``, press the button, and return the translation or the refusal."""
        self.forget()
        self.page.fill("#pg-english", text)
        self.page.click("#pg-go")
        self.page.wait_for_function(
            "() => document.querySelector('#pg-status').textContent"
            " || document.querySelector('#pg-alert').textContent",
            timeout=LONG,
        )
        return self.alert or self.french

    @property
    def french(self) -> str:
        return self.page.inner_text("#pg-french")

    @property
    def alert(self) -> str:
        return self.page.inner_text("#pg-alert")


@pytest.fixture(scope="module")
def new_reader(browser: Browser, address: str, pages: list[str]) -> Iterator[Callable[..., Reader]]:
    assert PAGE in pages
    contexts = []

    def reader(**settings: Any) -> Reader:
        settings = {
            "viewport": {"width": 1280, "height": 900},
            "reduced_motion": "reduce",
        } | settings
        contexts.append(browser.new_context(**settings))
        return Reader(contexts[-1], address)

    expect.set_options(timeout=LONG)
    yield reader
    expect.set_options(timeout=5_000)
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def reader(new_reader: Callable[..., Reader]) -> Reader:
    """One who has pressed Start."""
    return new_reader().open().start()


@pytest.fixture(scope="module")
def engine(new_reader: Callable[..., Reader]) -> Page:
    """The modules of the page, loaded without what they show."""
    page = new_reader().open().page
    page.evaluate(PREPARE)
    return page


@pytest.fixture(scope="module")
def translator() -> Translator:
    return Translator.from_pretrained(DEFAULT_MODEL)


@pytest.fixture(scope="module")
def sources(translator: Translator) -> list[list[int]]:
    """Fifty sentences, as the encoder reads them."""
    return [translator.source_ids(pair.english_text) for pair in grammar().unseen[:50]]


# -- the same model ----------------------------------------------------------------------


def test_fifty_sentences_are_translated_token_for_token_as_in_python(
    engine: Page, translator: Translator, sources: list[list[int]]
) -> None:
    expected = [h.tokens for h in translate_ids(translator.model, sources, beam_size=1)]
    found = engine.evaluate("all => greedy(all)", sources)
    assert found == expected and len(found) == 50


@pytest.mark.parametrize(("size", "alpha"), [(4, 0.6)])
def test_a_beam_finds_what_pythons_finds(
    engine: Page, translator: Translator, sources: list[list[int]], size: int, alpha: float
) -> None:
    expected = translate_ids(translator.model, sources, beam_size=size, length_penalty=alpha)
    found = engine.evaluate(
        "([all, settings]) => beam(all, settings)", [sources, {"size": size, "alpha": alpha}]
    )
    assert [f["tokens"] for f in found] == [h.tokens for h in expected]
    for f, h in zip(found, expected, strict=True):
        assert f["score"] == pytest.approx(h.score, abs=1e-4)
        assert f["ended"][0]["score"] == max(e["score"] for e in f["ended"])


def test_text_becomes_the_same_ids(engine: Page, translator: Translator) -> None:
    texts = ODD + [pair.french_text for pair in grammar().unseen[:50]]
    found = engine.evaluate("texts => texts.map(text => book.tokenizer.encode(text))", texts)
    tokenizer = translator.tokenizer
    assert found == [tokenizer.encode(text) for text in texts]
    back = engine.evaluate("all => all.map(ids => book.tokenizer.decode(ids))", found)
    assert back == [tokenizer.normalise(text) for text in texts]
    pieces = engine.evaluate("all => all.map(ids => book.tokenizer.pieces(ids))", found)
    assert pieces == [tokenizer.pieces(ids) for ids in found]


def test_words_look_where_they_look_in_python(engine: Page, translator: Translator) -> None:
    for pair in grammar().unseen[:10]:
        english, french = pair.english_text, pair.french_text
        weights, source, target = word_attention(
            translator.model, translator.tokenizer, english, french
        )
        expected = weights[-1].mean(0)
        found = engine.evaluate(
            """async ([english, french]) => {
                const { model, tokenizer } = book, { bos_id, eos_id } = model.config;
                const [source, target] = [english, french].map(text => tokenizer.encode(text));
                const memory = await model.read([...source, eos_id], on);
                const pass = await model.write([[bos_id, ...target]], memory, on);
                const maps = new parts.Maps(pass.cross);
                const whole = maps.pick(maps.layers - 1, "mean");
                const map = parts.wordMap(whole, tokenizer.words(target), tokenizer.words(source));
                const words = ids => tokenizer.words(ids)
                    .map(group => tokenizer.raw(group.map(i => ids[i])).trim());
                const sums = whole.map(row => row.reduce((a, b) => a + b));
                const links = parts.linksBothWays(map);
                return { map, links, sums, source: words(source), target: words(target) };
            }""",
            [english, french],
        )
        assert (found["source"], found["target"]) == (source, target)
        torch.testing.assert_close(torch.tensor(found["map"]), expected, atol=1e-5, rtol=0)
        assert {(s, t) for t, s in found["links"]} == links_both_ways(expected)
        assert found["sums"] == pytest.approx([1] * len(found["sums"]), abs=1e-5)


def test_every_row_of_every_map_sums_to_one(engine: Page, sources: list[list[int]]) -> None:
    sums = engine.evaluate(
        """async (all) => {
            const found = [];
            for (const ids of all) {
                const memory = await book.model.read(ids, on);
                const pass = await book.model.write([[1, ...ids]], memory, on);
                const passed = [pass.self, pass.cross].map(tensor => new parts.Maps(tensor));
                for (const maps of [memory.attention, ...passed])
                    for (let l = 0; l < maps.layers; l++) for (let h = 0; h < maps.heads; h++)
                        found.push(...maps.pick(l, h).map(row => row.reduce((a, b) => a + b)));
            }
            return found;
        }""",
        sources[:5],
    )
    assert len(sums) > 100
    assert sums == pytest.approx([1] * len(sums), abs=1e-5)


def test_without_positions_both_translate_alike(engine: Page, sources: list[list[int]]) -> None:
    model = Translator.from_pretrained(DEFAULT_MODEL).model
    for positions in (model.source_positions, model.target_positions):
        table: Any = positions.table
        table.data.zero_()
    expected = [h.tokens for h in translate_ids(model, sources[:10], beam_size=1)]
    without = "all => greedy(all, { ...on, positions: 0 })"
    assert engine.evaluate(without, sources[:10]) == expected
    assert engine.evaluate("all => greedy(all)", sources[:10]) != expected


def test_without_heads_both_translate_alike(engine: Page, sources: list[list[int]]) -> None:
    """A head is off when nobody reads it: its columns of the output's projection are 0."""
    model = Translator.from_pretrained(DEFAULT_MODEL).model
    K = model.config.d_model // model.config.n_heads
    parts: tuple[Any, ...] = (
        model.encoder.layers[0].self_attention,
        model.decoder.layers[0].self_attention,
        model.decoder.layers[0].cross_attention,
    )
    for part, off in zip(parts, (slice(0, K), slice(K, 2 * K), slice(0, 3 * K)), strict=True):
        part.w_output.weight.data[:, off] = 0
    expected = [h.tokens for h in translate_ids(model, sources[:10], beam_size=1)]
    without = """all => {
        const less = structuredClone(on);
        less.encoder[0][0] = less.decoder[0][1] = 0;
        less.cross[0][0] = less.cross[0][1] = less.cross[0][2] = 0;
        return greedy(all, less);
    }"""
    assert engine.evaluate(without, sources[:10]) == expected
    assert engine.evaluate("all => greedy(all)", sources[:10]) != expected


def test_the_five_most_probable_are_pythons(
    engine: Page, translator: Translator, sources: list[list[int]]
) -> None:
    model, ids = translator.model, sources[0]
    with torch.inference_mode():
        state = model.start(torch.tensor([ids]))
        log_probs = next_log_probs(model, torch.tensor([[1]]), state, torch.tensor([50]))[0]
    best = log_probs.topk(5)
    found = engine.evaluate(
        """async (ids) => {
            const memory = await book.model.read(ids, on);
            const step = await book.model.write([[1]], memory, on);
            return parts.stepOf(parts.nextLogProbs(step.logits, 0, book.model.config), 7);
        }""",
        ids,
    )
    assert [c["id"] for c in found["candidates"]] == best.indices.tolist()
    shares = [c["p"] for c in found["candidates"]]
    assert shares == pytest.approx(best.values.exp().tolist(), abs=1e-5)
    assert found["p"] == pytest.approx(log_probs[7].exp().item(), abs=1e-6)


def test_sampling_follows_its_seed_and_its_temperature(
    engine: Page, sources: list[list[int]]
) -> None:
    def sampled(seed: int, temperature: float) -> list[int]:
        settings = {"seed": seed, "temperature": temperature}
        found: list[int] = engine.evaluate("two => sampled(...two)", [sources[0], settings])
        return found

    warm = [sampled(seed, 2.0) for seed in range(4)]
    assert warm[1] == sampled(1, 2.0)
    assert len({tuple(tokens) for tokens in warm}) > 1
    assert [sampled(1, 0.005)] == engine.evaluate("all => greedy(all)", sources[:1])
    shares = engine.evaluate("""() => {
        const random = parts.generator(5), logs = Float64Array.from([0.5, 0, 0.2, 0.3], Math.log);
        const counts = [0, 0, 0, 0];
        for (let i = 0; i < 20000; i++) counts[parts.draw(logs, 0.5, random)]++;
        return counts.map(count => count / 20000);
    }""")  # a temperature of a half squares the probabilities: 25, 4 and 9 parts of 38
    assert shares == pytest.approx([25 / 38, 0, 4 / 38, 9 / 38], abs=0.02)


# -- the page ----------------------------------------------------------------------


def test_nothing_is_loaded_before_start_and_the_page_says_how_much(
    new_reader: Callable[..., Reader], root: Path
) -> None:
    reader = new_reader().open()
    reader.page.wait_for_load_state("networkidle")
    assert not [url for url in reader.requests if "/_static/model/" in url]
    files = json.loads((root / "_build/html/_static/model/manifest.json").read_text())["files"]
    total = sum(file["compressed"] for file in files.values()) / 1e6
    assert f"Start loads {total:.1f} MB" in reader.page.inner_text(".pg-size")
    assert total < 15
    reader.start()
    paths = [urlsplit(url).path for url in reader.requests]
    loaded = {path.rsplit("/", 1)[1] for path in paths if "/_static/model/" in path}
    assert loaded == {*files, "manifest.json"}
    assert [url for url in reader.requests if urlsplit(url).netloc not in ("", reader.host)] == []
    assert reader.errors == []


def test_a_sentence_is_translated_and_taken_apart(reader: Reader, translator: Translator) -> None:
    expected = translator.translate([FIRST], beam_size=1)[0]
    assert reader.ask(FIRST) == expected.text
    page = reader.page
    count = len(expected.tokens) + 1  # and <eos>
    expect(page.locator("#pg-steps tbody tr")).to_have_count(count)
    expect(page.locator("#pg-steps .pg-taken")).to_have_count(count)
    expect(page.locator("#pg-attention .pg-map tbody tr")).to_have_count(count)
    numbers = page.locator("#pg-attention .pg-map tbody tr").first.locator("td").all_inner_texts()
    assert sum(map(int, numbers)) == pytest.approx(100, abs=4)
    words = len(expected.text.replace(".", " .").split())
    assert page.locator("#pg-attention .pg-canvas path").count() >= words
    page.hover("#pg-attention .pg-rows li:nth-child(3) button")
    assert "looks at: " in page.inner_text("#pg-attention .pg-alignment .pg-note")
    for kind, other in {"encoder": "English", "decoder": "French"}.items():
        page.locator("#pg-attention select").first.select_option(kind)
        assert f"{other} looks at {other}" in page.inner_text("#pg-attention .pg-caption")
    page.locator("#pg-attention select").first.select_option("cross")


def test_beam_search_shows_what_it_has_finished(reader: Reader, translator: Translator) -> None:
    page = reader.page
    page.locator("input[value=beam]").check(force=True)
    page.fill("input[name=beam]", "3")
    found = reader.ask(FIRST)
    assert found == translator.translate([FIRST], beam_size=3)[0].text
    expect(page.locator("#pg-beams tbody tr")).to_have_count(3)
    page.fill("input[name=beam]", "500")
    assert "The beam size is 500, expected a whole number from 1 to 20." in reader.ask(FIRST)
    page.fill("input[name=beam]", "4")
    page.locator("input[value=greedy]").check(force=True)
    assert reader.ask(FIRST) and not reader.alert


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("", "There is no sentence yet"),
        (" \n ", "There is no sentence yet"),
        ("word " * 1000, "tokens, expected at most"),
        ("😀 👨\u200d👩\u200d👧", ""),
        ('<img src=x onerror="window.broken=1">', ""),
        ("<eos>", ""),
        ("مرحبا", ""),
    ],
    ids=["empty", "blank", "5,000 characters", "emoji", "markup", "special token", "right to left"],
)
def test_odd_input_is_answered_or_refused_in_a_sentence(
    reader: Reader, translator: Translator, text: str, answer: str
) -> None:
    found = reader.ask(text)
    if answer:
        assert answer in found and found.strip().endswith((".", "time."))
    else:
        assert not reader.alert
        tokens = reader.page.locator("#pg-tokens ol").first.locator("li > span").all_inner_texts()
        pieces = translator.tokenizer.pieces(translator.source_ids(text))
        assert tokens == [piece.replace(" ", "·") for piece in pieces]
    assert reader.page.evaluate("window.broken") is None
    assert reader.page.locator("#pg-app img, #pg-attention img, #pg-steps img").count() == 0
    assert reader.ask(FIRST) == translator.translate([FIRST], beam_size=1)[0].text
    assert reader.errors == []


def test_a_head_and_the_positions_can_be_taken_away(reader: Reader) -> None:
    page = reader.page
    reader.ask(FIRST)
    whole = reader.french
    page.get_by_label("positions are added").uncheck()
    expect(page.locator("#pg-off-what")).to_have_text("Without the positions:")
    expect(page.locator("#pg-off-verdict")).to_have_text("The translation is another one.")
    assert page.inner_text("#pg-off-before") == whole != reader.french
    page.get_by_role("button", name="Decoder, cross-attention, layer 1, head 1").click()
    expect(page.locator("#pg-off-what")).to_have_text("Without one head and the positions:")
    page.click("#pg-restore")
    expect(page.locator("#pg-off")).to_be_hidden()
    expect(page.locator("#pg-french")).to_have_text(whole)


def test_without_the_causal_mask_weights_lie_on_the_future(reader: Reader) -> None:
    page = reader.page
    reader.ask(FIRST)
    page.fill("#pg-french-given", "Un homme roule sur un vélo rouge.")
    reader.forget()
    page.click("#pg-ahead-form button")
    reader.done("With the mask on, no weight lies on the future.")
    future = "#pg-ahead tbody tr td:last-child"
    assert {float(x.split()[0]) for x in page.locator(future).all_inner_texts()} == {0.0}
    page.uncheck("#pg-mask")
    reader.done("With the mask off, up to")
    shares = [float(x.split()[0]) for x in page.locator(future).all_inner_texts()]
    assert max(shares) > 10 and shares[-1] == 0, "the last position has no future"
    page.fill("#pg-french-given", "   ")
    page.click("#pg-ahead-form button")
    expect(page.locator("#pg-alert")).to_contain_text("There is no French sentence to read")
    page.check("#pg-mask")


def test_back_and_forward_keep_the_input(new_reader: Callable[..., Reader], address: str) -> None:
    reader = new_reader().open().start()
    page = reader.page
    first, second = reader.french, reader.ask("Two women read a book near the river.")
    assert first != second
    page.get_by_label("positions are added").uncheck()
    expect(page.locator("#pg-off")).to_be_visible()
    page.goto(f"{address}/book/notation.html")
    page.go_back()
    expect(page.locator("#pg-app")).to_be_visible()
    expect(page.locator("#pg-english")).to_have_value("Two women read a book near the river.")
    page.wait_for_function("() => !document.querySelector('#pg-go').disabled")
    if page.inner_text("#pg-go") == "Start":  # the browser kept the page, or it did not
        reader.start()
    expect(page.get_by_label("positions are added")).not_to_be_checked()
    page.go_back()
    expect(page.get_by_label("positions are added")).to_be_checked()
    expect(page.locator("#pg-french")).to_have_text(second)
    page.go_back()
    expect(page.locator("#pg-english")).to_have_value(FIRST)
    expect(page.locator("#pg-french")).to_have_text(first)
    page.go_forward()
    expect(page.locator("#pg-french")).to_have_text(second)
    assert reader.errors == []


def test_an_address_can_carry_a_sentence(new_reader: Callable[..., Reader]) -> None:
    reader = new_reader().open("#s=%3Cb%3Ebold%3C%2Fb%3E+men&by=beam&beam=2&nonsense=1")
    assert reader.page.input_value("#pg-english") == "<b>bold</b> men"
    assert reader.page.locator("input[value=beam]").is_checked()
    assert reader.page.input_value("input[name=beam]") == "2"
    assert not [url for url in reader.requests if "/_static/model/" in url]


def halve(route: Route) -> None:
    body = route.fetch().body()
    route.fulfill(body=body[: len(body) // 2])


def damage(route: Route) -> None:
    body = bytearray(route.fetch().body())
    body[len(body) // 2] ^= 1
    route.fulfill(body=bytes(body))


def hang_up(route: Route) -> None:
    route.abort()


def lose(route: Route) -> None:
    route.fulfill(status=404, body="not here")


@pytest.mark.parametrize(
    ("file", "harm", "sentence"),
    [
        ("weights.bin", lose, "weights.bin could not be fetched: the server answers 404."),
        ("weights.bin", halve, "it is cut short or another version."),
        ("weights.bin", damage, "weights.bin is damaged"),
        ("weights.bin", hang_up, "weights.bin could not be fetched: is there a connection?"),
        ("manifest.json", halve, "The list of the model's files arrived damaged."),
        ("tokenizers.min.mjs", lose, "tokenizers.min.mjs could not be loaded"),
    ],
    ids=["missing", "cut in half", "damaged", "no connection", "no list", "no script"],
)
def test_a_file_that_does_not_arrive_can_be_asked_for_again(
    new_reader: Callable[..., Reader], file: str, harm: Callable[[Route], None], sentence: str
) -> None:
    reader = new_reader().open()
    page = reader.page
    page.route(f"**/_static/model/{file}*", harm)
    page.click("#pg-go")
    expect(page.locator("#pg-alert")).to_contain_text(sentence)
    expect(page.locator("#pg-retry")).to_be_visible()
    expect(page.locator("#pg-progress-box")).to_be_hidden()
    page.unroute(f"**/_static/model/{file}*")
    page.click("#pg-retry")
    page.wait_for_function(STARTED)
    reader.done()
    assert reader.french and not reader.alert
    expect(page.locator("#pg-retry")).to_be_hidden()


def test_the_keyboard_is_enough(new_reader: Callable[..., Reader]) -> None:
    reader = new_reader().open()
    page = reader.page

    def tab_to(selector: str) -> None:
        for _ in range(250):
            page.keyboard.press("Tab")
            if page.evaluate("s => document.activeElement.matches(s)", selector):
                return
        pytest.fail(f"Tab does not reach {selector}")

    tab_to("#pg-english")
    page.keyboard.press("Control+A")
    page.keyboard.type("Two women read a book near the river.")
    page.keyboard.press("Enter")
    page.wait_for_function(STARTED)
    reader.done()
    tab_to("input[name=by]")
    page.keyboard.press("ArrowRight")
    expect(page.locator("input[value=beam]")).to_be_checked()
    tab_to("input[name=beam]")
    page.keyboard.press("Control+A")
    reader.forget()
    page.keyboard.type("2")
    page.keyboard.press("Enter")
    reader.done()
    expect(page.locator("#pg-beams tbody tr")).to_have_count(2)
    tab_to("#pg-attention select")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#pg-attention .pg-caption")).to_contain_text("English looks at English")
    tab_to("#pg-attention .pg-rows button")
    expect(page.locator("#pg-attention .pg-alignment .pg-note")).to_contain_text("looks at: ")
    tab_to("#pg-switches button")
    page.keyboard.press("Space")
    expect(page.locator("#pg-off-what")).to_have_text("Without one head:")
    focused = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert focused == "solid", "one sees where the focus is"
    tab_to("#pg-mask")
    reader.forget()
    page.keyboard.press("Space")
    reader.done("With the mask off")


def test_the_newest_request_wins(new_reader: Callable[..., Reader], translator: Translator) -> None:
    """Of several sentences in quick succession the last one is on the page at the end."""
    reader = new_reader(reduced_motion="no-preference").open().start()
    texts = ["Two women read a book near the river.", "I will eat some good bread tomorrow.", FIRST]
    for text in texts:
        reader.forget()
        reader.page.fill("#pg-english", text)
        reader.page.press("#pg-english", "Enter")
    reader.done()
    reader.page.wait_for_timeout(1_500)
    assert reader.french == translator.translate([FIRST], beam_size=1)[0].text
    assert reader.errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_at_work_it_is_accessible_and_fits(
    new_reader: Callable[..., Reader], root: Path, scheme: str, width: int
) -> None:
    reader = new_reader(viewport={"width": width, "height": 900}, color_scheme=scheme).open()
    page = reader.page
    page.locator("input[value=beam]").check(force=True)
    reader.start()
    page.uncheck("#pg-mask")
    reader.done("With the mask off")
    page.get_by_role("button", name="Decoder, cross-attention, layer 1, head 1").click()
    expect(page.locator("#pg-off")).to_be_visible()
    page.locator("#pg-attention .pg-rows button").nth(2).focus()
    pictures = root / "_build" / "screenshots"
    pictures.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=pictures / f"playground-at-work-{width}-{scheme}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert page.evaluate(STICKING_OUT) == []
    page.add_script_tag(path=root / "node_modules/axe-core/axe.min.js")
    assert page.evaluate(AXE) == []
    page.fill("#pg-english", "")
    page.click("#pg-go")
    expect(page.locator("#pg-alert")).to_be_visible()
    assert page.evaluate(AXE) == []
    assert reader.errors == []
