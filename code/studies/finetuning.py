"""The recorded runs of chapter 14: the small translator learns recipes, in eight ways.

``python -m studies.finetuning rehearsal --seed 1`` makes one.  ``--help`` says more.
"""

import copy
import functools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from scratch.datasets import encode_pairs, grammar
from scratch.finetuning import adapt, add_adapters, merge_adapters, train_only
from scratch.plumbing import checks
from scratch.plumbing.models.storage import load_pretrained
from scratch.plumbing.scoring.scores import corpus_bleu
from scratch.tokens import Tokenizer
from scratch.training import StepRecord, TrainingConfig
from scratch.transformer import Transformer, count_parameters
from scratch.translation import translate_ids
from studies.cooking import recipe_pairs
from studies.recording import computed_on, main

__all__ = ["CONDITIONS", "Condition", "Study", "bleu"]

LOOK_AT = (0, 10, 20, 40, 70, 100)  # the steps at which both domains are translated
EVERY_LINEAR = ("w_query", "w_key", "w_value", "w_output", "expand", "contract")
Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Condition:
    """One way to adapt: its peak rate, what learns, and what is added.

    ``learns`` names the parts that learn; empty is everything, or with a ``rank`` the adapters,
    which learn in any case.
    """

    rate: float
    learns: tuple[str, ...] = ()
    rank: int = 0
    rehearsal: bool = False
    pretrained: bool = True


CONDITIONS = {
    "nothing": Condition(5e-3, pretrained=False),
    "full-high": Condition(5e-3),
    "full-low": Condition(1e-3),
    "embedding": Condition(5e-3, learns=("source_embedding",)),
    "decoder": Condition(5e-3, learns=("decoder",)),
    "adapters": Condition(1e-2, rank=8),
    "adapters-embedding": Condition(5e-3, learns=("source_embedding",), rank=8),
    "rehearsal": Condition(5e-3, rehearsal=True),
}


def bleu(model: Transformer, tokenizer: Tokenizer, pairs: Pairs) -> float:
    """Return sacrebleu's BLEU of greedy translations of ``pairs``, (English, French) texts.

    It is measured on a copy whose adapters are merged, as they would ship; ``model`` stays as it
    is, and may go on learning.
    """
    merged = copy.deepcopy(model).eval()
    merge_adapters(merged)
    sources = [example.source for example in encode_pairs(pairs, tokenizer)]
    found = translate_ids(merged, sources, beam_size=1)
    texts = [tokenizer.decode(hypothesis.tokens) for hypothesis in found]
    return corpus_bleu(texts, [[french] for _, french in pairs])


@functools.cache  # which takes seconds to make
def _grammar_pairs() -> tuple[Pairs, Pairs]:
    """Return 2,000 pairs of the old domain to rehearse, and 100 to test on."""
    splits = grammar()
    parts = (splits.train[:2_000], (*splits.seen[:50], *splits.unseen[:50]))
    old, test = ([(p.english_text, p.french_text) for p in part] for part in parts)
    return old, test


class Study:
    """One condition with one seed: the model, both domains, and the steps with their BLEU."""

    def __init__(self, name: str, seed: int, *, steps: int = 100, n_train: int = 120) -> None:
        checks.one_of("name", name, tuple(CONDITIONS))
        self.condition = condition = CONDITIONS[name]
        self.model, self.tokenizer = load_pretrained("grammar-en-fr")
        torch.manual_seed(seed)
        if not condition.pretrained:
            self.model = Transformer(self.model.config)
        if condition.rank:
            add_adapters(self.model, condition.rank, parts=EVERY_LINEAR)
            for part in condition.learns:
                self.model.get_submodule(part).requires_grad_(True)
        elif condition.learns:
            train_only(self.model, *condition.learns)
        recipes, (old, old_test) = recipe_pairs(n_train, seed=seed), _grammar_pairs()
        self.held_out = {"grammar": old_test, "recipes": recipes.test}
        self.examples = encode_pairs(recipes.train, self.tokenizer)
        self.old = encode_pairs(old, self.tokenizer) if condition.rehearsal else []
        self.config = TrainingConfig(
            steps, 512, condition.rate, warmup_steps=10, schedule="linear", seed=seed
        )

    def steps(self) -> Iterator[StepRecord]:
        """Train; the caller may look at the model between two steps."""
        return adapt(self.model, self.examples, self.config, rehearsed=self.old)

    def look(self) -> dict[str, float]:
        """Return the BLEU of both domains as the model is now."""
        return {
            domain: round(bleu(self.model, self.tokenizer, pairs), 2)
            for domain, pairs in self.held_out.items()
        }


def moved(model: Transformer) -> dict[str, float]:
    """Return how far each part has moved from the shipped model, relative to its length."""
    before = load_pretrained("grammar-en-fr")[0].state_dict()
    merged = copy.deepcopy(model)
    merge_adapters(merged)
    after = merged.state_dict()
    parts = {
        "embedding": ("source_embedding.",),
        "encoder": ("encoder.",),
        "decoder 1": ("decoder.layers.0.",),
        "decoder 2": ("decoder.layers.1.", "decoder.final_norm."),
    }
    result = {}
    for part, prefixes in parts.items():
        names = [name for name in before if name.startswith(prefixes)]
        change = torch.cat([(after[n] - before[n]).flatten() for n in names])
        length = torch.cat([before[n].flatten() for n in names]).norm()
        result[part] = round((change.norm() / length).item(), 4)
    return result


def record(name: str, seed: int) -> Iterator[dict[str, Any]]:
    """Yield the lines of a log: a header, every step's loss, BLEU at some, and the weights."""
    study = Study(name, seed)
    yield {
        "condition": asdict(study.condition),
        "training": study.config.to_dict(),
        "examples": len(study.examples),
        "learning": count_parameters(study.model),
        **computed_on(),
    }
    yield {"step": 0, **study.look()}
    for entry in study.steps():
        seen = study.look() if entry.step in LOOK_AT else {}
        yield {"step": entry.step, "loss": round(entry.loss, 5), **seen}
    yield {"moved": moved(study.model)}


if __name__ == "__main__":
    raise SystemExit(main("finetuning", CONDITIONS, record))
