"""A sentence pair as it is printed."""

import pytest

from scratch.corpus import SentencePair


@pytest.mark.parametrize(
    ("english", "french", "english_text", "french_text"),
    [
        (("do", "you", "see", "?"), ("voyez", "vous", "?"), "Do you see?", "Voyez vous ?"),
        (
            ("yes", ",", "I", "do", "."),
            ("oui", ",", "j'", "y", "vais", "."),
            "Yes, I do.",
            "Oui, j'y vais.",
        ),
    ],
)
def test_text_as_it_is_printed(
    english: tuple[str, ...], french: tuple[str, ...], english_text: str, french_text: str
) -> None:
    made = SentencePair(english, french, frozenset(), frozenset(), ())
    assert made.english_text == english_text and made.french_text == french_text
