"""The glossary: its letters lead to the first term of each letter."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "book" / "glossary.md"


def test_the_letters_lead_to_their_first_terms() -> None:
    letters, body = PAGE.read_text(encoding="utf-8").split("```{glossary}", 1)
    terms = re.findall(r"^(?![ `:])(\S.*)$", body, re.M)
    first: dict[str, str] = {}
    for term in sorted(terms, key=str.lower):
        first.setdefault(term[0].upper(), term)
    assert dict(re.findall(r"{term}`(\S) <(.+?)>`", letters)) == first
