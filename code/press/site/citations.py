"""Citations in running text: authors and year, and a semicolon between two of them."""

from dataclasses import dataclass, field

from sphinxcontrib.bibtex.plugin import register_plugin
from sphinxcontrib.bibtex.style.referencing import BracketStyle
from sphinxcontrib.bibtex.style.referencing.author_year import AuthorYearReferenceStyle

STYLE = "book"  # its name in _config.yml


def _brackets() -> BracketStyle:
    return BracketStyle(sep="; ")  # a comma stands inside each citation


@dataclass
class ReferenceStyle(AuthorYearReferenceStyle):
    """As `author_year`, with its own separator."""

    bracket_parenthetical: BracketStyle = field(default_factory=_brackets)


def register() -> None:
    """Make the style known to sphinxcontrib-bibtex, before it reads its settings."""
    register_plugin("sphinxcontrib.bibtex.style.referencing", STYLE, ReferenceStyle)
