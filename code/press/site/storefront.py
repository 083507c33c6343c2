"""What a page says of itself to whoever finds it, shares it or opens it for the first time.

A description, the tags and the picture of a shared link, the fonts it will need, a first page at
the root of the site, a page for addresses that lead nowhere, and a list of all pages.  Shared links
and the list want the address that the site will have: SITE_URL in the environment of `make book`.
"""

import html
import json
import os
import re
from pathlib import Path
from typing import Any

import matplotlib
from docutils import nodes
from PIL import Image, ImageDraw, ImageFont

ROOT, TITLE = "book/index", "How a Transformer works, in code that is tested"
PICTURES = "_static/shared"
LONGEST, CELL, NAME = 160, 60, 16  # characters of a description, a short cell, a short name
SIZE, MARGIN = (1200, 630), 80
PAPER, INK, BLUE, VERMILION, PALE = "#ffffff", "#141a25", "#2b5c9e", "#cf4f2a", "#dfe7f2"
FONTS = {  # by what a page holds that is set in them
    "": ["fonts/source-serif-4-latin-wght-normal", "fonts/source-sans-3-latin-wght-normal"],
    "<em": ["fonts/source-serif-4-latin-wght-italic"],
    "<code": ["fonts/source-code-pro-latin-wght-normal"],
    'class="katex': ["katex/fonts/KaTeX_Main-Regular", "katex/fonts/KaTeX_Math-Italic"],
}
LINE = "code-line"
PRELOAD = """
<script>
if (location.protocol === "file:") document.documentElement.classList.add("from-disk");
else for (const href of %s) document.head.append(Object.assign(
  document.createElement("link"), { rel: "preload", as: "font", crossOrigin: "", href }));
</script>"""
EARLY = "documentation_options"  # a script within the page needs it at once
LOST = """<p>There is no page at this address. <a href="{root}">The first page</a> leads to all of
them, and <a href="{root}search.html">the search</a> knows every word.</p>"""


def register(app: Any) -> None:
    """Connect what this module does to ``app``."""
    app.connect("config-inited", lambda _, config: setattr(config, "html_baseurl", address()))
    app.connect("html-page-context", introduce)
    app.connect("builder-inited", tell_lines_apart)
    app.connect("html-page-context", settle)
    app.connect("html-page-context", hasten, priority=990)  # when all scripts are known
    app.connect("build-finished", finish)


def address() -> str:
    """The address of the site, with a slash at its end, or nothing."""
    url = os.environ.get("SITE_URL", "").strip()
    return f"{url.rstrip('/')}/" if url else ""


def introduce(app: Any, page: str, template: str, context: Any, tree: Any) -> None:
    """Give a page its description and the tags of a shared link."""
    site = app.config.html_title
    title = re.sub("<.+?>", "", html.unescape(context.get("title") or site))
    if page == ROOT:
        context["title"] = TITLE  # of the window: the name of the book stands behind it
    context.setdefault("metatags", "")
    tags = [("og:title", title), ("og:site_name", site), ("og:type", "article")]
    said = description(tree) if tree is not None else ""
    above = "../" * page.count("/")
    if said:
        tags.append(("og:description", said))
        context["metatags"] += f'\n<meta name="description" content="{html.escape(said)}">'
    if tree is not None and not page.startswith("book/api"):
        name = page.rpartition("/")[2]
        draw(Path(app.outdir, PICTURES, f"{name}.png"), title, site)
        tags += [("og:image", f"{address() or above}{PICTURES}/{name}.png")]
        tags += [("og:image:width", str(SIZE[0])), ("og:image:height", str(SIZE[1]))]
    if address():
        tags.append(("og:url", f"{address()}{page}.html"))
    for name, value in tags:
        context["metatags"] += f'\n<meta property="{name}" content="{html.escape(value)}">'
    context["metatags"] += '\n<meta name="twitter:card" content="summary_large_image">'


def description(tree: nodes.document) -> str:
    """The first sentences that a page says, in at most ``LONGEST`` characters."""
    for paragraph in tree.findall(nodes.paragraph):
        text = " ".join(paragraph.astext().split())
        if len(text) > 40:
            return text if len(text) <= LONGEST else text[:LONGEST].rsplit(" ", 1)[0] + " …"
    return ""


def hasten(app: Any, page: str, template: str, context: Any, tree: Any) -> None:
    """Name the fonts early, and let scripts wait until the page can be read."""
    above, body = "../" * page.count("/"), context.get("body", "")
    fonts = [f"{font}.woff2" for part, fonts in FONTS.items() if part in body for font in fonts]
    context["metatags"] += PRELOAD % json.dumps([f"{above}_static/{font}" for font in fonts])
    if tree is not None:  # the search runs its own scripts while it is read
        context["script_files"] = [waiting(script) for script in context["script_files"]]


def waiting(script: Any) -> Any:
    """A script as it is named in the head of one page, deferred where nothing needs it before."""
    name = str(getattr(script, "filename", ""))
    if not name.endswith(".js") or EARLY in name or "type" in script.attributes:
        return script
    kept = {"defer": "defer", **script.attributes}
    return type(script)(script.filename, priority=script.priority, **kept)


def tell_lines_apart(app: Any) -> None:
    """Let each line of code be an element, so that a long one can wrap below its own beginning."""
    if hasattr(app.builder, "highlighter"):
        app.builder.highlighter.formatter_args["linespans"] = LINE


def hang(line: re.Match[str]) -> str:
    """A line of code that says how far it is indented, for what wraps of it."""
    return f'<span class="{LINE}" style="--in:{len(line[1])}ch">{line[0][line[0].index(">") + 1 :]}'


def settle(app: Any, page: str, template: str, context: Any, tree: Any) -> None:
    """Let long names break where their words end, and mark the cells of tables that hold prose."""
    body = context.get("body", "")
    body = re.sub(r'(?<=<span class="pre">)[^<]+(?=</span>)', lambda m: breakable(m[0]), body)
    body = re.sub(rf'<span id="{LINE}-\d+">(?:<span></span>)?(?:<span class="w">)?( *)', hang, body)
    body = re.sub(r"(?<=<h1>)[^<\s]+(?=<)", lambda m: breakable(m[0]), body)
    context["body"] = re.sub(r"<td([^>]*)>(.*?)</td>", prose, body, flags=re.S)


def prose(cell: re.Match[str]) -> str:
    """A cell of a table, with a class of its own if its text is long."""
    given, inside = cell.groups()
    if len(html.unescape(re.sub("<.+?>", "", inside)).strip()) <= CELL:
        return cell[0]
    named = given if "class=" in given else f'{given} class=""'
    given = named.replace('class="', 'class="wordy ', 1).replace(' "', '"')
    return f"<td{given}>{inside}</td>"


def breakable(name: str) -> str:
    """A name in code that breaks at its dots and slashes if it is long, and not at all if short."""
    if len(html.unescape(name)) <= NAME:
        return f'<span class="no-break">{name}</span>' if re.search("[-/]", name) else name
    return re.sub(r"(\w[._:/]+)(?=\w)", r"\1<wbr>", name)


def draw(path: Path, title: str, site: str) -> None:
    """Draw the picture that stands beside a shared link: the title, and the mark of the book."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    card = Image.new("RGB", SIZE, PAPER)
    pen, side, gap = ImageDraw.Draw(card), 62, 14
    for row in range(4):  # a heat map in which two words have changed places
        for column in range(4):
            x, y = SIZE[0] - MARGIN - (4 - column) * (side + gap) + gap, MARGIN + row * (side + gap)
            at_home, crossed = row == column and row in (0, 3), {row, column} == {1, 2}
            colour = BLUE if at_home else VERMILION if crossed else PALE
            pen.rounded_rectangle((x, y, x + side, y + side), 10, fill=colour)
    large = ImageFont.truetype(folder / "DejaVuSerif-Bold.ttf", 62)
    lines, width = [""], SIZE[0] - 3 * MARGIN - 4 * (side + gap)
    for word in title.split():
        longer = f"{lines[-1]} {word}".strip()
        if pen.textlength(longer, large) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    pen.multiline_text((MARGIN, MARGIN), "\n".join(lines).strip(), INK, large, spacing=18)
    small = ImageFont.truetype(folder / "DejaVuSans.ttf", 34)
    pen.text((MARGIN, SIZE[1] - MARGIN - 34), site, BLUE, small)
    card.quantize(32).save(path, optimize=True)


def finish(app: Any, exception: Exception | None) -> None:
    """Write the page at the root, the page for lost readers, and the list of pages."""
    out, first = Path(app.outdir), Path(app.outdir, f"{ROOT}.html")
    if exception or app.builder.format != "html" or not first.is_file():
        return
    page = first.read_text(encoding="utf-8")
    (out / "index.html").write_text(moved(page, ROOT), encoding="utf-8")
    article = re.compile(r'(<article class="bd-article".*?>).*?(</article>)', re.S)
    root = address() or "/"
    lost = article.sub(rf"\1<h1>Not here</h1>{LOST.format(root=root)}\2", page, count=1)
    lost = re.sub(r"<title>.*?</title>", "<title>Not here</title>", lost, flags=re.S)
    lost = lost.replace("<head>", f'<head><base href="{root}book/">', 1)
    (out / "404.html").write_text(lost, encoding="utf-8")
    if address():
        names = sorted(app.env.found_docs)
        urls = "".join(f"<url><loc>{address()}{name}.html</loc></url>\n" for name in names)
        (out / "sitemap.xml").write_text(
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{urls}</urlset>\n',
            encoding="utf-8",
        )


def moved(page: str, name: str) -> str:
    """A page of a folder as it stands at the root: what it leads to is found from there."""
    folder = name.rpartition("/")[0]

    def lead(found: re.Match[str]) -> str:
        attribute, target = found.groups()
        words = attribute == "content" and not target.startswith("../")
        if words or re.match(r"[a-z]+:|#|/|$", target):
            return found[0]
        target = target.removeprefix("../") if target.startswith("../") else f"{folder}/{target}"
        return f'{attribute}="{target}"'

    page = re.sub(r'\b(href|src|action|content)="([^"]*)"', lead, page)
    page = page.replace('"../_static/', '"_static/')  # in scripts
    return page.replace('data-content_root="../"', 'data-content_root="./"')
