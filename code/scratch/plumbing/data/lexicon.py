"""The words of the bilingual grammar: what they are called, how they bend, what they go with.

Tables only; :mod:`scratch.plumbing.data.grammar` makes sentences of them.  A noun has tags; an
adjective and a verb name the tags (or the English nouns themselves) that they go with, so that
nobody drinks a train.  Every French word that begins with "h" has a mute one: it elides like a
vowel.
"""

from dataclasses import dataclass
from functools import cache

__all__ = [
    "ADJECTIVES",
    "AVOIR",
    "BE",
    "BE_IMPERFECT",
    "BE_PAST",
    "BE_PRESENT",
    "CLITICS",
    "COLOURS",
    "DATIVES",
    "DETERMINERS",
    "MODALS",
    "NOUNS",
    "NOUN_FORMS",
    "NUMERALS",
    "POSSESSIVES",
    "PREPOSITIONS",
    "PRONOUNS",
    "SCENES",
    "SEQUELS",
    "THERE",
    "TIMES",
    "VERBS",
    "Adjective",
    "Clitics",
    "Noun",
    "Preposition",
    "Verb",
    "adjectives_for",
    "noun_named",
    "nouns_for",
    "places_for",
    "verb_named",
    "weights",
]

Clitics = tuple[tuple[str, str, tuple[int, ...]], ...]

ANYWHERE, AROUND = "in at by", "in at by front tree"
FUTURE = ("ai", "a", "ons", "ez", "ont")  # endings for je, il, nous, vous, ils


@dataclass(frozen=True)
class Noun:
    """One noun; ``plurals`` is empty for a noun without a plural."""

    english: str
    french: str
    feminine: bool
    tags: frozenset[str]
    plurals: tuple[str, ...]


@dataclass(frozen=True)
class Adjective:
    """``french`` holds masculine, feminine, their plurals, and the masculine before a vowel."""

    english: str
    french: tuple[str, str, str, str, str]
    before: bool
    tags: frozenset[str]


@dataclass(frozen=True)
class Verb:
    """``english`` holds base, third person, past and -ing; persons are I, he, we, you, they."""

    english: tuple[str, str, str, str]
    particle: str
    infinitive: str
    present: tuple[str, ...]
    stem: str
    participle: str
    subjects: str
    objects: str
    flags: frozenset[str]
    preposition: str = ""
    places: str = ""

    @property
    def name(self) -> str:
        """What a table calls it, "look at"."""
        return f"{self.english[0]} {self.particle}".strip()

    @property
    def future(self) -> tuple[str, ...]:
        """The five persons of the futur simple."""
        return tuple(self.stem + ending for ending in FUTURE)


@dataclass(frozen=True)
class Preposition:
    """``tags`` name the nouns that may follow."""

    english: str
    french: str
    tags: str


def _nouns(table: str) -> tuple[Noun, ...]:
    """Parse ``english plural | french plural gender | tags``; plural "-" for none, "s" regular."""
    nouns = []
    for line in table.strip().splitlines():
        english, french, tags = (cell.split() for cell in line.split("|"))
        plurals = tuple(
            word + "s" if plural == "s" else plural
            for word, plural in (english, french[:2])
            if plural != "-"
        )
        all_tags = frozenset([*tags, english[0]])
        nouns.append(Noun(english[0], french[0], french[2] == "f", all_tags, plurals))
    return tuple(nouns)


NOUNS = _nouns(
    """
man men          | homme s m           | person adult
woman women      | femme s f           | person adult lady
boy s            | garçon s m          | person child
girl s           | fille s f           | person child lady
child children   | enfant s m          | person child lady
teacher s        | professeur s m      | person adult role own
student s        | étudiant s m        | person role
doctor s         | médecin s m         | person adult role own
friend s         | ami s m             | person role own
neighbour s      | voisin s m          | person adult role own
brother s        | frère s m           | person own kin
sister s         | sœur s f            | person own kin
mother -         | mère - f            | person own kin
father -         | père - m            | person own kin
actress actresses| actrice s f         | person adult lady
cat s            | chat s m            | animal pet own
dog s            | chien s m           | animal pet own
horse s          | cheval chevaux m    | animal beast own
bird s           | oiseau oiseaux m    | animal
cow s            | vache s f           | animal beast own
mouse mice       | souris souris f     | animal
apple s          | pomme s f           | food fruit feed own
orange s         | orange s f          | food fruit own
tomato tomatoes  | tomate s f          | food fruit own
egg s            | œuf s m             | food own
cake s           | gâteau gâteaux m    | food own
bread -          | pain - m            | food feed own mass
cheese -         | fromage - m         | food own mass
soup -           | soupe - f           | food own mass
water -          | eau - f             | drink feed mass
milk -           | lait - m            | drink feed own mass
coffee -         | café - m            | drink own mass
tea -            | thé - m             | drink own mass
car s            | voiture s f         | vehicle private road own
bicycle s        | vélo s m            | vehicle private cycle own
motorcycle s     | moto s f            | vehicle private cycle own
bus buses        | bus bus m           | vehicle road line
train s          | train s m           | vehicle line
boat s           | bateau bateaux m    | vehicle private own
plane s          | avion s m           | vehicle line
truck s          | camion s m          | vehicle private road own
book s           | livre s m           | reading portable own
letter s         | lettre s f          | reading portable own
newspaper s      | journal journaux m  | reading portable own
story stories    | histoire s f        | reading own
hat s            | chapeau chapeaux m  | clothes portable own
dress dresses    | robe s f            | clothes own
coat s           | manteau manteaux m  | clothes portable own
shirt s          | chemise s f         | clothes own
table s          | table s f           | furniture own
chair s          | chaise s f          | furniture own
key s            | clé s f             | portable own
bag s            | sac s m             | portable own holder
box boxes        | boîte s f           | portable own holder
ball s           | ballon s m          | portable own
flower s         | fleur s f           | portable
cup s            | tasse s f           | portable own dish
glass -          | verre - m           | portable own dish
computer s       | ordinateur s m      | machine own
door s           | porte s f           | opening
window s         | fenêtre s f         | opening
house s          | maison s f          | place in by front building own
garden s         | jardin s m          | place in by out own
park -           | parc - m            | place in by out
street -         | rue - f             | place in out
kitchen -        | cuisine - f         | place in own
village -        | village - m         | place in by out home
market -         | marché - m          | place at by out
station -        | gare - f            | place at by front building
school -         | école - f           | place at by front building own
restaurant s     | restaurant s m      | place at by front building
hotel s          | hôtel s m           | place at by front building
church churches  | église s f          | place by front building
museum -         | musée - m           | place at by front building
beach -    | plage - f           | place at by out
bridge s         | pont s m            | place by
river -          | rivière - f         | place by
tree s           | arbre s m           | place by
"""
)


def _adjectives(table: str) -> tuple[Adjective, ...]:
    """Parse lines ``english | french forms | < or > | tags``; "<" stands before its noun."""
    adjectives = []
    for line in table.strip().splitlines():
        english, forms, side, tags = (cell.strip() for cell in line.split("|"))
        m, f, mp, fp, vowel = (*forms.split(), "", "", "", "")[:5]
        f = f or (m if m.endswith("e") else m + "e")
        mp, fp = mp or (m if m[-1] in "sx" else m + "s"), fp or f + "s"
        french = (m, f, mp, fp, vowel or m)
        adjectives.append(Adjective(english, french, side == "<", frozenset(tags.split())))
    return tuple(adjectives)


ADJECTIVES = _adjectives(
    """
small       | petit                                     | < | brother sister animal vehicle \
    portable child fruit egg cake house garden village kitchen furniture opening restaurant \
    hotel church school museum bridge tree river station computer park
big         | grand                                     | < | egg animal car boat truck plane \
    bag box ball cake house garden kitchen village park market station school restaurant hotel \
    museum  tree table window door river beach church bridge
beautiful   | beau belle beaux belles bel               | < | lady animal flower dress hat coat \
    shirt car boat house garden park village church hotel beach tree bridge story letter table \
    museum kitchen river
old         | vieux vieille vieux vieilles vieil        | < | adult mother father friend animal \
    vehicle reading clothes furniture machine opening building bridge tree village bag box key \
    street
young       | jeune                                     | < | adult student brother sister pet \
    beast
new         | nouveau nouvelle nouveaux nouvelles nouvel| < | role vehicle clothes book \
    computer house hotel  restaurant school kitchen station bridge bag chair table key museum
good        | bon bonne                                 | < | apple orange tomato cake bread \
    cheese soup coffee tea book newspaper story friend teacher student doctor restaurant hotel
long        | long longue                               | < | letter story street bridge river \
    train book
red         | rouge                                     | > | car cycle bus truck boat apple \
    tomato flower clothes bag box ball furniture opening cup bird
green       | vert                                      | > | apple tomato car cycle bus truck \
    boat bag box ball clothes opening bird cup
blue        | bleu                                      | > | car cycle bus truck boat train \
    clothes flower bag box ball furniture opening cup bird
black       | noir                                      | > | pet beast bird car cycle truck \
    clothes bag box cup
white       | blanc blanche                             | > | egg pet beast bird mouse car \
    cycle bus boat truck plane clothes flower house church bag cup furniture
yellow      | jaune                                     | > | car cycle bus flower clothes ball \
    bag bird apple
fast        | rapide                                    | > | car cycle train boat plane horse dog
clean       | propre                                    | > | clothes car bus train furniture \
    dish window kitchen street beach restaurant  hotel
dirty       | sale                                      | > | clothes road cycle furniture dish \
    window kitchen street bag pet
happy       | heureux heureuse                          | > | person
sad         | triste                                    | > | person story dog
tired       | fatigué                                   | > | person pet beast
famous      | célèbre                                   | > | actress man woman doctor book \
    story museum restaurant hotel bridge
expensive   | cher chère                                | > | private fruit flower clothes \
    computer furniture restaurant hotel book cake cheese bag
empty       | vide                                      | > | bag box dish bus train house \
    street church station restaurant boat
hot         | chaud                                     | > | soup water coffee tea milk bread
cold        | froid                                     | > | soup coffee milk water tea
interesting | intéressant                               | > | reading museum village
"""
)
NOUN_FORMS = frozenset(form for n in NOUNS for form in (n.english, *n.plurals[:1]))
COLOURS = ("red", "green", "blue", "black", "white", "yellow")


def _verbs(table: str) -> tuple[Verb, ...]:
    """Parse lines ``english | french | subjects | objects | flags``, see the table."""
    verbs = []
    for line in table.strip().splitlines():
        english, french, subjects, objects, flags, places = (c.strip() for c in line.split("|"))
        base, third, past, ing, particle = (*english.split(), "")[:5]
        infinitive, participle, stem, *present = french.split()
        infinitive, _, preposition = infinitive.partition("+")
        if len(present) == 1:  # a regular verb in -er
            present = [present[0] + ending for ending in ("e", "e", "ons", "ez", "ent")]
        where = places.strip("-").replace("any", ANYWHERE).replace("around", AROUND)
        forms = ((base, third, past, ing), particle, infinitive, tuple(present), stem, participle)
        verbs.append(Verb(*forms, subjects, objects, frozenset(flags.split()), preposition, where))
    return tuple(verbs)


# English: base, third person, past, -ing, particle.  French: infinitive(+preposition), participle,
# stem of the future, present (a stem, or five persons).
# Flags: timeless = no past; now = no future; state = no "is -ing"; calm = no can, want, must;
# etre = passé composé with être; definite = no "a" or "some" after it; one = singular object;
# daily = "every day" makes sense; who = its object may be a pronoun; to = gives to somebody;
# lead = a place belongs to it; out = happens outside.
# Places: tags of the places where it happens ("-" for none), or where it leads, after "to", "from".
VERBS = _verbs(
    """
see sees saw seeing        | voir vu verr vois voit voyons voyez voient | person animal | \
    person animal vehicle reading clothes portable building place | state who | around
eat eats ate eating        | manger mangé manger mange mange mangeons mangez mangent | person | \
    food | daily | any
drink drinks drank drinking| boire bu boir bois boit buvons buvez boivent | person | drink | \
    daily | any
read reads read reading    | lire lu lir lis lit lisons lisez lisent | person | reading | daily \
    | any
write writes wrote writing | écrire écrit écrir écris écrit écrivons écrivez écrivent | person \
    | letter story book | | any
buy buys bought buying     | acheter acheté achèter achète achète achetons achetez achètent | \
    person | food drink private clothes book newspaper furniture bag flower dish computer key \
    ball | | market
sell sells sold selling    | vendre vendu vendr vends vend vendons vendez vendent | person | \
    food private clothes book newspaper furniture flower dish computer bag horse cow | | market
take takes took taking     | prendre pris prendr prends prend prenons prenez prennent | person \
    | portable line | | -
find finds found finding   | trouver trouvé trouver trouv | person | portable pet clothes | \
    state | any
lose loses lost losing     | perdre perdu perdr perds perd perdons perdez perdent | person | \
    portable coat cat dog | state calm | any
open opens opened opening  | ouvrir ouvert ouvrir ouvre ouvre ouvrons ouvrez ouvrent | person | \
    opening holder letter book | | -
close closes closed closing| fermer fermé fermer ferm | person | opening holder book | | -
wash washes washed washing | laver lavé laver lav | person | clothes car truck cycle bus fruit \
    dish window dog | | garden kitchen river
wear wears wore wearing    | porter porté porter port | person | clothes | one daily | at
drive drives drove driving | conduire conduit conduir conduis conduit conduisons conduisez \
    conduisent | person | road | one daily out | street
repair repairs repaired repairing | réparer réparé réparer répar | person | vehicle furniture \
    computer opening | out | garden street
look looks looked looking at | regarder regardé regarder regard | person pet | person animal \
    vehicle reading clothes portable building river tree flower | who | any
wait waits waited waiting for | attendre attendu attendr attends attend attendons attendez \
    attendent | person | person line letter | who daily | at by
listen listens listened listening to | écouter écouté écouter écout | person | person story \
    bird | who daily | any
look looks looked looking for | chercher cherché chercher cherch | person | person pet portable \
    clothes station hotel restaurant school  | who | any
ride rides rode riding     | rouler+sur roulé rouler roul | person | cycle | one daily out | \
    park street by
love loves loved loving    | aimer aimé aimer aim | person | person pet horse reading garden \
    village house dress car | state definite calm who | -
know knows knew knowing    | connaître connu connaîtr connais connaît connaissons connaissez \
    connaissent | person | person story restaurant hotel village museum | state timeless now calm \
    who | -
help helps helped helping  | aider aidé aider aid | person | person | who daily | around
give gives gave giving     | donner donné donner donn | person | portable food | to | -
follow follows followed following | suivre suivi suivr suis suit suivons suivez suivent | \
    person pet beast | person animal road | who out | in
have has had having        | avoir eu aur ai a avons avez ont | person | portable private pet \
    horse clothes computer house garden friend | state timeless calm | -
work works worked working  | travailler travaillé travailler travaill | person | | daily | around
sleep sleeps slept sleeping| dormir dormi dormir dors dort dormons dormez dorment | person \
    animal | | daily | around
play plays played playing  | jouer joué jouer jou | person pet | | daily | around
sing sings sang singing    | chanter chanté chanter chant | person bird | | daily | around
go goes went going      | aller allé ir vais va allons allez vont | person | | etre daily lead \
    | at
come comes came coming| venir venu viendr viens vient venons venez viennent | person | | etre \
    calm lead | at garden home
stay stays stayed staying  | rester resté rester rest | person animal | | etre daily | around
"""
)

BE = Verb(
    ("be", "is", "was", "being"),
    "",
    "être",
    ("suis", "est", "sommes", "êtes", "sont"),
    "ser",
    "",
    "person animal vehicle portable clothes food drink furniture opening building garden village",
    "",
    frozenset(),
)
# "There is": by tense, for one and for several, and "il y a".
THERE = {
    "present": (("is", "are"), "a"),
    "past": (("was", "were"), "avait"),
    "future": (("will be", "will be"), "aura"),
}
# What there is, and where.
SCENES = (
    ("adult child student animal", AROUND),
    ("vehicle", AROUND),
    ("food drink", "table kitchen"),
    ("portable", "furniture kitchen"),
)
BE_PRESENT = ("am", "is", "are", "are", "are")
BE_PAST = ("was", "was", "were", "were", "were")
BE_IMPERFECT = ("étais", "était", "étions", "étiez", "étaient")
AVOIR = ("ai", "a", "avons", "avez", "ont")

# "She buys an apple and eats it.": what may be done next to what has just been bought.
SEQUELS = {
    "buy": {"eat": "food", "drink": "drink", "read": "book newspaper", "wear": "clothes"},
    "take": {"read": "book letter newspaper", "open": "holder letter", "close": "holder"},
    "find": {"read": "book letter newspaper", "take": "portable", "follow": "animal"},
    "open": {"read": "letter book", "close": "opening holder"},
    "write": {"read": "letter story"},
    "wash": {"eat": "fruit", "sell": "car truck cycle", "wear": "clothes"},
    "repair": {"sell": "private furniture computer", "drive": "road", "wash": "car truck"},
    "look for": {"find": "pet portable"},
    "see": {"buy": "clothes book private bag", "follow": "animal", "take": "portable"},
}

# Masculine, feminine, plural, after the singular and the plural in English.
DETERMINERS = {
    "the": (("the", "the"), ("le", "la", "les")),
    "this": (("this", "these"), ("ce", "cette", "ces")),
}
POSSESSIVES = {
    "my": ("mon", "ma", "mes"),
    "your": ("votre", "votre", "vos"),
    "his": ("son", "sa", "ses"),
    "her": ("son", "sa", "ses"),
    "our": ("notre", "notre", "nos"),
    "their": ("leur", "leur", "leurs"),
}
NUMERALS = {"two": "deux", "three": "trois"}

# Subject pronouns by person; "you" is always "vous", "they" always "ils".
PRONOUNS = {
    0: (("I", "je"),),
    1: (("he", "il"), ("she", "elle")),
    2: (("we", "nous"),),
    3: (("you", "vous"),),
    4: (("they", "ils"),),
}
# Object pronouns, with the persons that cannot be their subject.
CLITICS: Clitics = (
    ("me", "me", (0, 2)),
    ("you", "vous", (3,)),
    ("him", "le", ()),
    ("her", "la", ()),
    ("us", "nous", (0, 2)),
    ("them", "les", ()),
)
DATIVES: Clitics = (
    ("me", "me", (0, 2)),
    ("you", "vous", (3,)),
    ("him", "lui", ()),
    ("her", "lui", ()),
    ("us", "nous", (0, 2)),
    ("them", "leur", ()),
)
MODALS = {
    "can": ("peux", "peut", "pouvons", "pouvez", "peuvent"),
    "must": ("dois", "doit", "devons", "devez", "doivent"),
    "want": ("veux", "veut", "voulons", "voulez", "veulent"),
}
PREPOSITIONS = (
    Preposition("in", "dans", "in"),
    Preposition("at", "à", "at"),
    Preposition("near", "près de", "by"),
    Preposition("in front of", "devant", "front"),
    Preposition("behind", "derrière", "front tree"),
    Preposition("under", "sous", "tree bridge furniture"),
    Preposition("on", "sur", "furniture"),
)
LEADS = {  # the prepositions of the verbs that lead somewhere
    "go": (Preposition("to", "à", "at"),),
    "come": (Preposition("from", "de", "at garden home"),),
}
TIMES = {
    "past": ("yesterday", "hier"),
    "future": ("tomorrow", "demain"),
    "progressive": ("now", "maintenant"),
    "present": ("every day", "tous les jours"),
}


@cache
def nouns_for(tags: str, *, plural: bool = False) -> tuple[Noun, ...]:
    """All nouns that carry one of ``tags``; with ``plural``, those that have a plural."""
    wanted = set(tags.split())
    return tuple(n for n in NOUNS if wanted & n.tags and (n.plurals or not plural))


@cache
def places_for(
    places: str, verb: str = "", *, outside: bool = False
) -> tuple[tuple[Preposition, Noun], ...]:
    """All that ``places`` names, each after prepositions that suit ``verb``; or only outdoors."""
    wanted = set(places.split())
    return tuple(
        (preposition, noun)
        for preposition in LEADS.get(verb, PREPOSITIONS)
        for noun in nouns_for(preposition.tags)
        if wanted & {*preposition.tags.split()} & noun.tags
        or (
            noun.english in wanted
            and (not outside or preposition.english not in ("in", "at") or "out" in noun.tags)
        )
    )


@cache
def adjectives_for(noun: Noun) -> tuple[Adjective, ...]:
    """All adjectives that go with ``noun``."""
    return tuple(a for a in ADJECTIVES if a.tags & noun.tags)


@cache
def weights(adjectives: tuple[Adjective, ...]) -> tuple[float, ...]:
    """How often to choose each adjective: one that few nouns may have is chosen more readily."""
    return tuple(sum(bool(a.tags & n.tags) for n in NOUNS) ** -0.85 for a in adjectives)


@cache
def noun_named(name: str) -> Noun:
    """Return the noun called ``name``."""
    return next(n for n in NOUNS if n.english == name)


@cache
def verb_named(name: str) -> Verb:
    """Return the verb called ``name``, "look at"."""
    return next(v for v in VERBS if v.name == name)
