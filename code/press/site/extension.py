"""What the book adds to the theme of its site, as an extension of Sphinx.

The reference in the order of the book, buttons that follow one setting, the texts of hover cards,
figures and formulas in the page itself, scripts that no cache can mix, notebooks that say what they
need, and citations that one can tell apart.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx_external_toc.api import GlobItem

from press.site import citations, mathematics, search, storefront
from press.site.api import FOLDER, TABLE
from press.site.cards import cards_of
from press.site.figures import place_figures
from press.site.notebook import for_download, versions

TEMPLATES = Path(__file__).parent / "templates"
LAST = 950  # later than the theme and the table of contents
NOTEBOOKS = "notebooks"  # the branch that .github/workflows/pages.yml writes
BUTTONS = ("use_repository_button", "use_issues_button")


def setup(app: Any) -> dict[str, Any]:
    """Sphinx calls this; ``app`` is its application."""
    citations.register()
    mathematics.register(app)
    search.register(app)
    storefront.register(app)
    app.config.templates_path.append(str(TEMPLATES))
    app.connect("config-inited", order_reference, priority=LAST)
    app.connect("config-inited", follow_repository, priority=LAST)
    app.connect("doctree-read", name_folds)
    app.connect("html-page-context", name_buttons, priority=LAST)
    app.connect("html-page-context", write_cards, priority=LAST)
    app.connect("html-page-context", place_figures, priority=LAST + 1)  # cards show images
    app.connect("html-page-context", bring_figures)
    app.connect("html-page-context", version_modules)
    app.connect("build-finished", write_notebooks)
    return {"parallel_read_safe": True, "parallel_write_safe": True, "version": "1"}


def order_reference(app: Any, config: Any) -> None:
    """List the pages of the reference as their table does, and not by the alphabet."""
    place = Path(app.srcdir, FOLDER, TABLE)
    document = config.external_site_map.get(FOLDER)
    if document is not None and place.is_file():
        names = re.findall(r"\(api/(\S+)\.rst\)", place.read_text(encoding="utf-8"))
        document.subtrees[0].items = [GlobItem(f"{FOLDER}/{name}") for name in names]


def follow_repository(app: Any, config: Any) -> None:
    """Without the address of a repository, no button may lead to one."""
    options = config.html_theme_options
    for button in BUTTONS:
        options[button] = bool(options.get("repository_url"))
    if not options.get("repository_url"):
        options["launch_buttons"] = {}


def name_folds(app: Any, doctree: nodes.document) -> None:
    """The line that unfolds a cell says what there is to see."""
    for cell in doctree.findall(nodes.container):
        if not cell.get("hide_mode"):
            continue
        source = cell.children[0].astext()
        shown = (output.get("mime_type", "") for output in cell.findall(nodes.container))
        if cell["hide_mode"] == "all":
            what = "the check" if "assert" in source else "this cell"
        elif any(kind.startswith("image/") for kind in shown):
            what = "the code of this figure"
        else:
            what = "the imports" if re.match(r"(import|from) ", source) else "the code"
        cell["prompt_show"], cell["prompt_hide"] = f"Show {what}", f"Hide {what}"


def name_buttons(app: Any, page: str, template: str, context: Any, tree: Any) -> None:
    """Say what a download is, not which suffix its file has; lead Colab to what it can run."""
    words = {".ipynb": "Notebook", ".md": "Text (Markdown)", ".pdf": "Print, or save as PDF"}
    for group in context.get("header_buttons", []):
        for button in group.get("buttons", []):
            if group.get("label") == "download-buttons":
                button["text"] = words.get(button["text"], button["text"])
                button["tooltip"] = None
            elif button["text"] == "Colab":
                # the notebooks that install what they need, which the site's workflow keeps there
                main, notebook = button["url"].split("/blob/")[0], page.rsplit("/", 1)[-1]
                button["url"] = f"{main}/blob/{NOTEBOOKS}/{notebook}.ipynb"


def bring_figures(app: Any, page: str, template: str, context: Any, tree: Any) -> None:
    """Only a page that holds a figure to play with loads what draws it."""
    if 'data-figure="' in context.get("body", ""):
        app.add_css_file("figures.css")
        app.add_js_file("figures.js")


def version_modules(app: Any, page: str, template: str, context: Any, tree: Any) -> None:
    """Give the playground's modules new addresses when one of them changes, as scripts have.

    They import each other by plain names, so a map in the page leads each name to its version.
    """
    body = context.get("body", "")
    found = re.search(r'"([./]*_static/playground/)page\.js"', body)
    if not found:
        return
    files = sorted(Path(app.srcdir, "book", "assets", "playground").iterdir())
    texts = b"".join(path.name.encode() + path.read_bytes() for path in files)
    version = hashlib.sha256(texts).hexdigest()[:8]
    places = {f"{found[1]}{path.name}": f"{found[1]}{path.name}?v={version}" for path in files}
    for place, versioned in places.items():
        body = body.replace(f'"{place}"', f'"{versioned}"')
    imports = {place: at for place, at in places.items() if place.endswith(".js")}
    text = json.dumps({"imports": imports}, separators=(",", ":"))
    start = body.index('<script type="module"')
    context["body"] = f'{body[:start]}<script type="importmap">{text}</script>\n{body[start:]}'


def write_cards(app: Any, page: str, template: str, context: Any, tree: Any) -> None:
    """Leave what a hover card says of each place of a page in a script that any page may load.

    A script and not JSON, because a page opened from disk may load the one and not the other.
    """
    if tree is None or app.builder.name != "html":
        return
    found = cards_of(context["body"], page)
    path = Path(app.outdir, "_static", "cards", f"{page}.js")
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
    path.write_text(f"bookCards({json.dumps(page)},{text})\n", encoding="utf-8")


def write_notebooks(app: Any, error: Exception | None) -> None:
    """Chapters are downloaded with a cell in front that says what they need."""
    if error is not None or app.builder.name != "html":
        return
    url = app.config.html_theme_options.get("repository_url", "")
    branch = app.config.html_theme_options.get("repository_branch") or "main"
    pinned = versions(Path(app.srcdir))
    for page in sorted(app.env.found_docs):
        source = Path(app.env.doc2path(page))
        if source.suffix == ".ipynb":
            target = Path(app.outdir, "_sources", f"{page}.ipynb")
            target.parent.mkdir(parents=True, exist_ok=True)
            text = for_download(source.read_text(encoding="utf-8"), url, branch, pinned)
            target.write_text(text, encoding="utf-8")
