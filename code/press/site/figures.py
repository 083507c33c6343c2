"""Figures that belong to the page: SVG inside it, in the site's letters and in its theme's colours.

A drawing of matplotlib or by hand has fixed colours.  Those of the book's palette become variables
of ``book.css``, which has a light and a dark value for each; shades of the heat maps are mixed from
three such variables; any other colour gets a counterpart for the dark of inverted lightness.
"""

from __future__ import annotations

import colorsys
import re
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from lxml import etree, html

from scratch.plumbing.style import BLUES

SVG = "{http://www.w3.org/2000/svg}"
HREF = "{http://www.w3.org/1999/xlink}href"
INCH, DRAWN = 72, 110  # points to an inch, and the pixels that the book's style gives it
# the site's letters are narrower and lower than those that matplotlib measured with
LETTERS = {"DejaVu Sans": 1.12, "DejaVu Sans Mono": 1.0}
IMAGE = re.compile(r'<img [^>]*src="(?:\.\./)*_images/([^"]+\.svg)"[^>]*>')
COLOUR = re.compile(r"#(?:[0-9a-f]{6}|[0-9a-f]{3})\b|\b(?:white|black)\b(?!-)", re.IGNORECASE)
SIZE = re.compile(r"(?<=font-size: )([\d.]+)px")
FAMILY = re.compile(r"font-family: ([^;]*);? ?")
# variables of book.css by the colour that is drawn; words need more contrast than lines
BOTH = {
    "#1c2330": "--pst-color-text-base", "#1f2733": "--pst-color-text-base",
    "#5b6675": "--pst-color-text-muted", "#5a6472": "--pst-color-text-muted",
    "#b23f1c": "--book-vermilion-ink", "#8a6210": "--book-gold-ink",
    "#8a93a1": "--book-axis", "#c9d0da": "--pst-color-border",
    "#e6e9ee": "--pst-color-table-inner-border",
}  # fmt: skip
SHAPES = BOTH | {
    "#2b5c9e": "--book-blue", "#cf4f2a": "--book-vermilion", "#1b8273": "--book-teal",
    "#b9831a": "--book-gold", "#7d4f9b": "--book-violet", "#66707f": "--book-grey",
    "#ffffff": "--pst-color-background",
}  # fmt: skip
WORDS = BOTH | {
    "#2b5c9e": "--book-blue", "#cf4f2a": "--book-vermilion-ink", "#1b8273": "--book-teal",
    "#b9831a": "--book-gold-ink", "#7d4f9b": "--book-violet", "#66707f": "--book-grey",
    "#8a93a1": "--pst-color-text-muted", "#c9d0da": "--pst-color-text-muted",
    "#ffffff": "--book-on-dark-cell", "#000000": "--book-on-light-cell",
}  # fmt: skip


def place_figures(app: Any, page: str, template: str, context: Any, tree: Any) -> None:
    """Put each SVG that a page shows as an image into the page itself."""
    if app.builder.name != "html" or "body" not in context:
        return
    files = {name: path for path, (_, name) in app.env.images.items()}
    number = 0

    def place(found: re.Match[str]) -> str:
        nonlocal number
        number += 1
        image = html.fragment_fromstring(found[0])
        text = Path(app.srcdir, files[found[1]]).read_text(encoding="utf-8")
        return inline(text, image.get("alt", ""), f"figure-{number}", image.get("style", ""))

    context["body"] = IMAGE.sub(place, context["body"])


def inline(text: str, alt: str, name: str, style: str = "") -> str:
    """Return an SVG as part of a page.

    ``alt`` says what it shows, ``name`` sets its inner names apart from other figures', and
    ``style`` is that of the image whose place it takes.
    """
    parser = etree.XMLParser(remove_comments=True, remove_blank_text=True)
    root = etree.fromstring(text.encode(), parser)
    width = float(root.get("viewBox").split()[2])
    points = root.get("width", "").endswith("pt")
    for element in root.xpath("//*[local-name()='metadata' or local-name()='title']"):
        element.getparent().remove(element)
    for element in root.xpath("//*[not(local-name()='image')]"):
        _colour(element)
        _letter(element)
    _remove_paper(root, width)
    _set_names_apart(root, name)
    for sheet in root.iter(f"{SVG}style"):
        sheet.text = f"#{name}{{{sheet.text}}}"  # or its rules would hold for the whole page
    for attribute in ("width", "height", "version"):
        root.attrib.pop(attribute, None)
    natural = re.search(r"width: *([\d.]+px)", style)
    pixels = natural[1] if natural else f"{width * (DRAWN / INCH if points else 1):.0f}px"
    role = "group" if root.find(f".//{SVG}a") is not None else "img"  # an image hides its links
    root.attrib.update({"id": name, "class": "book-figure", "role": role, "aria-label": alt})
    drawn = etree.tostring(root, encoding="unicode").replace("xlink:href", "href")
    drawn = re.sub(r' xmlns(?::\w+)?="[^"]*"', "", drawn)
    return f'<div class="figure-scroll" style="--natural:{escape(pixels)}">{drawn}</div>'


def _colour(element: Any) -> None:
    """Replace the colours of an element, its own and those of its rules, by the theme's."""
    words = element.tag in (f"{SVG}text", f"{SVG}tspan")
    if element.tag == f"{SVG}style":
        element.text = re.sub(
            r"([^{}]*)\{([^{}]*)\}",
            lambda rule: f"{rule[1]}{{{_themed(rule[2], 'font' in rule[2])}}}",
            element.text.replace("*{stroke-linejoin: round; stroke-linecap: butt}", ""),
        )
        return
    said = element.get("style", "")
    for name in ("fill", "stroke", "stop-color"):
        # a variable is understood in a style only
        if (value := element.get(name)) and COLOUR.fullmatch(value):
            del element.attrib[name]
            said = f"{name}: {value}; {said}"
    if said:
        element.set("style", _themed(said, words))


def _themed(style: str, words: bool) -> str:
    return COLOUR.sub(lambda found: theme_colour(found[0].lower(), words), style)


@cache
def theme_colour(colour: str, words: bool) -> str:
    """Return what a page writes for a colour that is drawn, in words or in shapes."""
    colour = {"white": "#ffffff", "black": "#000000"}.get(colour, colour)
    if len(colour) == 4:
        colour = "#" + "".join(2 * digit for digit in colour[1:])
    variable = (WORDS if words else SHAPES).get(colour)
    if variable:
        return f"var({variable})"
    if colour in SHADES:
        share = SHADES[colour]  # of the largest value
        if share <= 0.8:
            return (
                f"color-mix(in srgb,var(--book-heat-high) {share / 0.8:.1%},var(--book-heat-low))"
            )
        return f"color-mix(in srgb,var(--book-heat-peak) {share * 5 - 4:.1%},var(--book-heat-high))"
    return f"light-dark({colour},{inverted(colour)})"


SHADES = {
    "#" + "".join(f"{round(255 * part):02x}" for part in BLUES(i)[:3]): i / (BLUES.N - 1)
    for i in range(BLUES.N)
}


def inverted(colour: str) -> str:
    """The same hue as light as the other was dark; white becomes the dark page, not black."""
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    parts = colorsys.hls_to_rgb(hue, 1 - 0.93 * lightness, saturation)
    return "#" + "".join(f"{round(255 * part):02x}" for part in parts)


def _letter(element: Any) -> None:
    """Words that matplotlib has measured are set in the site's letters, as large as those."""
    style = element.get("style", "")
    if not (family := FAMILY.search(style)):
        return
    first = family[1].split(",")[0].strip("'\" ")
    scale = LETTERS.get(first, 1.0)
    style = SIZE.sub(lambda size: f"{float(size[1]) * scale:g}px", FAMILY.sub("", style))
    element.set("style", style)
    if "Mono" in first:
        element.set("class", "mono")


def _remove_paper(root: Any, width: float) -> None:
    """The page is the paper: take away white that lies behind everything."""
    blank = f"fill: {theme_colour('#ffffff', False)}"
    for element in root.xpath(".//*[local-name()='path' or local-name()='rect']"):
        whole = element.tag == f"{SVG}rect" and element.get("width") == f"{width:g}"
        patch = element.getparent().get("id", "").startswith("patch_")
        if (whole or patch) and element.get("style", "").rstrip("; ") == blank:
            element.getparent().remove(element)


def _set_names_apart(root: Any, name: str) -> None:
    """Two figures of a page may not share a name; names that nothing refers to go."""
    text = etree.tostring(root, encoding="unicode")
    used = set(re.findall(r"url\(#([^)]+)\)", text)) | set(re.findall(r'href="#([^"]+)"', text))
    for element in root.iter():
        own = element.attrib.pop("id", None)
        if own in used:
            element.set("id", f"{name}-{own}")
        for key, value in element.attrib.items():
            value = re.sub(r"url\(#", f"url(#{name}-", value)
            element.set(key, re.sub(r"^#", f"#{name}-", value) if key in (HREF, "href") else value)
    for sheet in root.iter(f"{SVG}style"):
        sheet.text = re.sub(r"url\(#", f"url(#{name}-", sheet.text or "")
