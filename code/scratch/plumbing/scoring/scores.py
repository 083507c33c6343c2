"""How good translations are: BLEU and chrF by sacrebleu, published protocol included."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from scratch.plumbing import checks
from scratch.plumbing.data.everyday import EverydaySentence
from scratch.plumbing.extras import needs

__all__ = ["PUBLISHED", "Score", "corpus_bleu", "published_form", "score_phrases", "score_texts"]

PUBLISHED = "BLEU, published protocol"  # the name of that score wherever scores have names


@dataclass(frozen=True)
class Score:
    """One number: its ``value``, how sacrebleu writes it in full, and its ``signature``.

    With 95 % confidence the score of all such sentences is within ``interval`` of its value; 0
    where that was not asked for.
    """

    value: float
    text: str
    signature: str
    interval: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return what a file of scores keeps of it: two decimals and the signature."""
        interval = round(self.interval, 2)
        return {"score": round(self.value, 2), "interval": interval, "signature": self.signature}


@cache
def _moses() -> tuple[Any, Any]:
    needs("scores")
    from sacremoses import MosesPunctNormalizer, MosesTokenizer  # here: only scores need it

    return MosesPunctNormalizer(lang="fr"), MosesTokenizer(lang="fr")


def published_form(text: str) -> str:
    """Return French ``text`` as scores on Multi30k are published for it.

    Lower case, then Moses' normalised punctuation, then Moses' tokenizer, as the corpus' own
    ``task1-tokenize.sh`` does it; so hyphens are not split ("aggressive" is off) and signs of
    XML are escaped: "l'air" becomes "l&apos; air".  Escaping renames tokens and splits none,
    hence it changes no score; it is left on because the published files have it.  The test
    split of 2016 becomes the published ``test_2016_flickr.lc.norm.tok.fr``.
    """
    normaliser, tokenizer = _moses()
    return str(tokenizer.tokenize(normaliser.normalize(text.lower()), return_str=True))


def score_texts(
    found: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    published: bool = False,
    samples: int = 0,
) -> dict[str, Score]:
    """Score translations ``found``, each against all of its ``references``, by name.

    "BLEU" and "chrF2" are of the text as it is, cased and detokenised; with ``published`` there
    is also the BLEU of both sides' :func:`published_form`, tokenised no further; with ``samples``
    an interval of each by so many bootstrap samples.
    Raises ValueError unless there is one reference or more for every sentence.
    """
    needs("scores")
    import sacrebleu

    checks.require(
        len(found) == len(references) > 0,
        f"found has {len(found)} lines, expected {len(references)}, one for each reference",
    )
    empty = next((i for i, each in enumerate(references, 1) if not each), None)
    checks.require(empty is None, f"references has none for line {empty}, expected one or more")
    scores = {}
    if published:
        forms = [[published_form(text) for text in each] for each in references]
        metric = sacrebleu.BLEU(tokenize="none", force=True)  # tokenised it is, on purpose
        scores[PUBLISHED] = _score(metric, list(map(published_form, found)), forms, samples)
    scores["BLEU"] = _score(sacrebleu.BLEU(), found, references, samples)
    scores["chrF2"] = _score(sacrebleu.CHRF(), found, references, samples)
    return scores


def corpus_bleu(found: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return the "BLEU" of :func:`score_texts` alone, as a number."""
    needs("scores")
    import sacrebleu

    return _score(sacrebleu.BLEU(), found, references).value


def _score(
    metric: Any, found: Sequence[str], references: Sequence[Sequence[str]], samples: int = 0
) -> Score:
    most = max(map(len, references))  # sacrebleu wants columns, and None where one is too short
    columns = [[each[n] if n < len(each) else None for each in references] for n in range(most)]
    many = samples if len(found) > 1 else 0  # of one sentence there is nothing to draw
    score = metric.corpus_score(list(found), columns, n_bootstrap=many or 1)
    interval = float(score._ci) if many else 0.0
    return Score(score.score, score.format(width=2), str(metric.get_signature()), interval)


def score_phrases(
    sentences: Sequence[EverydaySentence], found: Sequence[str]
) -> list[tuple[str, str]]:
    """Return those of ``sentences`` that ``found`` gets wrong, each with what was found.

    ``found`` holds the French of all of them, in their order.  Raises ValueError otherwise.
    """
    checks.require(
        len(found) == len(sentences),
        f"found has {len(found)} lines, expected {len(sentences)}, one for each sentence",
    )
    pairs = zip(sentences, found, strict=True)
    return [(s.english, french) for s, french in pairs if not s.is_right(french)]
