"""The recorded runs of chapter 14: the small translator learns recipes, each way at several rates.

``python -m studies.finetuning sweep --seed 1`` makes all runs with one seed.  ``--help`` says more.
"""

import copy
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from scratch.datasets import encode_pairs, grammar
from scratch.finetuning import adapt, add_adapters, merge_adapters, train_only
from scratch.plumbing import checks
from scratch.plumbing.models.storage import load_pretrained
from scratch.plumbing.scoring.scores import corpus_bleu
from scratch.tokens import Tokenizer
from scratch.training import StepRecord, TrainingConfig, batch_loss, endless_batches
from scratch.transformer import Transformer, count_parameters
from scratch.translation import translate_ids
from studies.cooking import recipe_pairs
from studies.recording import computed_on, main

__all__ = [
    "SAID",
    "WAYS",
    "Study",
    "Way",
    "grammar_pairs",
    "moved",
    "score",
    "settings",
    "translations",
    "truncated",
]

EVERY_LINEAR = ("w_query", "w_key", "w_value", "w_output", "expand", "contract")
LOOK_AT = (0, 10, 20, 40, 60)  # the steps at which held-out losses and distances are taken
RANKS = (1, 2, 4, 8, 16, 32, 64, 96)
SAID = (  # what every run is asked to translate in the end
    "The small cat sees the red bicycle.",
    "A neighbour went to this station yesterday.",
    "Peel the carrots but do not wash them.",
    "Put the mushrooms in the pan.",
    "Mix the sauce with the soup.",
)
Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Way:
    """One way to adapt: its peak rates, what learns, and what is added.

    ``learns`` names the parts that learn; empty is everything, or with a ``rank`` the adapters,
    which learn in any case.
    """

    rates: tuple[float, ...]
    learns: tuple[str, ...] = ()
    rank: int = 0
    rehearsal: bool = False
    pretrained: bool = True


WAYS = {
    "everything": Way((7e-4, 2e-3, 5e-3)),
    "layers": Way((1e-3, 3e-3, 1e-2), learns=("encoder", "decoder")),
    "adapters": Way((3e-3, 1e-2, 2e-2), rank=8),
    "adapters and matrix": Way((2e-3, 5e-3), learns=("source_embedding",), rank=8),
    "matrix": Way((5e-3,), learns=("source_embedding",)),
    "rehearsal": Way((2e-3, 5e-3), rehearsal=True),
    "from scratch": Way((5e-3,), pretrained=False),
}


def settings(rate: float, seed: int = 1, steps: int = LOOK_AT[-1]) -> TrainingConfig:
    """Return how every run trains: rate up over ten steps, then straight down to nothing."""
    return TrainingConfig(steps, 512, rate, warmup_steps=10, schedule="linear", seed=seed)


def translations(model: Transformer, tokenizer: Tokenizer, sources: Sequence[str]) -> list[str]:
    """Return greedy translations by a copy of ``model`` whose adapters are merged."""
    merged = copy.deepcopy(model).eval()
    merge_adapters(merged)
    ids = [example.source for example in encode_pairs([(s, s) for s in sources], tokenizer)]
    return [tokenizer.decode(h.tokens) for h in translate_ids(merged, ids, beam_size=1)]


def score(model: Transformer, tokenizer: Tokenizer, pairs: Pairs) -> tuple[int, float]:
    """Return how many of ``pairs`` are translated word for word as they stand, and the BLEU."""
    texts = translations(model, tokenizer, [english for english, _ in pairs])
    right = sum(text == french for text, (_, french) in zip(texts, pairs, strict=True))
    return right, corpus_bleu(texts, [[french] for _, french in pairs])


@functools.cache  # which takes seconds to make
def grammar_pairs() -> tuple[Pairs, Pairs]:
    """Return 2,000 pairs of the old domain to rehearse, and 100 to test on."""
    splits = grammar()
    parts = (splits.train[:2_000], (*splits.seen[:50], *splits.unseen[:50]))
    old, test = ([(p.english_text, p.french_text) for p in part] for part in parts)
    return old, test


class Study:
    """One way at one rate with one seed: the model, both domains, and the steps."""

    def __init__(self, name: str, rate: float, seed: int, *, n_train: int = 120) -> None:
        checks.one_of("name", name, tuple(WAYS))
        way = WAYS[name]
        self.model, self.tokenizer = load_pretrained("grammar-en-fr")
        torch.manual_seed(seed)
        if not way.pretrained:
            self.model = Transformer(self.model.config)
        if way.rank:
            add_adapters(self.model, way.rank, parts=EVERY_LINEAR)
            for part in way.learns:
                self.model.get_submodule(part).requires_grad_(True)
        elif way.learns:
            train_only(self.model, *way.learns)
        recipes, (old, old_test) = recipe_pairs(n_train, seed=seed), grammar_pairs()
        self.held_out = {"grammar": old_test, "recipes": recipes.test}
        self.examples = encode_pairs(recipes.train, self.tokenizer)
        self.old = encode_pairs(old, self.tokenizer) if way.rehearsal else []
        self.config = settings(rate, seed)
        whole = TrainingConfig(1, max_tokens=10**6)  # one batch holds all held-out sentences
        self.batches = {
            domain: next(endless_batches(encode_pairs(pairs, self.tokenizer), whole))[1]
            for domain, pairs in self.held_out.items()
        }

    def steps(self) -> Iterator[StepRecord]:
        """Train; the caller may look at the model between two steps."""
        return adapt(self.model, self.examples, self.config, rehearsed=self.old)

    def look(self) -> dict[str, float]:
        """Return the loss per token, not smoothed, on what is held out, and the distances."""
        learning = self.model.training
        self.model.eval()
        with torch.no_grad():
            losses = {d: batch_loss(self.model, b, 0.0).item() for d, b in self.batches.items()}
        self.model.train(learning)
        return {d: round(loss, 4) for d, loss in losses.items()} | moved(self.model)


def moved(model: Transformer) -> dict[str, float]:
    """Return how far the model's layers and its tied matrix are from the shipped ones.

    It is the length of the change, over the length of the shipped weights, adapters merged.
    """
    before = load_pretrained("grammar-en-fr")[0].state_dict()
    merged = copy.deepcopy(model)
    merge_adapters(merged)
    after = merged.state_dict()
    result = {}
    for part, prefixes in (("layers", ("encoder.", "decoder.")), ("matrix", ("source_emb",))):
        names = [name for name in before if name.startswith(prefixes)]
        change = torch.cat([(after[n] - before[n]).flatten() for n in names])
        length = torch.cat([before[n].flatten() for n in names]).norm()
        result[part] = round((change.norm() / length).item(), 4)
    return result


def truncated(before: Transformer, after: Transformer, rank: int) -> tuple[Transformer, float]:
    """Return ``after`` with each matrix's change cut to ``rank``, and the share that this keeps.

    The share is that of the squared length of the change of all matrices.  Vectors, which are
    biases and the scales of norms, keep their change.
    """
    model, kept, whole = copy.deepcopy(after), 0.0, 0.0
    old = dict(before.named_parameters())
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim == 2:
                u, s, v = torch.linalg.svd(p - old[name], full_matrices=False)
                p.copy_(old[name] + u[:, :rank] * s[:rank] @ v[:rank])
                kept, whole = kept + s[:rank].square().sum().item(), whole + s.square().sum().item()
    return model, kept / whole


def scores(study: Study, model: Transformer) -> dict[str, list[float]]:
    """Return for each domain how many of 100 sentences are right, and BLEU."""
    found = {d: score(model, study.tokenizer, pairs) for d, pairs in study.held_out.items()}
    return {domain: [right, round(bleu, 1)] for domain, (right, bleu) in found.items()}


def commands(study: Study) -> int:
    """Return how many of 100 old sentences, none of them a command, are translated as one."""
    sources = [english for english, _ in study.held_out["grammar"]]
    found = translations(study.model, study.tokenizer, sources)
    return sum(text.partition(" ")[0].endswith("ez") for text in found)


def record(name: str, seed: int) -> Iterator[dict[str, Any]]:
    """Yield a header, the scores before, a line for each run, and then one for each rank."""
    yield {"training": settings(0.0001, seed).to_dict(), **computed_on()}
    shipped, _ = load_pretrained("grammar-en-fr")
    for way, rate in [(name, rate) for name in WAYS for rate in WAYS[name].rates]:
        study = Study(way, rate, seed)
        if way == "everything" and rate == WAYS[way].rates[0]:
            yield {"way": "before", **scores(study, shipped)}
        learning, losses = count_parameters(study.model), []
        looks = [{"step": 0, **study.look()}]
        for entry in study.steps():
            losses.append(round(entry.loss, 4))
            if entry.step in LOOK_AT:
                looks.append({"step": entry.step, **study.look()})
        yield {
            "way": way,
            "rate": rate,
            "learning": learning,
            "losses": losses[:20],
            "looks": looks,
            **scores(study, study.model),
            "commands": commands(study),
            "said": translations(study.model, study.tokenizer, SAID),
        }
        if way == "everything" and rate == WAYS[way].rates[-1]:
            for rank in RANKS:
                cut, share = truncated(shipped, study.model, rank)
                yield {"rank": rank, "share": round(share, 4), **scores(study, cut)}


if __name__ == "__main__":
    raise SystemExit(main("finetuning", ("sweep",), record))
