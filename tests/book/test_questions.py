"""Three questions a chapter: what somebody who has read it once should answer from memory."""

from pathlib import Path

import pytest
import yaml

from press.book import load_book

HERE = Path(__file__)
QUESTIONS = yaml.safe_load(HERE.with_name("questions.yml").read_text(encoding="utf-8"))
CHAPTERS = [chapter.stem for chapter in load_book(HERE).chapters if chapter.numbered]


def test_there_are_questions_for_every_chapter_and_no_other() -> None:
    assert list(QUESTIONS) == CHAPTERS


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_there_are_three_with_their_answers(chapter: str) -> None:
    found = QUESTIONS[chapter]
    assert len(found) == 3 and all(set(each) == {"question", "answer"} for each in found)
    assert all(len(each["answer"].split()) >= 8 for each in found)
    assert len({each["question"] for each in found}) == 3
