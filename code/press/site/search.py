"""What the search knows: each section, term and definition of the book, as one script.

Sphinx's own index holds words of code, TeX and page furniture, and its page shows nothing while one
types.  This one holds what a reader would look for, and opens from disk like the rest of the site.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes

from press.site.api import FOLDER

INDEX = "_static/search/index.js"
LONGEST = 1_500  # characters of a section
SKIPPED = (
    nodes.literal_block, nodes.math_block, nodes.comment, nodes.raw, nodes.target, nodes.image,
    addnodes.desc_content, nodes.section,
)  # fmt: skip
SIGNS = {r"\sqrt": "√", r"\alpha": "α", r"\tau": "τ", r"\eta": "η", r"\beta": "β", r"\cdot": "·"}
KEYS = {"p", "t", "numref", "eq", "ref"}  # links whose text here is a key or a label
Entry = tuple[str, str, str, str]  # kind, place, heading, text


def register(app: Any) -> None:
    """Connect what this module does to ``app``."""
    app.connect("builder-inited", lambda app: setattr(app.builder, "search", False))
    app.connect("html-collect-pages", lambda app: [("search", {"title": "Search"}, "search.html")])
    app.connect("build-finished", write)


def write(app: Any, exception: Exception | None) -> None:
    """Write the index of all pages."""
    if exception or app.builder.format != "html":
        return
    pages = []
    for name in sorted(app.env.found_docs):
        tree = app.env.get_doctree(name)
        title = app.env.titles.get(name)
        found = [[" ".join(part.split()) for part in entry] for entry in entries(name, tree)]
        pages.append([f"{name}.html", says(title).strip() if title else name, found])
    path = Path(app.outdir, INDEX)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(pages, ensure_ascii=False, separators=(",", ":"))
    path.write_text(f"window.bookIndex = {text};\n", encoding="utf-8")


def entries(name: str, tree: nodes.document) -> Iterator[Entry]:
    """Each section with its text, each term of the glossary, each definition of the reference."""
    kind = "code" if name.startswith(FOLDER) else "section"
    for number, section in enumerate(tree.findall(nodes.section)):
        if not isinstance(section[0], nodes.title):
            continue  # the inside of an exercise
        place = section["ids"][0] if number else ""
        parts = (child for child in section.children[1:] if not isinstance(child, SKIPPED))
        yield kind, place, says(section[0]), " ".join(map(says, parts))[:LONGEST]
    for term in tree.findall(nodes.term):
        if term["ids"] and isinstance(term.parent, nodes.definition_list_item):
            said = [says(d) for d in term.parent if isinstance(d, nodes.definition)]
            yield "term", term["ids"][0], says(term), " ".join(said)[:LONGEST]
    for definition in tree.findall(addnodes.desc):
        signature = definition[0]
        if signature["ids"]:
            opening = [says(p) for p in definition[-1] if isinstance(p, nodes.paragraph)]
            yield "code", signature["ids"][0], signature["ids"][0], " ".join(opening[:1])


def says(node: nodes.Node) -> str:
    """The words of ``node``: without code blocks, and with formulas as one would type them."""
    if isinstance(node, nodes.Text):
        return str(node.astext())
    if isinstance(node, nodes.math):
        return typed(node.astext())
    if isinstance(node, addnodes.pending_xref) and node["reftype"] in KEYS:
        return ""
    if isinstance(node, SKIPPED):
        return ""
    text = "".join(says(child) for child in node.children)
    return text if isinstance(node, nodes.Inline) else " ".join(text.split()) + " "


def typed(formula: str) -> str:
    """TeX without its commands."""
    for command, sign in SIGNS.items():
        formula = formula.replace(command, sign)
    return " ".join(re.sub(r"\\[a-zA-Z]+|[{}\\]", "", formula).split())
