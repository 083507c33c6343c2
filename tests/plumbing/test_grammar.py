"""The bilingual grammar: real French, one translation each, links that hold."""

import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from itertools import pairwise, product

import pytest

from scratch.corpus import SentencePair, detokenise
from scratch.plumbing.data import grammar, lexicon
from scratch.plumbing.data.grammar import Plan, sample_pairs
from scratch.plumbing.data.weaving import Phrase, weave

N = 20_000


@pytest.fixture(scope="module")
def pairs() -> list[SentencePair]:
    return sample_pairs(N, seed=11)


# -- what it yields -----------------------------------------------------------------------------

EXPECTED = """
The small cat sees the red bicycle. | Le petit chat voit le vélo rouge.
A man rides a red bicycle. | Un homme roule sur un vélo rouge.
I see him. | Je le vois.
The woman does not eat the green apple. | La femme ne mange pas la pomme verte.
She buys an apple and eats it. | Elle achète une pomme et la mange.
The man does not see the red car. | L'homme ne voit pas la voiture rouge.
Does the man see the car? | Est-ce que l'homme voit la voiture ?
I see them. | Je les vois.
He sees me. | Il me voit.
She helps us. | Elle nous aide.
They love him. | Ils l'aiment.
I do not know her. | Je ne la connais pas.
We will not follow them. | Nous ne les suivrons pas.
You can help me. | Vous pouvez m'aider.
He wants to see her. | Il veut la voir.
She gives him a key. | Elle lui donne une clé.
He gave them some flowers. | Il leur a donné des fleurs.
He gives a book to the children. | Il donne un livre aux enfants.
He gives a book to the doctor. | Il donne un livre au médecin.
We go to the market. | Nous allons au marché.
She goes to the school. | Elle va à l'école.
He comes from the market. | Il vient du marché.
You come from the station. | Vous venez de la gare.
He comes from the hotel. | Il vient de l'hôtel.
She sleeps near the trees. | Elle dort près des arbres.
She sleeps near an old tree. | Elle dort près d'un vieil arbre.
He buys some small apples. | Il achète de petites pommes.
He buys some red apples. | Il achète des pommes rouges.
He does not buy any red apples. | Il n'achète pas de pommes rouges.
He does not eat an orange. | Il ne mange pas d'orange.
Does she buy any oranges? | Est-ce qu'elle achète des oranges ?
She drinks some water. | Elle boit de l'eau.
She does not drink any water. | Elle ne boit pas d'eau.
I am eating some good bread. | Je mange du bon pain.
You drink a glass of milk. | Vous buvez un verre de lait.
They do not have any cars. | Ils n'ont pas de voitures.
The beautiful bird is singing. | Le bel oiseau chante.
We see a new hotel. | Nous voyons un nouvel hôtel.
The cows are white. | Les vaches sont blanches.
The old white cows sleep in the garden. | Les vieilles vaches blanches dorment dans le jardin.
The women were happy. | Les femmes étaient heureuses.
The dresses will not be very expensive. | Les robes ne seront pas très chères.
The woman went to the beach. | La femme est allée à la plage.
The actresses did not stay at the hotel. | Les actrices ne sont pas restées à l'hôtel.
Did they come from the village? | Est-ce qu'ils sont venus du village ?
She saw the mice yesterday. | Elle a vu les souris hier.
I read the newspaper every day. | Je lis le journal tous les jours.
He read the newspaper. | Il a lu le journal.
They do not open these doors. | Ils n'ouvrent pas ces portes.
This man waits for the bus. | Cet homme attend le bus.
This girl listens to my friend. | Cette fille écoute mon ami.
We wash your orange. | Nous lavons votre orange.
He eats his orange. | Il mange son orange.
We will follow our horses tomorrow. | Nous suivrons nos chevaux demain.
You must not drive this truck. | Vous ne devez pas conduire ce camion.
They cannot repair their boats. | Ils ne peuvent pas réparer leurs bateaux.
I open the window of the house. | J'ouvre la fenêtre de la maison.
There is a cat in the garden. | Il y a un chat dans le jardin.
There is not a key under the table. | Il n'y a pas de clé sous la table.
Were there any horses behind the church? | Est-ce qu'il y avait des chevaux derrière l'église ?
The boy and the girl sing. | Le garçon et la fille chantent.
He will wash the dresses and wear them. | Il lavera les robes et les portera.
We want to take a box and open it. | Nous voulons prendre une boîte et l'ouvrir.
These dogs are in front of the house. | Ces chiens sont devant la maison.
"""
EXPECTED_PAIRS = [tuple(line.split(" | ")) for line in EXPECTED.strip().splitlines()]


def candidates(words: set[str]) -> list[Plan]:
    """All plans whose verb stands in a sentence made of ``words``."""
    tenses = ("present", "progressive", "past", "future", *lexicon.MODALS)
    verbs = [("plain", v) for v in lexicon.VERBS] + [("be", lexicon.BE), ("there", lexicon.BE)]
    verbs += [("sequel", v) for v in lexicon.VERBS if v.name in lexicon.SEQUELS]
    moods = ("negative",) if words & {"not", "cannot"} else ("affirmative", "question")
    found = []
    for (kind, verb), tense, person, mood in product(verbs, tenses, range(5), moods):
        plan = Plan(kind, verb, tense, person, mood)
        if kind in ("be", "there") and tense not in lexicon.THERE:
            continue
        if kind == "sequel" and (tense == "past" or mood != "affirmative" or "and" not in words):
            continue
        subject = lexicon.PRONOUNS[person][0][0]
        if person in (0, 2, 3) and subject not in words:
            continue
        template = grammar.english_clause(plan).split()
        if {part.partition(":")[0] for part in template} - {"S", "C", "O"} <= words:
            found.append(plan)
    return found


def translate(monkeypatch: pytest.MonkeyPatch, english: str) -> str | None:
    """Draw sentences from the grammar, with its nouns and adjectives narrowed, until one fits."""
    words = set(english.lower().replace("i ", "I ").strip(".?").split()) | {english.split()[0]}

    def narrow(tags: str, *, plural: bool = False) -> tuple[lexicon.Noun, ...]:
        nouns = nouns_for(tags, plural=plural)
        return tuple(n for n in nouns if words & {n.english, *n.plurals[:1]})

    nouns_for, adjectives_for = lexicon.nouns_for, lexicon.adjectives_for
    monkeypatch.setattr(lexicon, "nouns_for", narrow)
    monkeypatch.setattr(lexicon, "places_for", lexicon.places_for.__wrapped__)
    monkeypatch.setattr(
        lexicon,
        "adjectives_for",
        lambda noun: tuple(a for a in adjectives_for(noun) if a.english in words),
    )
    rng = random.Random(1)
    plans = candidates(words)
    for _ in range(20_000):
        if not plans:
            return None
        plan = rng.choice(plans)
        try:
            made = grammar.BUILDERS[plan.kind](rng, plan)
        except (IndexError, ValueError):  # nothing to choose from
            continue
        if made.english_text == english:
            return made.french_text
    return None


@pytest.mark.parametrize(("english", "french"), EXPECTED_PAIRS)
def test_expected_translation(monkeypatch: pytest.MonkeyPatch, english: str, french: str) -> None:
    assert translate(monkeypatch, english) == french


@pytest.mark.parametrize("english", ["The apple reads the car.", "I see me.", "He sees."])
def test_nonsense_is_not_in_the_grammar(monkeypatch: pytest.MonkeyPatch, english: str) -> None:
    assert translate(monkeypatch, english) is None


# -- properties of a large sample ---------------------------------------------------------------


def test_deterministic_and_distinct(pairs: list[SentencePair]) -> None:
    assert sample_pairs(300, seed=11) == pairs[:300]
    assert sample_pairs(300, seed=12) != pairs[:300]
    assert len({p.english_text for p in pairs}) == len(pairs) == N


def test_one_english_one_french(pairs: list[SentencePair]) -> None:
    french = {p.english_text: p.french_text for p in pairs}
    again = [p for p in sample_pairs(N, seed=5) if p.english_text in french]
    assert len(again) > 100
    assert all(french[p.english_text] == p.french_text for p in again)
    rng, deck = random.Random(0), grammar.plans()
    for _ in range(10_000):  # sentences that sample_pairs drops because they come twice
        made = grammar.BUILDERS[(plan := rng.choice(deck)).kind](rng, grammar.vary(rng, plan))
        assert french.setdefault(made.english_text, made.french_text) == made.french_text


def test_order_of_hashes_does_not_matter() -> None:
    code = "from scratch.plumbing.data.grammar import sample_pairs as sample; "
    code += "print([p.french_text for p in sample(50, seed=3)])"
    command = [sys.executable, "-c", code]
    outputs = {
        subprocess.run(
            command,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(outputs) == 1 and len(outputs.pop()) > 50 * 10


def test_every_form_is_frequent(pairs: list[SentencePair]) -> None:
    for side in ("english", "french"):
        counts = Counter(word for p in pairs for word in getattr(p, side))
        rare = {word: count for word, count in counts.items() if count < 15}
        assert not rare
        assert len(counts) <= 700


def test_lengths(pairs: list[SentencePair]) -> None:
    lengths = [len(p.english) for p in pairs]
    assert max(lengths) <= 15 and 7 <= sum(lengths) / N <= 9


def test_links_are_complete(pairs: list[SentencePair]) -> None:
    for p in pairs:
        assert {i for i, _ in p.links} == set(range(len(p.english))), p
        assert {j for _, j in p.links} == set(range(len(p.french))), p
        assert (len(p.english) - 1, len(p.french) - 1) in p.links


def test_swapped_adjectives_follow_their_noun(pairs: list[SentencePair]) -> None:
    after = {a.english for a in lexicon.ADJECTIVES if not a.before}
    nouns = {form for n in lexicon.NOUNS for form in (n.french, *n.plurals[1:])}
    swapped = [(p, i) for p in pairs for i in p.swapped]
    assert len(swapped) > N / 10
    for p, i in swapped:
        ((_, j),) = [link for link in p.links if link[0] == i]
        assert p.english[i] in after and p.french[j - 1] in nouns


def test_elision_and_contraction(pairs: list[SentencePair]) -> None:
    never = {("de", "le"), ("de", "les"), ("à", "le"), ("à", "les"), ("des", "les"), ("de", "des")}
    clitics = {"le", "la", "de", "ne", "je", "me", "que", "ma", "sa", "ce"}
    for p in pairs:
        for word, after in pairwise(p.french):
            assert (word, after) not in never, p.french_text
            if after[0] in "aeiouhéèêâîôœ" or after == "y":
                assert word not in clitics, p.french_text
            elif word.endswith("'"):
                pytest.fail(p.french_text)
        for word, after in pairwise(p.english):
            if word in ("a", "an"):
                assert (word == "an") == (after[0] in "aeiou"), p.english_text


def test_no_noun_twice(pairs: list[SentencePair]) -> None:
    for p in pairs:
        nouns = [word for word in p.english if word in lexicon.NOUN_FORMS]
        assert len(nouns) == len(set(nouns)), p.english_text


@pytest.mark.parametrize(("side", "language"), [("french", "fr_FR"), ("english", "en_US")])
def test_every_form_is_in_the_dictionary(
    pairs: list[SentencePair], side: str, language: str
) -> None:
    if shutil.which("hunspell") is None:
        pytest.skip("hunspell is not installed")
    available = subprocess.run(
        ["hunspell", "-D"], input="", capture_output=True, text=True, check=False
    )
    if f"/{language}" not in available.stdout + available.stderr:
        pytest.skip(f"hunspell has no dictionary {language}")

    def unknown(forms: list[str]) -> list[str]:
        command = ["hunspell", "-i", "utf-8", "-d", language, "-l"]
        text = "\n".join(forms)
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
        return done.stdout.split()

    texts = (getattr(p, f"{side}_text") for p in pairs)
    forms = sorted({word.strip(".,?") for text in texts for word in text.split()} - {""})
    british = {"neighbour", "neighbours", "grey"}
    assert len(forms) > 300
    assert {w.lower() for w in unknown(forms)} <= (british if side == "english" else set())
    assert unknown(["blablax", "l'hommme"])  # the dictionary does say no


# -- the pieces ---------------------------------------------------------------------------------


def test_polish_keeps_links_of_contracted_words() -> None:
    phrase = weave("of:o the:t market:m", "de:o le:t marché:m")
    assert grammar.polish(phrase) == Phrase(
        ("of", "the", "market"), ("du", "marché"), frozenset({(0, 0), (1, 0), (2, 1)})
    )


GOLD = {
    "The woman does not eat the green apple.": "the-la woman-femme does-mange not-ne not-pas "
    "eat-mange the-la green-verte apple-pomme .-.",
    "A man rides a red bicycle.": "a-un man-homme rides-roule rides-sur a-un red-rouge "
    "bicycle-vélo .-.",
    "Does she listen to him?": "does-est-ce does-qu' she-elle listen-écoute to-écoute him-l' ?-?",
    "We saw the car.": "we-nous saw-avons saw-vu the-la car-voiture .-.",
    "He did not see the car.": "he-il did-a not-n' not-pas see-vu the-la car-voiture .-.",
    "I will go to the market.": "I-j' will-irai go-irai to-au the-au market-marché .-.",
    "There is a cat near the trees.": "there-il there-y there-a is-il is-y is-a a-un cat-chat "
    "near-près near-des the-des trees-arbres .-.",
}


@pytest.mark.parametrize("english", GOLD)
def test_gold_links(monkeypatch: pytest.MonkeyPatch, english: str) -> None:
    found: list[SentencePair] = []
    finish = grammar.finish

    def keep(*arguments: object) -> SentencePair:
        found.append(finish(*arguments))  # type: ignore[arg-type]
        return found[-1]

    monkeypatch.setattr(grammar, "finish", keep)
    assert translate(monkeypatch, english) is not None
    pair = found[-1]
    assert pair.english_text == english and detokenise(pair.french) == pair.french_text
    links = [f"{pair.english[i]}-{pair.french[j]}" for i, j in sorted(pair.links)]
    assert links == GOLD[english].split()


def test_unknown_sizes_are_refused() -> None:
    for n in (0, -1, grammar.MOST_PAIRS + 1):
        with pytest.raises(ValueError, match=f"n is {n}, expected"):
            sample_pairs(n, seed=0)
