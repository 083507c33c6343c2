"""The playground in a browser: the shipped model beside Python's, and what a reader may do."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import pytest
import torch
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from scratch.alignment import links_both_ways, word_attention
from scratch.plumbing.cli import DEFAULT_MODEL
from scratch.search import gnmt_penalty, next_log_probs
from scratch.translation import Translator, translate_ids
from visit import Visit, assert_nothing, window

PAGE = "book/playground.html"
FIRST = "The black dog is sleeping on a green sofa."
STARTED = "document.querySelector('#pg-go').textContent === 'Translate'"
# searches without the page around them; `window.book` is what Start loads
PREPARE = """async () => {
    const at = (name) => import(new URL(`../_static/playground/${name}.js`, location));
    const names = ["start", "model", "search", "words", "steps", "dom", "heatmap"];
    window.parts = Object.assign({}, ...await Promise.all(names.map(at)));
    window.book = await new parts.Delivery().load(() => {});
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
    window.first = async (ids, switches = on) => {
        const memory = await book.model.read(ids, switches);
        const step = await book.model.write([[book.model.config.bos_id]], memory, switches);
        return parts.nextLogProbs(step.logits, 0, book.model.config);
    };
}"""
# what is off in one test: heads of each kind
FEWER = """() => {
    const less = structuredClone(on);
    less.encoder[0][0] = less.decoder[0][1] = 0;
    less.cross[0][0] = less.cross[0][1] = less.cross[0][2] = 0;
    return less;
}"""
ODD = [
    "", "   ", "\ufeff", " \ufeff a", "\u0085x\u0085", "<eos> stops <pad><bos>", "l\u2019homme",
    "<img src=x onerror=alert(1)>", "😀 family 👨\u200d👩\u200d👧", "مرحبا",
    "a\u200bb\u00a0c\u3000d", "e\u0301te\u0301", "tabs\tand\nlines\r\n", "\x1c\x1f",
    "12345 3.14 ½", "''quote'' \"this\"", "\U00010400\U0001d4b3", "x" * 500,
]  # fmt: skip
# compared as `unprinted` would
SHOWN = """text => document.querySelector("#pg-french").textContent
    .replaceAll("\\u2019", "'").replace(/\\s*([?!;:])/g, "$1") === text"""
# how many checksums have been computed
COUNT_DIGESTS = """() => {
    const digest = crypto.subtle.digest.bind(crypto.subtle);
    window.digests = 0;
    crypto.subtle.digest = (...given) => digest(...given).finally(() => { window.digests++; });
}"""


def unprinted(text: str) -> str:
    """Take back what only the eye needs: spaces before signs, curly apostrophes."""
    text = re.sub(r"\s*([?!;:\u00bb])", r"\1", text.replace("\u2019", "'"))
    return re.sub(r"\u00ab\s*", "\u00ab", text)


class Reader(Visit):
    """Someone at the playground, and what the browser reported meanwhile."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        super().__init__(context.new_page(), address)
        self.page.on("dialog", lambda d: self.errors.append(f"dialog: {d.message}"))

    def open(self, name: str = "") -> Self:
        """Go to the playground, with ``name`` behind its address."""
        self.page.goto(f"{self.address}/{PAGE}{name}")
        expect(self.page.locator("#pg-app")).to_be_visible()
        return self

    def start(self) -> Self:
        self.page.click("#pg-go")
        self.page.wait_for_function(STARTED)
        return self.done()

    def done(self, what: str = "The translation: ") -> Self:
        """Wait until a translation, or ``what`` else, has been announced."""
        self.page.wait_for_function(
            "what => document.querySelector('#pg-status').textContent.startsWith(what)",
            arg=what,
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
            " || document.querySelector('#pg-alert').textContent"
        )
        return self.alert or self.french

    @property
    def french(self) -> str:
        return unprinted(self.page.inner_text("#pg-french"))

    @property
    def alert(self) -> str:
        return self.page.inner_text("#pg-alert")


@pytest.fixture
def new_reader(browser: Browser, address: str, pages: list[str]) -> Iterator[Callable[..., Reader]]:
    """Readers of whom each has a window of its own, closed when the test ends."""
    assert PAGE in pages
    with ExitStack() as windows:

        def reader(width: str = "wide", **settings: Any) -> Reader:
            context = windows.enter_context(window(browser, "light", width, **settings))
            return Reader(context, address)

        yield reader


@pytest.fixture(scope="module")
def reader(browser: Browser, address: str) -> Iterator[Reader]:
    """One who has pressed Start."""
    with window(browser, "light", "wide") as context:
        yield Reader(context, address).open().start()


@pytest.fixture(scope="module")
def engine(browser: Browser, address: str) -> Iterator[Page]:
    """The modules of the page, loaded without what they show."""
    with window(browser, "light", "wide") as context:
        page = Reader(context, address).open().page
        page.evaluate(PREPARE)
        yield page


@pytest.fixture(scope="module")
def translator() -> Translator:
    return Translator.from_pretrained(DEFAULT_MODEL)


@pytest.fixture(scope="module")
def without_positions() -> Translator:
    """The same model, with tables of positions that hold nothing."""
    translator = Translator.from_pretrained(DEFAULT_MODEL)
    for positions in (translator.model.source_positions, translator.model.target_positions):
        table: Any = positions.table
        table.data.zero_()
    return translator


@pytest.fixture(scope="module")
def sources(translator: Translator, sentences: list[str]) -> list[list[int]]:
    """Fifty sentences, as the encoder reads them."""
    return [translator.source_ids(text) for text in sentences]


def first_step(translator: Translator, ids: list[int]) -> torch.Tensor:
    """Log-probabilities of the first token of a translation, (V,)."""
    model = translator.model
    with torch.inference_mode():
        state, limit = model.start(torch.tensor([ids])), torch.tensor([50])
        start = torch.tensor([[model.config.bos_id]])
        return next_log_probs(model, start, state, limit)[0]


def assert_both_change_alike(
    engine: Page, whole: Translator, less: Translator, sources: list[list[int]], switches: str
) -> None:
    """With the ``switches`` of the page both find what ``less`` finds, which is not ``whole``."""
    expected = [h.tokens for h in translate_ids(less.model, sources, beam_size=1)]
    assert engine.evaluate(f"all => greedy(all, {switches})", sources) == expected
    changed = first_step(less, sources[0])
    kept = changed.isfinite()
    found = engine.evaluate(
        f"async ids => [...await first(ids, {switches})].map(Math.exp)", sources[0]
    )
    torch.testing.assert_close(torch.tensor(found), changed.exp(), atol=1e-3, rtol=0)
    assert (changed - first_step(whole, sources[0]))[kept].abs().max() > 0.05, "nothing changes"


# -- the same model ----------------------------------------------------------------------


def test_fifty_sentences_are_translated_token_for_token_as_in_python(
    engine: Page, translator: Translator, sources: list[list[int]]
) -> None:
    expected = [h.tokens for h in translate_ids(translator.model, sources, beam_size=1)]
    found = engine.evaluate("all => greedy(all)", sources)
    assert found == expected and len(found) == 50
    assert len({tuple(tokens) for tokens in found}) > 40, "the sentences are too much alike"


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
        assert f["score"] == pytest.approx(h.score, abs=1e-3)
        assert f["alpha"] == alpha
        assert f["ended"][0]["score"] == max(e["score"] for e in f["ended"])


def test_text_becomes_the_same_ids(
    engine: Page, translator: Translator, sentences: list[str]
) -> None:
    french = [t.text for t in translator.translate(sentences[:20], beam_size=1)]
    texts = ODD + sentences + french
    found = engine.evaluate("texts => texts.map(text => book.tokenizer.encode(text))", texts)
    tokenizer = translator.tokenizer
    assert found == [tokenizer.encode(text) for text in texts]
    back = engine.evaluate("all => all.map(ids => book.tokenizer.decode(ids))", found)
    assert back == [tokenizer.normalise(text) for text in texts]
    pieces = engine.evaluate("all => all.map(ids => book.tokenizer.pieces(ids))", found)
    assert pieces == [tokenizer.pieces(ids) for ids in found]


def test_words_look_where_they_look_in_python(
    engine: Page, translator: Translator, sentences: list[str]
) -> None:
    written = [t.text for t in translator.translate(sentences[:10], beam_size=1)]
    for english, french in zip(sentences[:10], written, strict=True):
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
        torch.testing.assert_close(torch.tensor(found["map"]), expected, atol=1e-4, rtol=0)
        assert {(s, t) for t, s in found["links"]} == links_both_ways(expected)
        assert found["sums"] == pytest.approx([1] * len(found["sums"]), abs=1e-5)


def test_every_row_of_every_map_sums_to_one(engine: Page, sources: list[list[int]]) -> None:
    rows, least, most = engine.evaluate(
        """async (all) => {
            const found = [], { bos_id } = book.model.config;
            for (const ids of all) {
                const memory = await book.model.read(ids, on);
                const pass = await book.model.write([[bos_id, ...ids]], memory, on);
                const passed = [pass.self, pass.cross].map(tensor => new parts.Maps(tensor));
                for (const maps of [memory.attention, ...passed])
                    for (let l = 0; l < maps.layers; l++) for (let h = 0; h < maps.heads; h++)
                        found.push(...maps.pick(l, h).map(row => row.reduce((a, b) => a + b)));
            }
            return [found.length, Math.min(...found), Math.max(...found)];
        }""",
        sources,
    )
    assert rows > 3 * sum(map(len, sources))
    assert 1 - 1e-5 < least <= most < 1 + 1e-5


def test_without_positions_both_translate_alike(
    engine: Page, translator: Translator, without_positions: Translator, sources: list[list[int]]
) -> None:
    assert_both_change_alike(
        engine, translator, without_positions, sources[:10], "{ ...on, positions: 0 }"
    )


def test_without_heads_both_translate_alike(
    engine: Page, translator: Translator, sources: list[list[int]]
) -> None:
    """A head is off when nobody reads it: its columns of the output's projection are 0."""
    less = Translator.from_pretrained(DEFAULT_MODEL)
    model = less.model
    K = model.config.d_model // model.config.n_heads
    parts: tuple[Any, ...] = (
        model.encoder.layers[0].self_attention,
        model.decoder.layers[0].self_attention,
        model.decoder.layers[0].cross_attention,
    )
    for part, off in zip(parts, (slice(0, K), slice(K, 2 * K), slice(0, 3 * K)), strict=True):
        part.w_output.weight.data[:, off] = 0
    assert_both_change_alike(engine, translator, less, sources[:10], f"({FEWER})()")


def test_the_five_most_probable_are_pythons(
    engine: Page, translator: Translator, sources: list[list[int]]
) -> None:
    log_probs = first_step(translator, sources[0])
    for temperature in (None, 2.0):
        drawn = (log_probs / temperature).log_softmax(dim=-1) if temperature else log_probs
        best = drawn.topk(5)
        found = engine.evaluate(
            """async ([ids, temperature]) => {
                let logProbs = await first(ids);
                if (temperature) logProbs = parts.temper(logProbs, temperature);
                return parts.stepOf(logProbs, 7);
            }""",
            [sources[0], temperature],
        )
        assert [c["id"] for c in found["candidates"]] == best.indices.tolist()
        shares = [c["p"] for c in found["candidates"]]
        assert shares == pytest.approx(best.values.exp().tolist(), abs=1e-4)
        assert found["p"] == pytest.approx(drawn[7].exp().item(), abs=1e-4)


def test_what_cannot_come_is_no_candidate(engine: Page) -> None:
    found = engine.evaluate("""() => {
        const config = { vocab_size: 6, pad_id: 0, bos_id: 1, eos_id: 2 };
        const logits = { data: Float32Array.of(9, 9, 9, 9, 9, 9, 5, 5, 1, 2, 3, 4) };
        const rows = [false, true].map(last => parts.nextLogProbs(logits, 1, config, last));
        return {
            ids: rows.map(row => parts.stepOf(row, 2).candidates.map(c => c.id)),
            same: Math.abs(rows[0][3] - parts.logProbOf(logits, 1, 3, config)),
        };
    }""")
    assert found == {"ids": [[5, 4, 3, 2], [2]], "same": 0}


def test_bytes_that_spell_nothing_leave_the_words_apart(
    engine: Page, translator: Translator, sentences: list[str]
) -> None:
    ids = translator.tokenizer.encode(sentences[0])
    whole = engine.evaluate("ids => book.tokenizer.words(ids)", ids)
    odd = engine.evaluate(
        """ids => {
            const stray = book.tokenizer.names.indexOf("\u00c3");
            return book.tokenizer.words([stray, ...ids]);
        }""",
        ids,
    )
    assert [i for group in odd for i in group] == list(range(len(ids) + 1))
    assert odd[0] == [0] and odd[1] == [i + 1 for i in whole[0]]


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
    assert [sampled(1, 1e-5)] == engine.evaluate("all => greedy(all)", sources[:1])
    shares = engine.evaluate("""() => {
        const random = parts.generator(5), logs = Float64Array.from([0.5, 0, 0.2, 0.3], Math.log);
        const counts = [0, 0, 0, 0];
        for (let i = 0; i < 20000; i++) counts[parts.draw(parts.temper(logs, 0.5), random)]++;
        return counts.map(count => count / 20000);
    }""")  # a temperature of a half squares the probabilities: 25, 4 and 9 parts of 38
    assert shares == pytest.approx([25 / 38, 0, 4 / 38, 9 / 38], abs=0.02)


# -- what is shown -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("Où est la gare ?", "Où est la gare\u202f?"),
        ("Viens!", "Viens\u202f!"),
        ("Quoi ?! Non ; oui.", "Quoi\u202f?! Non\u202f; oui."),
        ("Elle dit : « Bonjour ! »", "Elle dit\u00a0: «\u00a0Bonjour\u202f!\u00a0»"),
        ("Elle dit «Non» à 10:30.", "Elle dit «\u00a0Non\u00a0» à 10:30."),
        ("L'ami d'aujourd'hui", "L\u2019ami d\u2019aujourd\u2019hui"),
        ("? ! (?) <b;c>", "? ! (?) <b;c>"),
    ],
)
def test_french_is_printed_as_french_is(engine: Page, text: str, printed: str) -> None:
    assert engine.evaluate("text => parts.french(text)", text) == printed
    assert unprinted(printed) == unprinted(text)


CONTRAST = """() => {
    const channels = (color) => {
        const numbers = color.match(/[\\d.]+/g).map(Number).slice(0, 3);
        return color.startsWith("color(") ? numbers : numbers.map((n) => n / 255);
    };
    const light = (color) => channels(color)
        .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const weights = Array.from({ length: 101 }, (_, i) => i / 100);
    const side = { labels: weights.map(String), lang: "fr" };
    const one = { labels: ["a"], lang: "en" };
    const map = parts.heatMap(weights.map((w) => [w]), {
        rows: side, columns: one, caption: "", corner: "%" });
    const box = document.querySelector("#pg-how");
    box.replaceChildren(map);
    const found = {};
    for (const theme of ["light", "dark"]) {
        document.documentElement.dataset.theme = theme;
        found[theme] = Math.min(...[...box.querySelectorAll("tbody td")].map((cell) => {
            const style = getComputedStyle(cell);
            const [a, b] = [style.color, style.backgroundColor].map(light).sort((x, y) => x - y);
            return (b + 0.05) / (a + 0.05);
        }));
    }
    const scroll = box.querySelector(".pg-scroll");
    const top = () => box.querySelector("thead th").getBoundingClientRect().top;
    const before = top();
    scroll.scrollTop = 400;
    return { ...found, cells: weights.length, scrolled: scroll.scrollTop, moved: before - top(),
        reached: scroll.tabIndex, high: scroll.clientHeight / innerHeight };
}"""


def test_numbers_stand_out_on_every_shade_and_the_head_of_a_tall_map_stays(
    new_reader: Callable[..., Reader],
) -> None:
    page = new_reader().open().page
    page.evaluate("""async () => {
        const name = "../_static/playground/heatmap.js";
        window.parts = await import(new URL(name, location));
    }""")
    found = page.evaluate(CONTRAST)
    assert found["cells"] == 101
    assert min(found["light"], found["dark"]) >= 4.5, found
    assert found["scrolled"] == 400 and abs(found["moved"]) < 4 and found["reached"] == 0
    assert found["high"] <= 0.71


# -- the page ----------------------------------------------------------------------


def test_nothing_is_loaded_before_start_and_the_page_says_how_much(
    new_reader: Callable[..., Reader], root: Path
) -> None:
    reader = new_reader().open()
    reader.page.wait_for_load_state("networkidle")
    assert not [url for url in reader.requests if "/_static/model/" in url]
    files = json.loads((root / "_build/html/_static/model/manifest.json").read_text())["files"]
    total = sum(file["transferred"] for file in files.values()) / 1e6
    assert f"Start loads {total:.1f} MB" in reader.page.inner_text(".pg-size")
    assert total < 15
    reader.start()
    paths = [urlsplit(url).path for url in reader.requests]
    loaded = {path.rsplit("/", 1)[1] for path in paths if "/_static/model/" in path}
    assert loaded == {*files, "manifest.json"}
    assert [url for url in reader.requests if urlsplit(url).netloc not in ("", reader.host)] == []
    versions = {urlsplit(url).query for url in reader.requests if "/_static/playground/" in url}
    assert len(versions) == 1 and re.fullmatch("v=[0-9a-f]{8}", versions.pop()), "two versions mix"
    assert reader.errors == []


def test_a_sentence_is_translated_and_taken_apart(reader: Reader, translator: Translator) -> None:
    expected = translator.translate([FIRST], beam_size=1)[0]
    assert reader.ask(FIRST) == unprinted(expected.text)
    page = reader.page
    count = len(expected.tokens) + 1  # and <eos>
    expect(page.locator("#pg-steps tbody tr")).to_have_count(count)
    expect(page.locator("#pg-steps .pg-taken")).to_have_count(count)
    expect(page.locator("#pg-attention .pg-map tbody tr")).to_have_count(count)
    numbers = page.locator("#pg-attention .pg-map tbody tr").first.locator("td").all_inner_texts()
    assert sum(map(int, numbers)) == pytest.approx(100, abs=4)
    words = len(expected.text.replace(".", " .").split())
    assert page.locator("#pg-attention .pg-canvas path").count() >= words
    labels = page.locator("#pg-attention .pg-map tbody th").all_inner_texts()
    assert labels == [piece.replace(" ", "·") for piece in [*expected.tokens, "<eos>"]]
    assert page.locator("#pg-attention .pg-map tbody th:not([lang=fr])").count() == 0
    assert page.locator("#pg-attention .pg-map thead th:not([lang=en])").count() == 0
    note = page.locator("#pg-attention .pg-alignment .pg-note")
    words_of_note = note.locator("span[lang=fr]")
    page.locator("#pg-attention .pg-rows button").nth(1).focus()
    focused = words_of_note.inner_text()
    page.hover("#pg-attention .pg-rows li:nth-child(3) button")
    expect(note).to_contain_text("looks at: ")
    assert words_of_note.inner_text() != focused
    page.mouse.move(2, 2)
    expect(words_of_note).to_have_text(focused)
    kind, layer = (page.locator("#pg-attention select").nth(n) for n in (0, 1))
    for name, other in {"encoder": "English", "decoder": "French"}.items():
        layer.select_option("0")
        kind.select_option(name)
        assert f"{other} looks at {other}" in page.inner_text("#pg-attention .pg-caption")
        last = layer.locator("option").count() - 2  # the one after it is the mean
        assert layer.input_value() == str(last), "the last layer says most"
    kind.select_option("cross")


def test_beam_search_shows_what_it_has_finished(reader: Reader, translator: Translator) -> None:
    page = reader.page
    page.locator("input[value=beam]").check(force=True)
    page.fill("input[name=beam]", "3")
    found = reader.ask(FIRST)
    expected = translator.translate([FIRST], beam_size=3)[0]
    assert found == unprinted(expected.text)
    expect(page.locator("#pg-beams tbody tr")).to_have_count(3)
    # what is typed while it searches changes nothing of what it was asked for
    reader.forget()
    page.evaluate("""() => {
        document.querySelector("#pg-go").click();
        document.querySelector("input[name=alpha]").value = "5";
    }""")
    reader.done()
    penalty = page.inner_text("#pg-beams tbody tr:first-child td:nth-child(3)")
    assert penalty == f"{gnmt_penalty(len(expected.tokens) + 1, 0.6):.2f}"
    page.fill("input[name=alpha]", "0.6")
    page.fill("input[name=beam]", "500")
    assert reader.ask(FIRST) == "The beam size is 500, expected a whole number from 1 to 20."
    page.fill("input[name=beam]", "5")
    page.locator("input[value=greedy]").check(force=True)
    assert reader.ask(FIRST) and not reader.alert


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("", "There is no sentence yet: type one in English."),
        (" \n ", "There is no sentence yet: type one in English."),
        ("word " * 1000, "tokens"),
        ("a" * 10_001, "The sentence has 10,001 characters, expected at most 10,000."),
        ("😀 👨\u200d👩\u200d👧", ""),
        ('<img src=x onerror="window.broken=1">', ""),
        ("<eos>", ""),
        ("مرحبا", ""),
    ],
    ids=["empty", "blank", "5,000", "10,001", "emoji", "markup", "special token", "right to left"],
)
def test_odd_input_is_answered_or_refused_in_a_sentence(
    reader: Reader, translator: Translator, text: str, answer: str
) -> None:
    found = reader.ask(text)
    if answer == "tokens":
        n, most = len(translator.tokenizer.encode(text)), translator.model.config.max_len - 1
        expected = f"The sentence has {n:,} tokens, expected at most {most}"
        assert found == f"{expected}: the model reads no more at a time."
    elif answer:
        assert found == answer
    else:
        assert not reader.alert
        tokens = reader.page.locator("#pg-tokens ol").first.locator("li > span").all_inner_texts()
        pieces = translator.tokenizer.pieces(translator.source_ids(text))
        assert tokens == [piece.replace(" ", "·") for piece in pieces]
    assert reader.page.evaluate("window.broken") is None
    assert reader.page.locator(".pg img").count() == 0
    assert reader.ask(FIRST) == unprinted(translator.translate([FIRST], beam_size=1)[0].text)
    assert reader.errors == []


def test_a_head_and_the_positions_can_be_taken_away(
    reader: Reader, translator: Translator, without_positions: Translator, sentences: list[str]
) -> None:
    page = reader.page
    both = [
        [unprinted(result.text) for result in each.translate(sentences[:10], beam_size=1)]
        for each in (translator, without_positions)
    ]
    # a sentence that suffers, if one of ten does
    text, whole, less = next(
        (case for case in zip(sentences, *both, strict=False) if case[1] != case[2]),
        (sentences[0], both[0][0], both[1][0]),
    )
    assert reader.ask(text) == whole
    reader.forget()
    page.get_by_label("positions are added").uncheck()
    expect(page.locator("#pg-off-what")).to_have_text("Without the positions:")
    expect(page.locator("#pg-off-verdict")).to_have_text(
        f"The translation is {'the same' if less == whole else 'another one'}."
    )
    assert reader.french == unprinted(page.inner_text("#pg-off-now")) == less
    assert unprinted(page.inner_text("#pg-off-before")) == whole
    page.get_by_role("button", name="Decoder, cross-attention, layer 1, head 2").click()
    expect(page.locator("#pg-off-what")).to_have_text(
        "Without head 2 of layer 1 (cross-attention) and the positions:"
    )
    page.get_by_role("button", name="Encoder, self-attention, layer 1, head 1").click()
    expect(page.locator("#pg-off-what")).to_have_text("Without 2 heads and the positions:")
    page.click("#pg-restore")
    expect(page.locator("#pg-off")).to_be_hidden()
    expect(page.locator("#pg-switches button").first).to_be_focused()
    assert reader.done().french == whole


def test_without_the_causal_mask_weights_lie_on_the_future(reader: Reader) -> None:
    page = reader.page
    given, future = page.locator("#pg-french-given"), "#pg-ahead tbody tr td:last-child"
    reader.ask(FIRST)
    given.fill("Un homme roule sur un vélo noir.")
    reader.forget()
    page.click("#pg-ahead-form button")
    reader.done("With the mask on, up to 0.0")
    assert {float(x.split()[0]) for x in page.locator(future).all_inner_texts()} == {0.0}
    reader.forget()
    page.uncheck("#pg-mask")
    reader.done("With the mask off, up to")
    shares = [float(x.split()[0]) for x in page.locator(future).all_inner_texts()]
    assert max(shares) > 1 and shares[-1] == 0, "the last position has no future"
    assert f"up to {max(shares):g}" in page.inner_text("#pg-status").replace(".0\u202f", "\u202f")
    # it belongs to this English sentence, and what is written here stays
    page.fill("#pg-english", "Two women read a book near the river.")
    expect(page.locator("#pg-ahead")).to_be_hidden()
    expect(page.locator("#pg-ahead-attention")).to_be_hidden()
    page.fill("#pg-english", FIRST)
    expect(page.locator("#pg-ahead")).to_be_visible()
    reader.ask("Two women read a book near the river.")
    expect(page.locator("#pg-ahead")).to_be_hidden()
    expect(given).to_have_value("Un homme roule sur un vélo noir.")
    given.fill("   ")
    page.click("#pg-ahead-form button")
    expect(page.locator("#pg-alert")).to_have_text("There is no French sentence to read: type one.")
    page.check("#pg-mask")


def test_a_refusal_leaves_alone_what_is_going_on(reader: Reader, translator: Translator) -> None:
    text = "Two women read a book near the river."
    expected = unprinted(translator.translate([text], beam_size=1)[0].text)
    reader.ask(FIRST)
    reader.forget()
    reader.page.fill("#pg-english", text)
    reader.page.evaluate("""() => {
        const [go, english] = ["#pg-go", "#pg-english"].map(s => document.querySelector(s));
        go.click();
        english.value = "";
        go.click();
    }""")
    assert reader.alert == "There is no sentence yet: type one in English."
    assert reader.done().french == expected


@pytest.mark.parametrize("how", ["button", "Escape"])
def test_a_translation_can_be_stopped(reader: Reader, translator: Translator, how: str) -> None:
    page = reader.page
    reader.ask(FIRST)
    expect(page.locator("#pg-stop")).to_be_hidden()
    reader.forget()
    page.evaluate(
        """how => {
            const press = (id) => document.querySelector(id).click();
            press("#pg-go");
            document.querySelector("#pg-stop").focus();
            if (how === "button") press("#pg-stop");
            else dispatchEvent(new KeyboardEvent("keydown", { key: "Escape" }));
        }""",
        how,
    )
    expect(page.locator("#pg-status")).to_have_text("Stopped.")
    expect(page.locator("#pg-go")).to_be_focused()
    page.wait_for_timeout(600)
    expect(page.locator("#pg-status")).to_have_text("Stopped.")
    expect(page.locator("#pg-french")).to_contain_text("(stopped)")
    expect(page.locator("#pg-attention")).to_be_hidden()
    assert reader.ask(FIRST) == unprinted(translator.translate([FIRST], beam_size=1)[0].text)


def test_back_and_forward_keep_the_input(new_reader: Callable[..., Reader], address: str) -> None:
    reader = new_reader().open().start()
    page = reader.page
    text = "Two women read a book near the river."
    first, second = reader.french, reader.ask(text)
    assert first != second
    page.get_by_label("positions are added").uncheck()
    expect(page.locator("#pg-off")).to_be_visible()
    page.fill("#pg-english", "Not sent yet.")
    page.goto(f"{address}/book/notation.html")
    page.go_back()
    expect(page.locator("#pg-app")).to_be_visible()
    expect(page.locator("#pg-english")).to_have_value("Not sent yet.")
    if page.inner_text("#pg-go") == "Start":  # the browser kept the page, or it did not
        reader.start()
        expect(page.get_by_label("positions are added")).not_to_be_checked()
        page.go_back()
    page.go_back()
    expect(page.get_by_label("positions are added")).to_be_checked()
    page.wait_for_function(SHOWN, arg=second)
    page.go_back()
    expect(page.locator("#pg-english")).to_have_value(FIRST)
    page.wait_for_function(SHOWN, arg=first)
    page.go_forward()
    page.wait_for_function(SHOWN, arg=second)
    expect(page.locator("#pg-english")).to_have_value(text)
    assert reader.errors == []


def test_an_address_of_another_form_is_no_trap(new_reader: Callable[..., Reader]) -> None:
    reader = new_reader().open().start()
    page = reader.page
    text, first = "Two women read a book near the river.", reader.french
    reader.forget()
    other = f"s={text.replace(' ', '%20')}&by=greedy&beam=5&nonsense=1&pg-english=x"
    page.evaluate("form => { location.hash = form; }", other)
    second = reader.done().french
    assert second != first
    places = page.evaluate("history.length")
    for step, shown, english in (("back", first, FIRST), ("forward", second, text)):
        page.evaluate(f"history.{step}()")
        page.wait_for_function(SHOWN, arg=shown)
        expect(page.locator("#pg-english")).to_have_value(english)
        assert page.evaluate("history.length") == places
    # a heading's anchor keeps the sentence, even when the page is loaded again
    page.evaluate("document.querySelector('a[href=\"#where-it-looks\"]').click()")
    page.wait_for_function("location.hash === '#where-it-looks' && history.state")
    page.reload()
    expect(page.locator("#pg-english")).to_have_value(text)
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
        ("tokenizers.min.mjs", lose, "tokenizers.min.mjs could not be fetched: the server"),
        ("ort.wasm.bundle.min.mjs", damage, "ort.wasm.bundle.min.mjs is damaged"),
    ],
    ids=[
        "missing",
        "cut in half",
        "damaged",
        "no connection",
        "no list",
        "no script",
        "another script",
    ],
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
    expect(page.locator("#pg-go")).to_be_focused()
    page.wait_for_function(STARTED)
    reader.done()
    assert reader.french and not reader.alert
    expect(page.locator("#pg-retry")).to_be_hidden()


def test_loading_can_be_cancelled_and_what_has_arrived_is_kept(
    new_reader: Callable[..., Reader],
) -> None:
    reader = new_reader()
    page = reader.page
    page.add_init_script(f"({COUNT_DIGESTS})()")
    reader.open()
    waiting: list[Route] = []
    page.route("**/_static/model/weights.bin*", lambda route: waiting.append(route))
    page.focus("#pg-go")
    page.keyboard.press("Enter")
    expect(page.locator("#pg-go")).to_be_focused()
    page.wait_for_function("""async () => {
        const { files } = await (await fetch("../_static/model/manifest.json")).json();
        const all = Object.values(files).reduce((sum, file) => sum + file.bytes, 0);
        const rest = 1 - document.querySelector("#pg-progress").value;
        const fetched = Object.keys(files).filter(name => !name.endsWith(".mjs"));
        return Math.abs(rest - files["weights.bin"].bytes / all) < 1e-6
            && window.digests === fetched.length - 1;
    }""")
    page.click("#pg-stop")
    expect(page.locator("#pg-status")).to_have_text("Stopped.")
    expect(page.locator("#pg-progress-box")).to_be_hidden()
    expect(page.locator("#pg-go")).to_be_focused()
    assert not reader.alert and len(waiting) == 1
    page.unroute("**/_static/model/weights.bin*")
    reader.start()
    asked = [urlsplit(url).path.rsplit("/", 1)[1] for url in reader.requests]
    times = {name: asked.count(name) for name in asked if name.endswith((".wasm", ".bin", ".onnx"))}
    kept = {name for name, n in times.items() if n == 1}
    assert times["weights.bin"] == 2
    assert kept == {*times} - {"weights.bin"} and len(kept) == 3


def test_a_browser_that_cannot_run_it_says_so(new_reader: Callable[..., Reader]) -> None:
    reader = new_reader()
    reader.page.add_init_script(
        "WebAssembly.instantiate = () => Promise.reject(new Error('too old'))"
    )
    reader.open().page.click("#pg-go")
    alert = reader.page.locator("#pg-alert")
    expect(alert).to_contain_text("This browser cannot run the model: ")
    expect(alert).to_contain_text("too old")
    assert reader.alert.endswith(".")


def test_the_keyboard_is_enough(new_reader: Callable[..., Reader]) -> None:
    reader = new_reader().open()
    page = reader.page

    def focused() -> str:
        found: str = page.evaluate("document.activeElement.id")
        return found

    def tab_to(selector: str) -> None:
        for _ in range(250):
            page.keyboard.press("Tab")
            if page.evaluate("s => document.activeElement.matches(s)", selector):
                return
        pytest.fail(f"Tab does not reach {selector}")

    tab_to("#pg-english")
    page.keyboard.press("Control+A")
    page.keyboard.type("Two women read a book near the river.")
    tab_to("#pg-go")
    page.keyboard.press("Enter")
    page.wait_for_function(STARTED)
    reader.done()
    assert focused() == "pg-go", "Start keeps the focus"
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
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    what = page.locator("#pg-off-what")
    expect(what).to_have_text("Without head 2 of layer 1 (encoder):")
    ring = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert ring == "solid", "one sees where the focus is"
    page.keyboard.press("Tab")
    name = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert not name.startswith("Encoder, self-attention, layer 1,"), "a row is one stop"
    tab_to("#pg-restore")
    page.keyboard.press("Enter")
    expect(page.locator("#pg-off")).to_be_hidden()
    assert page.evaluate("document.activeElement.matches('#pg-switches button')")
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
    assert reader.french == unprinted(translator.translate([FIRST], beam_size=1)[0].text)
    assert reader.errors == []


@pytest.mark.parametrize("width", ["wide", "narrow"])
def test_at_work_it_is_accessible_and_fits(new_reader: Callable[..., Reader], width: str) -> None:
    phone = width == "narrow"
    reader = new_reader(width, has_touch=phone).open()
    page = reader.page
    page.locator("input[value=beam]").check(force=True)
    reader.start()
    page.uncheck("#pg-mask")
    reader.done("With the mask off")
    page.get_by_role("button", name="Decoder, cross-attention, layer 1, head 1").click()
    expect(page.locator("#pg-off")).to_be_visible()
    word = page.locator("#pg-attention .pg-rows button").nth(2)
    if phone:
        word.tap()
    else:
        word.focus()
    expect(page.locator("#pg-attention .pg-alignment .pg-note")).to_contain_text("looks at: ")
    assert_nothing(reader.misfits())
    assert reader.axe() == []
    reader.become("dark", width)
    assert reader.axe("color-contrast") == []
    page.fill("#pg-english", "")
    page.click("#pg-go")
    expect(page.locator("#pg-alert")).to_be_visible()
    assert reader.axe("color-contrast") == []
    reader.become("light", width)
    assert reader.axe() == []
    assert reader.errors == []
