"""What a hover card says of each place that a link may lead to, taken from the finished page."""

import re
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from lxml import html

LONGEST = 700  # characters of text; a longer one ends at a word
KEPT = {"p", "span", "em", "strong", "code", "sub", "sup", "i", "b", "div", "ul", "ol", "li", "img"}
CLASSES = {"math", "katex-display", "caption-number", "sig-name"}
# anchors to the heading itself, buttons, labels, and the list of places that cite an entry
FURNITURE = (
    ".//a[@class='headerlink'] | .//button | .//span[@class='label'] | .//span[@class='backrefs']"
    " | .//span[@class='eqno']"
)


def cards_of(body: str, page: str) -> dict[str, str]:
    """Return the text of a card, as HTML, by the identifier of the place in ``body``.

    ``body`` is the article of the page, as HTML, ``page`` its name without suffix, such as
    ``book/05_attention``: pictures are addressed from the root of the site.
    """
    if not body.strip():
        return {}
    root = html.fromstring(f"<div>{body}</div>")
    found: dict[str, str] = {}
    for place, kind, content in _places(root):
        text = "".join(_print(element, page) for element in content)
        if text:
            found[place] = f'<div class="card-{kind}">{text}</div>'
    return found


def _places(root: Any) -> Iterator[tuple[str, str, list[Any]]]:
    for term in root.xpath(".//dl[contains(@class, 'glossary')]/dt[@id]"):
        yield term.get("id"), "term", [_heading(term), *_next(term, "dd")]
    for entry in root.xpath(".//div[contains(@class, 'citation') and @id]"):
        yield entry.get("id"), "citation", [entry]
    for signature in root.xpath(".//dt[contains(@class, 'sig') and @id]"):
        said = [p for dd in _next(signature, "dd") for p in dd.xpath("./p[1]")]
        yield signature.get("id"), "code", [signature, *said]
    for figure in root.xpath(".//figure[@id]"):
        yield figure.get("id"), "figure", figure.xpath(".//img[1] | .//figcaption")
    for equation in root.xpath(".//div[contains(@class, 'math') and @id]"):
        yield equation.get("id"), "equation", [equation]
    # an exercise, and never its solution
    for exercise in root.xpath(".//div[contains(@class, 'exercise') and @id]"):
        yield exercise.get("id"), "section", exercise.xpath("./p[1] | .//section/p[1]")
    yield from _sections(root)


def _sections(root: Any) -> Iterator[tuple[str, str, list[Any]]]:
    """Headings, each with the first paragraph below it; the page itself is the empty name."""
    for number, section in enumerate(root.xpath(".//section[@id]")):
        headings = section.xpath("./h1 | ./h2 | ./h3 | ./h4")
        if headings:
            content = [_heading(headings[0]), *section.xpath("./p[1]")]
            yield section.get("id"), "section", content
            for label in section.xpath("./span[@id]"):
                yield label.get("id"), "section", content
            if not number:
                yield "", "section", content


def _heading(element: Any) -> Any:
    """A heading or a term as a line of its own."""
    line = deepcopy(element)
    line.tag, line.tail = "strong", None
    return line


def _next(element: Any, tag: str) -> list[Any]:
    """The nearest ``tag`` after ``element``; several terms may share one."""
    return list(element.xpath(f"./following-sibling::{tag}[1]"))


def _print(element: Any, page: str) -> str:
    copy = deepcopy(element)
    copy.tail = None
    for unwanted in copy.xpath(FURNITURE):
        unwanted.drop_tree()
    formulas = _set_aside(copy)
    _shorten(copy)
    for inner in list(copy.iter()):
        if inner is not copy and inner.tag not in KEPT:
            inner.drop_tag()
        elif inner.tag == "img":
            _address(inner, page)
        else:
            classes = [name for name in (inner.get("class") or "").split() if name in CLASSES]
            inner.attrib.clear()
            if classes:
                inner.set("class", " ".join(classes))
    copy.tag = copy.tag if copy.tag in KEPT else "div"
    text = re.sub(r"\s+", " ", str(html.tostring(copy, encoding="unicode"))).strip()
    return re.sub("\ue000(\\d+)\ue001", lambda found: formulas[int(found[1])], text)


def _set_aside(element: Any) -> list[str]:
    """Return the typeset formulas and leave numbers in their places, so that they stay whole."""
    formulas = []
    for formula in element.xpath(".//span[@class='katex']"):
        formulas.append(str(html.tostring(formula, encoding="unicode", with_tail=False)))
        formula.clear(keep_tail=True)
        formula.text = f"\ue000{len(formulas) - 1}\ue001"
    return formulas


def _address(image: Any, page: str) -> None:
    """A picture is found from the root of the site, wherever the card is shown."""
    above = "../" * page.count("/")
    source = (image.get("src") or "").removeprefix(above)
    image.attrib.clear()
    image.set("data-src", source)
    image.set("alt", "")  # the caption beside it says what it shows


def _shorten(element: Any) -> None:
    """Cut the text behind ``LONGEST`` characters, at the end of a word."""
    left = LONGEST
    for inner in list(element.iter()):
        for part in ("text", "tail"):
            words = getattr(inner, part)
            if not words or (part == "tail" and inner is element):
                continue
            if left <= 0:
                setattr(inner, part, None)
            elif len(words) > left:
                setattr(inner, part, words[:left].rsplit(" ", 1)[0] + " …")
            left -= len(words)
