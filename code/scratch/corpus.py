"""An English sentence, its French translation, and which word translates which.

Chapter 11.  The grammar that makes such pairs is plumbing: :mod:`scratch.plumbing.data.grammar`
says what to weave, and :mod:`scratch.plumbing.data.weaving` keeps the links while it does so.
"""

from dataclasses import dataclass

__all__ = ["Links", "SentencePair"]

Links = frozenset[tuple[int, int]]


@dataclass(frozen=True)
class SentencePair:
    """An English sentence, its French translation and the links between their words.

    ``links`` holds (English index, French index), ``swapped`` the English indices of adjectives
    that follow their noun in French, ``combination`` each (noun, adjective, verb), "" for none.
    """

    english: tuple[str, ...]
    french: tuple[str, ...]
    links: Links
    swapped: frozenset[int]
    combination: tuple[tuple[str, str, str], ...]

    @property
    def english_text(self) -> str:
        """The English sentence as it is printed."""
        return detokenise(self.english).replace(" ?", "?")

    @property
    def french_text(self) -> str:
        """The French sentence as it is printed, with a space before its question mark."""
        return detokenise(self.french)


def detokenise(words: tuple[str, ...]) -> str:
    """Join ``words`` into a sentence that begins with a capital letter."""
    text = " ".join(words).replace("' ", "'").replace(" .", ".").replace(" ,", ",")
    return text[0].upper() + text[1:]
