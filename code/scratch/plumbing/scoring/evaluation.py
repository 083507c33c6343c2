"""Test sets by name, or as files; a model's translations of them; what they score."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from scratch.datasets import group_references
from scratch.plumbing import checks
from scratch.plumbing.data.corpora import PAIRS
from scratch.plumbing.data.everyday import EverydaySentence, everyday_sentences, first_inputs
from scratch.plumbing.data.fetch import text_lines
from scratch.plumbing.defaults import BEAM_SIZE, LENGTH_PENALTY
from scratch.plumbing.files import json_object, write_whole
from scratch.plumbing.models.card import CARD, SCORES, card_text
from scratch.plumbing.models.storage import LOG, SHIPPED, WEIGHTS, find_pretrained
from scratch.plumbing.scoring.scores import score_phrases, score_texts

__all__ = ["SETS", "Asked", "Sentences", "evaluate", "load_set", "run_evaluation", "sets_of"]

PHRASES = ("everyday", "first-closed", "first-unseen")  # right or wrong, each
SETS = (*PAIRS["en-fr"].held_out, *PHRASES)  # of English and French
SLICE = {"multi30k-test": 100, "tatoeba-test": 150}  # first sentences, quick to translate again
BATCH = 64  # sentences at a time, as many as `translate` takes
SAMPLES = 1_000  # of sentences, drawn anew, for the interval of a score


@dataclass(frozen=True)
class Asked:
    """What the command line asks for: translations of whom or which, of what, and where to.

    ``model`` is a shipped model or a folder, ``hypotheses`` a file of translations to be scored
    in its place; ``test_set`` one of those of the languages ``pair`` or "all", or ``source`` and
    ``references`` are files.  ``out`` takes the translations, ``json`` the scores; ``record``
    keeps the scores with the model and writes its card again. Raises ValueError for what does not
    go together.
    """

    model: str | None = None
    hypotheses: str | None = None
    test_set: str | None = None
    source: str | None = None
    references: tuple[str, ...] = ()
    out: str | None = None
    json: str | None = None
    record: bool = False
    pair: str = "en-fr"
    beam: int = BEAM_SIZE
    length_penalty: float = LENGTH_PENALTY

    def __post_init__(self) -> None:
        one = (self.model is None) != (self.hypotheses is None)
        checks.require(one, "expected --model, or --hypotheses FILE, and not both")
        checks.one_of("--pair", self.pair, tuple(PAIRS))
        if self.test_set is not None:
            checks.one_of("--set", self.test_set, (*sets_of(self.pair), "all"))
        files = self.source is not None or bool(self.references)
        checks.require(
            not files or (self.test_set is None and bool(self.references)),
            "expected --references with --source, and no --set beside them",
        )
        needs = bool(self.references) and self.source is None and self.model is not None
        checks.require(not needs, "--source is missing, expected a file for --model to translate")
        several = self.test_set == "all" and (self.hypotheses or self.out)
        checks.require(not several, "--set is 'all', expected one set for --hypotheses or --out")
        for name, path in (("--out", self.out), ("--json", self.json)):
            good = path is None or (Path(path).parent.is_dir() and not Path(path).is_dir())
            checks.require(good, f"{name} is {path!r}, expected a file in a folder that exists")
        ships = not self.record or (self.model is not None and self.test_set == "all")
        checks.require(ships, "--record is given, expected --model NAME and --set all with it")


@dataclass(frozen=True)
class Sentences:
    """A test set: ``sources``, and the ``references`` of each.

    ``kind``, "multi30k", "tatoeba", "phrases", "plain" or "files", says how to score it.
    """

    name: str
    sources: list[str]
    references: list[list[str]]
    kind: str = "files"


def sets_of(pair: str) -> tuple[str, ...]:
    """Return the names of the test sets of a pair of languages."""
    return SETS if pair == "en-fr" else tuple(PAIRS[pair].held_out)


def load_set(name: str, pair: str = "en-fr") -> Sentences:
    """Return a test set of :func:`sets_of` a pair; fetches what is not in the cache."""
    checks.one_of("name", name, sets_of(pair))
    if name in PHRASES:
        found = [(s.english, list(s.accepted)) for s in phrases(name)]
        kind = "phrases"
    else:
        read = PAIRS[pair].held_out[name]()
        kind = name.partition("-")[0] if pair == "en-fr" else "plain"
        # a caption has one translation, even if two are alike
        found = [(s, [t]) for s, t in read] if kind == "multi30k" else group_references(read)
    return Sentences(name, [source for source, _ in found], [each for _, each in found], kind)


def phrases(name: str) -> list[EverydaySentence]:
    """Return the sentences of a set in :data:`PHRASES`, each with the French that is right."""
    if name == "everyday":
        return everyday_sentences()
    return [s for s in first_inputs() if s.phenomenon == name.removeprefix("first-")]


def file_set(source: str | None, references: Sequence[str]) -> Sentences:
    """Return the test set of files, one sentence a line; more ``references`` are more files.

    Without a ``source`` it can be scored but not translated.  Raises ValueError when the files
    have different numbers of lines.
    """
    paths = [*([source] if source else []), *references]
    columns = [text_lines(path) for path in paths]
    for path, lines in zip(paths, columns, strict=True):
        there = f"{path} has {len(lines)} lines"
        checks.require(len(lines) > 0, f"{there}, expected one or more")
        same = len(lines) == len(columns[0])
        checks.require(same, f"{there}, expected {len(columns[0])} as {paths[0]} has")
    rows = columns[1:] if source else columns
    return Sentences(
        references[0], columns[0] if source else [], [list(row) for row in zip(*rows, strict=True)]
    )


def read_found(path: str, sentences: Sentences) -> list[str]:
    """Return the translations of a file, one a line, as many as ``sentences`` has."""
    found, expected = text_lines(path), len(sentences.references)
    said = f"{path} has {len(found)} lines, expected {expected} as {sentences.name} has"
    checks.require(len(found) == expected, said)
    return found


def run_evaluation(asked: Asked) -> None:
    """Translate or read, score and print what ``asked`` says, and write where it says."""
    recorded = None if not asked.record else _shipped(asked.model or "")
    sets: dict[str, Any] = {}
    if asked.model is not None:
        find_pretrained(asked.model)  # before anything is fetched
    for sentences in _asked_sets(asked):
        if asked.model is not None:
            found = translate_all(asked.model, sentences, asked.beam, asked.length_penalty)
        else:
            found = read_found(asked.hypotheses or "", sentences)
        sets[sentences.name] = evaluate(sentences, found)
        if asked.out is not None:
            Path(asked.out).write_text("".join(f"{line}\n" for line in found), encoding="utf-8")
    if asked.json is not None:
        write_scores(Path(asked.json), sets, asked)
    if recorded is not None:
        write_scores(recorded / SCORES, sets, asked)
        write_whole(recorded / CARD, card_text(recorded))


def _shipped(name: str) -> Path:
    folder = find_pretrained(name)
    about, log = folder / SHIPPED, folder / LOG
    made = log.is_file() and about.is_file() and "worst" in json_object(about.read_text(), about)
    checks.require(made, f"--model is {name!r}, expected a model that `scratch ship` wrote")
    return folder


def _asked_sets(asked: Asked) -> Iterator[Sentences]:
    if asked.references:
        yield file_set(asked.source, asked.references)
        return
    sets = sets_of(asked.pair)
    usual = "multi30k-test" if "multi30k-test" in sets else sets[-1]
    for name in sets if asked.test_set == "all" else (asked.test_set or usual,):
        yield load_set(name, asked.pair)


def translate_all(model: str, sentences: Sentences, beam: int, penalty: float) -> list[str]:
    """Return what ``python -m scratch translate`` writes for the sources, a bar going along."""
    from tqdm import tqdm

    from scratch.plumbing.scoring.lines import checked_lines, in_blocks, lines_at_a_time
    from scratch.translation import Translator

    translator, found = Translator.from_pretrained(model), list[str]()
    sources = list(checked_lines(translator, sentences.sources, "the sources"))
    block = lines_at_a_time(BATCH, typed=False)  # the batches are the same to the last sentence
    settings = {"beam_size": beam, "length_penalty": penalty, "batch_size": BATCH}
    with tqdm(total=len(sources), desc=sentences.name, unit="sentence") as bar:
        for lines, outputs in in_blocks(translator, sources, block, model=model, **settings):
            found += [" ".join(output.text.split()) for output in outputs]
            bar.update(len(lines))
    return found


def evaluate(sentences: Sentences, found: Sequence[str]) -> dict[str, Any]:
    """Print what ``found`` scores and return it, ready for JSON."""
    print(f"{sentences.name}: {len(found):,} sentences")
    if sentences.kind == "phrases":
        wrong = score_phrases(phrases(sentences.name), found)
        print(f"  right: {len(found) - len(wrong)} of {len(found)}")
        for english, french in wrong:
            print(f"  wrong: {english} -> {french}")
        listed = [{"english": english, "french": french} for english, french in wrong]
        return {"sentences": len(found), "right": len(found) - len(wrong), "wrong": listed}
    published = sentences.kind in ("multi30k", "files")
    scores = score_texts(found, sentences.references, published=published, samples=SAMPLES)
    for name, score in scores.items():
        label = "" if score.text.startswith(f"{name} =") else f"{name}: "
        print(f"  {label}{score.text}  {score.signature}")
    kept = {name: score.to_dict() for name, score in scores.items()}
    return {"sentences": len(found), "scores": kept} | _slice(sentences, found)


def _slice(sentences: Sentences, found: Sequence[str]) -> dict[str, Any]:
    """Return the BLEU of the set's first sentences, which a test computes again."""
    n = SLICE.get(sentences.name)
    if n is None or sentences.kind == "files":
        return {}
    bleu = score_texts(found[:n], sentences.references[:n])["BLEU"]
    return {"first": {"sentences": min(n, len(found)), "BLEU": round(bleu.value, 2)}}


def write_scores(path: Path, sets: dict[str, Any], asked: Asked) -> None:
    """Write the scores of ``sets`` as JSON, and of what model and search they are."""
    about: dict[str, Any] = {"hypotheses": asked.hypotheses}
    if asked.model is not None:
        folder = find_pretrained(asked.model).resolve()
        about = {
            "model": folder.name,
            "weights": hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest(),
            "beam": asked.beam,
            "length_penalty": asked.length_penalty,
        }
    about["versions"] = {part: version(part) for part in ("sacrebleu", "sacremoses", "torch")}
    text = json.dumps(about | {"sets": sets}, indent=1, ensure_ascii=False) + "\n"
    path = path.resolve()  # a link stays one
    if path.exists() and not path.is_file():  # nor is a device or a pipe to be replaced
        path.write_text(text, encoding="utf-8")
        return
    write_whole(path, text)
