"""A bilingual grammar: English-French sentence pairs whose word alignment is known.

Both sides of a pair are woven from the same pieces (:mod:`.weaving`), so the grammar knows
which word was written for which.  The French is a function of the English: "you" is always
"vous", "they" is "ils", the past simple is the passé composé, "was" is the imparfait, "it" occurs
only where its antecedent decides its gender.

How words are linked:

- A word is linked to what it means; in a group that only means something as a whole every
  English word is linked to every French one: "listens to"-"écoute", "there is"-"il y a".
- An auxiliary belongs to the verb: "does see"-"voit", "will see"-"verra", "saw"-"a vu"; where
  both languages have one, they are linked to each other: "did"-"a", "see"-"vu".
- "not" is linked to "ne" and "pas"; the verb that opens a question also to "est-ce que".
- "some" and "any" are linked to "des" or to "de la"; "du" to both words that it hides, "of"
  and "the", "au" to "to" or "at" and "the".  Full stop is linked to full stop.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from scratch.corpus import SentencePair, detokenise
from scratch.plumbing import checks
from scratch.plumbing.data import lexicon
from scratch.plumbing.data.lexicon import Adjective, Noun, Verb
from scratch.plumbing.data.weaving import Phrase, pair, weave

__all__ = ["sample_pairs", "sample_phrases"]

MOST_PAIRS, MOST_WORDS = 200_000, 14  # the grammar has more of both
KINDS = "the the a a this my two"  # of determiners
Uses = tuple[tuple[str, str], ...]  # nouns, each with an adjective or ""

# Before a vowel.  "la" becomes "l'", but "ma" becomes "mon".
ELISIONS = {
    "le": "l'",
    "la": "l'",
    "de": "d'",
    "ne": "n'",
    "je": "j'",
    "me": "m'",
    "que": "qu'",
    "ma": "mon",
    "sa": "son",
    "ce": "cet",
}
CONTRACTIONS = {("de", "le"): "du", ("de", "les"): "des", ("à", "le"): "au", ("à", "les"): "aux"}


def starts_with_vowel(word: str) -> bool:
    """Whether a French word makes the one before it elide; every "h" in the lexicon is mute."""
    return word[0] in "aeiouhéèêâîôœ" or word == "y"


def polish(phrase: Phrase) -> Phrase:
    """Say "an apple", "l'homme" and "du marché", and keep the links where they belong."""
    english = [
        "an" if word == "a" and after[0] in "aeiou" else word
        for word, after in zip(phrase.english, (*phrase.english[1:], "."), strict=True)
    ]
    french: list[str] = []
    position = []  # of each word of phrase.french
    for word, after in zip(phrase.french, (*phrase.french[1:], "."), strict=True):
        if starts_with_vowel(after):
            word = ELISIONS.get(word, word)
        if french and (french[-1], word) in CONTRACTIONS:
            french[-1] = CONTRACTIONS[french[-1], word]
        else:
            french.append(word)
        position.append(len(french) - 1)
    links = frozenset((i, position[j]) for i, j in phrase.links)
    return Phrase(tuple(english), tuple(french), links, phrase.swapped)


@dataclass(frozen=True)
class Nominal:
    """Something that can be a subject or an object.

    ``person`` is 0 for I, 1 for he, she and one thing, 2 for we, 3 for you, 4 for several.
    """

    phrase: Phrase
    person: int
    feminine: bool = False
    uses: Uses = ()

    @property
    def plural(self) -> bool:
        """Whether an adjective that describes it stands in the plural."""
        return self.person in (2, 4)


def agree(adjective: Adjective, *, feminine: bool, plural: bool, vowel: bool = False) -> str:
    """Return the French form; ``vowel``: a singular noun follows that begins with one."""
    if vowel and not feminine and not plural:
        return adjective.french[4]
    return adjective.french[feminine + 2 * plural]


def determiner(
    rng: random.Random, noun: Noun, kinds: str, *, plural: bool, preposed: bool, mood: str
) -> Phrase:
    """Choose one of ``kinds`` (the, this, my, a, two) that goes with the noun.

    ``preposed``: an adjective stands before the noun.  ``mood`` is "affirmative", "negative" or
    "question": after a negated verb "un", "des" and "du" become "de".
    """
    form = 2 if plural else int(noun.feminine)
    allowed = [k for k in kinds.split() if (k != "two" or plural)]
    if "kin" in noun.tags and "my" in allowed:
        allowed = ["my"]
    elif "own" not in noun.tags:
        allowed = [k for k in allowed if k != "my"]
    kind = rng.choice(allowed)
    if kind == "two":
        return pair(*rng.choice(list(lexicon.NUMERALS.items())))
    if kind == "my":
        english, french = rng.choice(list(lexicon.POSSESSIVES.items()))
        return pair(english, french[form])
    if kind != "a":
        english_forms, french = lexicon.DETERMINERS[kind]
        return pair(english_forms[plural], french[form])
    return indefinite(noun, plural=plural, preposed=preposed, mood=mood)


def indefinite(noun: Noun, *, plural: bool, preposed: bool, mood: str) -> Phrase:
    """Return "a", "some" or "any" with its French: un, une, des, de, du, de la."""
    mass = "mass" in noun.tags
    english = "a"
    if plural or mass:
        english = "some" if mood == "affirmative" else "any"
    if mood == "negative":
        return pair(english, "de")
    if mass:
        return pair(english, "de la" if noun.feminine else "de le")
    if plural:
        return pair(english, "de" if preposed else "des")
    return pair(english, "une" if noun.feminine else "un")


def adjectives(rng: random.Random, noun: Noun, share: float) -> list[Adjective]:
    """Choose none, one, or one for each side of ``noun``; ``share`` of nouns get at least one."""
    fitting = lexicon.adjectives_for(noun)
    if not fitting or rng.random() >= share:
        return []
    first = rng.choices(fitting, lexicon.weights(fitting))[0]
    colours = [a for a in fitting if a.english in lexicon.COLOURS]
    if first.before and colours and rng.random() < 0.4:
        return [first, rng.choice(colours)]
    return [first]


def adjective_phrase(adjective: Adjective, noun: Noun, *, plural: bool) -> Phrase:
    """Let ``adjective`` agree with its noun, and note that it changes sides."""
    vowel = adjective.before and starts_with_vowel(noun.french)
    form = agree(adjective, feminine=noun.feminine, plural=plural, vowel=vowel)
    moved = frozenset() if adjective.before else frozenset({0})
    return Phrase((adjective.english,), (form,), frozenset({(0, 0)}), moved)


def noun_phrase(
    rng: random.Random,
    noun: Noun,
    *,
    plural: bool,
    kinds: str = KINDS,
    mood: str = "affirmative",
    share: float = 0.55,
) -> Nominal:
    """Put a determiner and adjectives to ``noun``, in the order of each language."""
    chosen = adjectives(rng, noun, share)
    described = [(a.before, adjective_phrase(a, noun, plural=plural)) for a in chosen]
    before = [phrase for preposed, phrase in described if preposed]
    after = [phrase for preposed, phrase in described if not preposed]
    phrase = weave(
        "D B A N",
        "D B N A",
        D=determiner(rng, noun, kinds, plural=plural, preposed=bool(before), mood=mood),
        B=before[0] if before else Phrase(),
        A=after[0] if after else Phrase(),
        N=pair(noun.plurals[0], noun.plurals[1]) if plural else pair(noun.english, noun.french),
    )
    uses = tuple((noun.english, a.english) for a in chosen) or ((noun.english, ""),)
    return Nominal(phrase, 4 if plural else 1, noun.feminine, uses)


@dataclass(frozen=True)
class Plan:
    """What a sentence will be: a verb in a tense (or after a modal verb), for a person.

    ``kind`` is "plain", "be", "there" or "sequel".
    """

    kind: str
    verb: Verb
    tense: str
    person: int
    mood: str = "affirmative"


def english_verb(plan: Plan) -> tuple[str, str, str]:
    """Return three templates: the plain verb; its auxiliary and what follows it."""
    base, third, past, ing = plan.verb.english
    he = plan.person == 1
    be, do = lexicon.BE_PRESENT[plan.person], "does" if he else "do"
    particle = "".join(f" {word}:v" for word in plan.verb.particle.split())
    if plan.verb is lexicon.BE and plan.tense != "future":
        form = be if plan.tense == "present" else lexicon.BE_PAST[plan.person]
        return f"{form}:v", f"{form}:v", ""
    if plan.tense == "past":
        return f"{past}:av{particle}", "did:a", f"{base}:v{particle}"
    if plan.tense == "present":
        return f"{third if he else base}:v{particle}", f"{do}:v", f"{base}:v{particle}"
    if plan.tense == "want":
        rest = f"to:v {base}:v{particle}"
        return f"{'wants' if he else 'want'}:m {rest}", f"{do}:m", f"want:m {rest}"
    auxiliaries = {"future": "will:v", "progressive": f"{be}:v"}
    auxiliary = auxiliaries.get(plan.tense, f"{plan.tense}:m")
    rest = f"{ing if plan.tense == 'progressive' else base}:v{particle}"
    return f"{auxiliary} {rest}", auxiliary, rest


def english_clause(plan: Plan) -> str:
    """Return the English template: a subject S, the verb, a pronoun C, an object O."""
    plain, auxiliary, rest = english_verb(plan)
    if plan.mood == "negative":
        refusal = f"{auxiliary} not:n".replace("can:m not:n", "cannot:mn")
        return f"S {refusal} {rest} C O"
    if plan.mood == "question":
        asking = f"{auxiliary}q".replace("do:v", "do:").replace("does:v", "does:")
        return f"{asking} S {rest} C O"
    return f"S {plain} C O"


def french_verb(plan: Plan, subject: Nominal) -> tuple[str, str]:
    """Return two templates: the finite verb, and the participle or infinitive after it."""
    verb, person = plan.verb, plan.person
    if plan.tense in lexicon.MODALS:
        return f"{lexicon.MODALS[plan.tense][person]}:m", f"{verb.infinitive}:v"
    if plan.tense == "future":
        return f"{verb.future[person]}:v", ""
    if plan.tense != "past":
        return f"{verb.present[person]}:v", ""
    if verb is lexicon.BE:
        return f"{lexicon.BE_IMPERFECT[person]}:v", ""
    if "etre" not in verb.flags:
        return f"{lexicon.AVOIR[person]}:a", f"{verb.participle}:v"
    ending = "e" * subject.feminine + "s" * subject.plural
    return f"{lexicon.BE.present[person]}:a", f"{verb.participle}{ending}:v"


def french_clause(plan: Plan, subject: Nominal) -> str:
    """Return the French template, with the pronoun C before the verb that governs it."""
    finite, rest = french_verb(plan, subject)
    if plan.tense in lexicon.MODALS:
        rest = f"C {rest}"
    else:
        finite = f"C {finite}"
    if plan.mood == "negative":
        finite = f"ne:n {finite} pas:n"
    opening = "est-ce:q que:q S" if plan.mood == "question" else "S"
    preposition = f"{plan.verb.preposition}:v" if plan.verb.preposition else ""
    return f"{opening} {finite} {rest} {preposition} O"


def clause(plan: Plan, subject: Nominal, pronoun: Phrase, complement: Phrase) -> Phrase:
    """Say ``plan`` of ``subject``, in both languages."""
    return weave(
        english_clause(plan),
        french_clause(plan, subject),
        S=subject.phrase,
        C=pronoun,
        O=complement,
    )


def choose_noun(rng: random.Random, tags: str, share: float = 0.35) -> tuple[Noun, bool]:
    """Choose a noun with one of ``tags``, and whether it stands in the plural."""
    noun = rng.choice(lexicon.nouns_for(tags))
    return noun, bool(noun.plurals) and rng.random() < share


def choose_subject(rng: random.Random, plan: Plan) -> Nominal:
    """Choose who does it: a pronoun, a noun, or two nouns."""
    plural = plan.person == 4
    kinds, share = ("the the this my", 0.0) if plan.kind == "be" else (KINDS, 0.35)
    if plan.person not in (1, 4) or rng.random() < 0.3:
        english, french = rng.choice(lexicon.PRONOUNS[plan.person])
        return Nominal(pair(english, french), plan.person, english == "she")
    if plural and rng.random() < 0.25:
        first, second = (
            noun_phrase(rng, noun, plural=False, kinds="the the my this", share=share / 2)
            for noun in rng.sample(lexicon.nouns_for("person"), 2)
        )
        both = weave("F and:c S", "F et:c S", F=first.phrase, S=second.phrase)
        return Nominal(both, 4, first.feminine and second.feminine, first.uses + second.uses)
    noun = rng.choice(lexicon.nouns_for(plan.verb.subjects, plural=plural))
    return noun_phrase(rng, noun, plural=plural, kinds=kinds, share=share)


def choose_object(rng: random.Random, plan: Plan) -> Nominal:
    """Choose what it is done to."""
    flags = plan.verb.flags
    noun, plural = choose_noun(rng, plan.verb.objects, 0 if "one" in flags else 0.35)
    mood = "affirmative" if plan.verb.preposition else plan.mood
    kinds = KINDS
    if "definite" in flags:
        kinds = "the this my"
    elif plan.verb.name == "have":
        kinds = "the a a" if plan.mood == "negative" else "the a a two"
    elif plan.mood == "negative" and "person" in noun.tags:
        kinds = "the this my"
    elif plan.mood == "negative" or "mass" in noun.tags:
        kinds = "the a a this my"
    elif "opening" in noun.tags:
        kinds = "the the a"
    thing = noun_phrase(rng, noun, plural=plural, kinds=kinds, mood=mood)
    if "drink" in noun.tags and plan.mood != "negative" and rng.random() < 0.3:
        return measure(rng, noun, mood)
    if "opening" in noun.tags and rng.random() < 0.4:
        house = rng.choice(lexicon.nouns_for("building house kitchen train"))
        whole = noun_phrase(rng, house, plural=False, kinds="the this my", share=0.2)
        of = weave("T of:o W", "T de:o W", T=thing.phrase, W=whole.phrase)
        return Nominal(of, thing.person, thing.feminine, thing.uses + whole.uses)
    return thing


def measure(rng: random.Random, drink: Noun, mood: str) -> Nominal:
    """Return a cup or a glass of ``drink``."""
    dish = lexicon.noun_named("cup" if drink.english in ("coffee", "tea") else "glass")
    held = noun_phrase(rng, dish, plural=False, kinds="a this", mood=mood, share=0)
    of = weave("D of:o W", "D de:o W", D=held.phrase, W=pair(drink.english, drink.french))
    return Nominal(of, 1, dish.feminine, (*held.uses, (drink.english, "")))


def choose_pronoun(rng: random.Random, plan: Plan, table: lexicon.Clitics) -> Phrase:
    """Choose a pronoun from ``table`` that is not the subject itself."""
    english, french, _ = rng.choice([row for row in table if plan.person not in row[2]])
    return pair(english, french)


def choose_place(rng: random.Random, places: str, verb: str, *, outside: bool) -> Nominal:
    """Choose where it happens, or where it leads to."""
    preposition, noun = rng.choice(lexicon.places_for(places, verb, outside=outside))
    kinds = "the the the this my" if preposition.french in ("à", "de") else "the the the this my a"
    plural = bool(noun.plurals) and preposition.english == "near" and rng.random() < 0.3
    kinds = kinds.removesuffix(" a") if plural else kinds  # "near some trees": près de des?
    where = noun_phrase(rng, noun, plural=plural, kinds=kinds, share=0.25)
    place = weave("P N", "P N", P=pair(preposition.english, preposition.french), N=where.phrase)
    return Nominal(place, 1, uses=where.uses)


def choose_time(rng: random.Random, plan: Plan) -> Phrase:
    """Choose nothing, or a time that goes with the tense."""
    english, french = lexicon.TIMES.get(plan.tense, ("", ""))
    if not english or rng.random() > 0.2:
        return Phrase()
    if plan.tense == "present" and "daily" not in plan.verb.flags:
        return Phrase()
    return pair(english, french)


NOBODY = Nominal(Phrase(), 1)


def complements(rng: random.Random, plan: Plan) -> tuple[Phrase, Nominal, Nominal]:
    """Choose a pronoun, an object and a recipient, any of them empty."""
    flags = plan.verb.flags
    if "who" in flags and plan.tense != "past" and rng.random() < 0.35:
        return choose_pronoun(rng, plan, lexicon.CLITICS), NOBODY, NOBODY
    if not plan.verb.objects:
        return Phrase(), NOBODY, NOBODY
    thing = choose_object(rng, plan)
    if "to" not in flags:
        return Phrase(), thing, NOBODY
    if rng.random() < 0.4:
        return choose_pronoun(rng, plan, lexicon.DATIVES), thing, NOBODY
    noun, plural = choose_noun(rng, "person")
    who = noun_phrase(rng, noun, plural=plural, kinds="the the this my a", share=0.2)
    to = weave("to:t P", "à:t P", P=who.phrase)
    return Phrase(), thing, Nominal(to, 1, uses=who.uses)


def setting(rng: random.Random, plan: Plan, *nominals: Nominal) -> Nominal:
    """Choose a place that suits everything in the sentence, or none."""
    tags = {tag for n in nominals for noun, _ in n.uses for tag in lexicon.noun_named(noun).tags}
    share = 0.35 if plan.verb.objects else 0.8
    if plan.verb.flags & {"lead"} or plan.verb.name == "live":
        share = 1.0
    if not plan.verb.places or "place" in tags or rng.random() >= share:
        return NOBODY
    outside = bool(tags & {"vehicle", "beast"}) or "out" in plan.verb.flags
    return choose_place(rng, plan.verb.places, plan.verb.name, outside=outside)


def finish(plan: Plan, phrase: Phrase, *nominals: Nominal) -> SentencePair:
    """Close the sentence, and note which nouns and adjectives its verb was used with."""
    mark = "?:p" if plan.mood == "question" else ".:p"
    done = polish(weave(f"S {mark}", f"S {mark}", S=phrase))
    uses = tuple((noun, a, plan.verb.name) for n in nominals for noun, a in n.uses)
    uses = uses or (("", "", plan.verb.name),)
    return SentencePair(done.english, done.french, done.links, done.swapped, uses)


def plain_sentence(rng: random.Random, plan: Plan) -> SentencePair:
    """Somebody does something, perhaps somewhere, perhaps at some time."""
    who = choose_subject(rng, plan)
    pronoun, thing, recipient = complements(rng, plan)
    place = setting(rng, plan, who, thing, recipient)
    said = clause(plan, who, pronoun, thing.phrase + recipient.phrase + place.phrase)
    return finish(plan, said + choose_time(rng, plan), who, thing, recipient, place)


def sequel_sentence(rng: random.Random, plan: Plan) -> SentencePair:
    """Somebody does something, and then something else with "it" or "them"."""
    who = choose_subject(rng, plan)
    name, tags = rng.choice(list(lexicon.SEQUELS[plan.verb.name].items()))
    noun, plural = choose_noun(rng, tags)
    kinds = "the the a a this my" if "mass" in noun.tags else "the a a this my two"
    thing = noun_phrase(rng, noun, plural=plural, kinds=kinds)
    french = "les" if plural else "la" if noun.feminine else "le"
    pronoun = pair("them" if plural else "it", french)
    then = replace(plan, verb=lexicon.verb_named(name))
    plain, _, rest = english_verb(then)
    finite, infinitive = french_verb(then, who)
    if plan.tense == "present":
        rest = plain
    second = weave(f"{rest.removeprefix('want:m to:v ')} C", f"C {infinitive or finite}", C=pronoun)
    both = weave("A and:c B", "A et:c B", A=clause(plan, who, Phrase(), thing.phrase), B=second)
    return finish(plan, both, who, thing)


def scene(rng: random.Random, noun: Noun) -> Nominal:
    """Choose a place where one would find ``noun``, or none."""
    for tags, places in lexicon.SCENES:
        if noun.tags & set(tags.split()):
            outside = bool(noun.tags & {"vehicle", "beast"})
            return choose_place(rng, places, "", outside=outside)
    return NOBODY


def be_sentence(rng: random.Random, plan: Plan) -> SentencePair:
    """Somebody or something is like this, or is somewhere."""
    who = choose_subject(rng, plan)
    noun = lexicon.noun_named(who.uses[0][0] if who.uses else "man")
    if rng.random() < 0.3 and (where := scene(rng, noun)) is not NOBODY:
        return finish(plan, clause(plan, who, Phrase(), where.phrase), who, where)
    fitting = lexicon.adjectives_for(noun)
    adjective = rng.choices(fitting, lexicon.weights(fitting))[0]
    form = agree(adjective, feminine=who.feminine, plural=who.plural)
    predicate = pair(adjective.english, form)
    if adjective.english not in lexicon.COLOURS and rng.random() < 0.3:
        predicate = pair("very", "très") + predicate
    said = clause(plan, who, Phrase(), predicate) + choose_time(rng, plan)
    who = replace(who, uses=tuple((name, adjective.english) for name, _ in who.uses or [("", "")]))
    return finish(plan, said, who)


def there_sentence(rng: random.Random, plan: Plan) -> SentencePair:
    """There is something somewhere."""
    noun, plural = choose_noun(rng, rng.choice(lexicon.SCENES)[0])
    kinds = "a" if plan.mood != "affirmative" or "mass" in noun.tags else "a a two"
    thing = noun_phrase(rng, noun, plural=plural, kinds=kinds, mood=plan.mood)
    where = scene(rng, noun)
    be, avoir = lexicon.THERE[plan.tense]
    first, *more = be[plural].split()
    rest = "".join(f" {word}:v" for word in more)
    english = {
        "affirmative": f"there:v {first}:v{rest} X Y",
        "negative": f"there:v {first}:v not:n{rest} X Y",
        "question": f"{first}:vq there:v{rest} X Y",
    }[plan.mood]
    french = {
        "affirmative": f"il:v y:v {avoir}:v X Y",
        "negative": f"il:v ne:n y:v {avoir}:v pas:n X Y",
        "question": f"est-ce:q que:q il:v y:v {avoir}:v X Y",
    }[plan.mood]
    said = weave(english, french, X=thing.phrase, Y=where.phrase)
    return finish(plan, said, thing, where)


BUILDERS = {
    "plain": plain_sentence,
    "sequel": sequel_sentence,
    "be": be_sentence,
    "there": there_sentence,
}


def plans() -> list[Plan]:
    """One round of plans, in which every form of every verb has its turn."""
    deck = []
    for verb in lexicon.VERBS:
        for person in range(5):
            deck += [Plan("plain", verb, "present", person)] * (6 if person == 1 else 3)
            often = 0 if "now" in verb.flags else 3 if "etre" in verb.flags else 2
            deck += [Plan("plain", verb, "future", person)] * often
            if "timeless" not in verb.flags:
                # "venues" needs several women: what agrees is told more often
                often = 12 if "etre" in verb.flags and person in (1, 4) else 1
                deck += [Plan("plain", verb, "past", person)] * often
        if "calm" not in verb.flags:
            deck += [Plan("plain", verb, tense, 1) for tense in lexicon.MODALS]
        if verb.name in lexicon.SEQUELS:
            for tense in ("present", "future", "want"):
                deck += [Plan("sequel", verb, tense, 1)] * 3
    for person in range(5):
        for tense in ("present", "present", "past", "future"):
            deck += [Plan("be", lexicon.BE, tense, person)] * 3
    deck += [Plan("there", lexicon.BE, tense, 1) for tense in lexicon.THERE] * 3
    return deck


def vary(rng: random.Random, plan: Plan) -> Plan:
    """Choose what the deck leaves open: the mood, "is reading" for "reads", the person."""
    mood = rng.choices(("affirmative", "negative", "question"), (12, 4, 4))[0]
    tense, person = plan.tense, plan.person
    if tense in lexicon.MODALS or plan.kind == "sequel":
        person = rng.randrange(5)
    if tense == "present" and plan.kind == "plain" and "state" not in plan.verb.flags:
        tense = rng.choice(("present", "present", "present", "progressive"))
    if plan.kind == "sequel" or (mood == "question" and person == 0):
        mood = "affirmative"
    base, _, past, _ = plan.verb.english
    if tense == "past" and base == past and person != 1 and mood == "affirmative":
        mood = "negative"  # "I read" is the present
    return replace(plan, tense=tense, person=person, mood=mood)


def sentences(rng: random.Random) -> Iterator[SentencePair]:
    """Yield pairs for ever, some of them twice."""
    while True:
        deck = plans()
        rng.shuffle(deck)
        for plan in deck:
            made = BUILDERS[plan.kind](rng, vary(rng, plan))
            nouns = [word for word in made.english if word in lexicon.NOUN_FORMS]
            # no man sees a man
            if len(nouns) == len(set(nouns)) and len(made.english) <= MOST_WORDS + 1:
                yield made


def sample_pairs(n: int, *, seed: int) -> list[SentencePair]:
    """Return ``n`` distinct pairs, the same for the same ``seed`` everywhere.

    Raises ValueError unless 1 <= n <= MOST_PAIRS.
    """
    checks.require(1 <= n <= MOST_PAIRS, f"n is {n}, expected 1 to {MOST_PAIRS}")
    found: dict[tuple[str, ...], SentencePair] = {}
    for candidate in sentences(random.Random(seed)):
        found.setdefault(candidate.english, candidate)
        if len(found) == n:
            break
    return list(found.values())


def sample_phrases(n: int = 6_000, *, seed: int = 0) -> list[tuple[str, str]]:
    """Return ``n`` noun phrases as English and French text, "two red apples"; some come twice."""
    rng = random.Random(seed)
    found: list[tuple[str, str]] = []
    while len(found) < n:
        noun, plural = rng.choice(lexicon.NOUNS), rng.random() < 0.4
        if plural and not noun.plurals:
            continue
        phrase = polish(noun_phrase(rng, noun, plural=plural, share=0.75).phrase)
        english, french = detokenise(phrase.english), detokenise(phrase.french)
        found.append((english[:1].lower() + english[1:], french[:1].lower() + french[1:]))
    return found
