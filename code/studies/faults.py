"""The faults of the page "My Transformer does not learn", the checks that find them, the runs.

A fault is a function or a class that takes the place of one of the book's: ``with fault("no
scale"): ...`` puts it there and takes it away again.  A check returns how far something is from
what it should be.  ``python -m studies.faults reversal --seed 1`` trains a small model under each
fault and writes ``reversal-1.jsonl``: a line that says what ran, then a line for each of them.
``beam --seed 1`` trains it for a shorter time and lets it search with a beam.
"""

import math
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from itertools import repeat
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from scratch import attention, datasets, language_model, residual, training, transformer
from scratch.datasets import Batch, Example, pad_rows
from scratch.decoder import Decoder, DecoderMasks, LayerCache
from scratch.encoder import Maps
from scratch.language_model import LanguageModel, LanguageModelConfig, Vocabulary, language_loss
from scratch.residual import LayerNorm
from scratch.search import beam_search, extend_beams, greedy_search, start_beams
from scratch.training import TrainingConfig, count_tokens, make_optimizer, training_steps
from scratch.transformer import DecoderState, Transformer, TransformerConfig
from scratch.variants import rotate
from studies.recording import computed_on, main

__all__ = [
    "CAUGHT",
    "CHECKS",
    "FAULTS",
    "MODELS",
    "CopiedTables",
    "ForgetfulState",
    "MaskedInEvaluation",
    "MaskedInTraining",
    "NeverStepped",
    "WrongVariance",
    "by_heart",
    "cached_and_fresh_differ",
    "fault",
    "future_moves_past",
    "learn",
    "learn_to_repeat",
    "mask_after_softmax",
    "no_scale",
    "padding_moves_loss",
    "record",
    "renormalised",
    "rotate_halves",
    "score_padding",
    "shift_by",
    "small_model",
    "train_rows",
    "without_gradient",
    "write",
]

# The faults.


def mask_after_softmax(
    query: Tensor, key: Tensor, value: Tensor, *, mask: Tensor, dropout: float
) -> Tensor:
    """Hide weights that have had their share of the sum."""
    weights = (query / math.sqrt(query.shape[-1]) @ key.mT).softmax(dim=-1)
    return weights.masked_fill(~mask, 0.0) @ value


def renormalised(
    query: Tensor, key: Tensor, value: Tensor, *, mask: Tensor, dropout: float
) -> Tensor:
    """Do the same, and let what is left sum to 1 again."""
    weights = (query / math.sqrt(query.shape[-1]) @ key.mT).softmax(dim=-1)
    weights = weights.masked_fill(~mask, 0.0)
    return weights / weights.sum(dim=-1, keepdim=True) @ value


def shift_by(examples: Sequence[Example], pad_id: int, *, by: int) -> Batch:
    """Pad as chapter 11 does, and let labels be ``by`` tokens ahead; 1 is right."""
    source = pad_rows([e.source for e in examples], pad_id)
    target = pad_rows([e.target for e in examples], pad_id)
    return Batch(source, target[:, : target.shape[1] - by], target[:, by:])


def no_scale(query: Tensor, key: Tensor, value: Tensor, *, mask: Tensor, dropout: float) -> Tensor:
    """Let the scores grow with the width of a head."""
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=1.0)


class WrongVariance(LayerNorm):
    """Divides by D - 1, and adds eps outside the root."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x`` (..., D)."""
        normal = (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + self.eps)
        return normal * self.scale + self.shift


def score_padding(model: Transformer, batch: Batch, smoothing: float) -> Tensor:
    """Ask for <pad> after <pad>, as if it were a word."""
    logits = model(batch.source, batch.target)
    return training.label_smoothed_loss(logits.flatten(0, 1), batch.labels.flatten(), smoothing)


class MaskedInTraining(Decoder):
    """Hides the future while it trains, and at no other time."""

    when = True

    def forward(
        self, x: Tensor, cache: list[LayerCache], masks: DecoderMasks, *, need_weights: bool = False
    ) -> tuple[Tensor, Maps, Maps]:
        """Map ``x`` (B, T, D) to (B, T, D)."""
        seen = masks if self.training == self.when else replace(masks, target=None)
        return super().forward(x, cache, seen, need_weights=need_weights)


class MaskedInEvaluation(MaskedInTraining):
    """Hides the future at all times but in training."""

    when = False


class ForgetfulState(DecoderState):
    """Makes room for the outputs of a beam, and does not follow them."""

    def select(self, rows: Tensor) -> DecoderState:
        """Return the state of ``rows``, if they are more than it has."""
        return self if len(rows) == len(self.memory_mask) else super().select(rows)


def rotate_halves(x: Tensor, *, start: int = 0) -> Tensor:
    """Turn features i and i + K/2 together, where :func:`rotate` turns 2i and 2i + 1."""
    pairs = torch.arange(x.shape[-1]).view(2, -1).T.flatten()  # 0, K/2, 1, K/2 + 1, ...
    return rotate(x[..., pairs], start=start)[..., pairs.argsort()]


class NeverStepped(TrainingConfig):
    """Stays at the rate of the first step."""

    def rate(self, step: int) -> float:
        """Return the rate of step 1."""
        return super().rate(1)


class CopiedTables(Transformer):
    """Begins with equal tables instead of one."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(replace(config, tie_embeddings=False))
        for table in (self.target_embedding, self.output):
            table.load_state_dict(self.source_embedding.state_dict())


HERE = sys.modules[__name__]
FAULTS: dict[str, tuple[object, str, Callable[..., Any]]] = {  # what takes the place of what
    "mask after softmax": (attention, "fused_attention", mask_after_softmax),
    "mask after softmax, renormalised": (attention, "fused_attention", renormalised),
    "labels not shifted": (datasets, "collate", partial(shift_by, by=0)),
    "labels shifted twice": (datasets, "collate", partial(shift_by, by=2)),
    "no scale": (attention, "fused_attention", no_scale),
    "wrong variance": (residual, "LayerNorm", WrongVariance),
    "padding trained on": (training, "batch_loss", score_padding),
    "causal mask only in training": (transformer, "Decoder", MaskedInTraining),
    "causal mask only in evaluation": (transformer, "Decoder", MaskedInEvaluation),
    "cache not reordered": (transformer, "DecoderState", ForgetfulState),
    "rotation of halves": (language_model, "rotate", rotate_halves),
    "rate never stepped": (HERE, "TrainingConfig", NeverStepped),
    "tables copied": (HERE, "Transformer", CopiedTables),
}


def fault(name: str) -> AbstractContextManager[object]:
    """Return what puts the fault ``name`` in its place for a while; "none" changes nothing."""
    return nullcontext() if name == "none" else patch.object(*FAULTS[name])


# The task: words come out in reverse order.

WORDS = ["a", "the", "small", "big", "cat", "dog", "sees", "red", "bicycle"]
VOCABULARY = Vocabulary([WORDS])
SENTENCE = "the small cat sees the red bicycle"
STEPS, ROWS, RATE, WARMUP, EVERY, TESTED = 400, 24, 1e-2, 60, 20, 500
UNSURE = 140  # steps after which a fifth to a half of the rows come out right


def example(words: Sequence[str]) -> Example:
    """Return ``words`` and their reverse as ids."""
    return Example(VOCABULARY.encode(words)[1:], VOCABULARY.encode(words[::-1]))


def train_rows(n: int, seed: int) -> list[Example]:
    """Draw ``n`` rows of three to seven words."""
    draw = random.Random(seed)
    return [example(draw.choices(WORDS, k=draw.randint(3, 7))) for _ in range(n)]


EIGHT = [example(SENTENCE.split()), *train_rows(7, seed=0)]


def small_model(seed: int = 0, *, d_model: int = 32, n_heads: int = 4) -> Transformer:
    """Return an untrained model with a layer on each side."""
    torch.manual_seed(seed)
    sizes = (len(VOCABULARY), d_model, n_heads, 2 * d_model, 1, 1)
    return Transformer(TransformerConfig(*sizes, dropout=0.0, max_len=32))


def learn(
    parts: Iterable[list[Example]], steps: int, seed: int = 0, **sizes: int
) -> tuple[Transformer, list[float]]:
    """Train a small model on one of ``parts`` a step; return it and the losses."""
    model = small_model(seed, **sizes)
    config = TrainingConfig(steps, 1, RATE, WARMUP, "linear", label_smoothing=0.0, seed=seed)
    stream = ((1, datasets.collate(part, 0)) for part in parts)
    run = training_steps(
        model, [stream], make_optimizer(model), config, loss_of=training.batch_loss
    )
    losses = [step.loss for step in run]
    return model.eval(), losses


def write(model: Transformer, rows: Sequence[Example]) -> list[list[str]]:
    """Return the words that ``model`` writes for each of ``rows``."""
    found = greedy_search(model, pad_rows([row.source for row in rows], 0))
    return [VOCABULARY.decode(hypothesis.tokens) for hypothesis in found]


def right(model: Transformer, rows: Sequence[Example]) -> int:
    """Return how many of ``rows`` come out in reverse order."""
    wanted = [VOCABULARY.decode(row.target) for row in rows]
    return sum(a == b for a, b in zip(write(model, rows), wanted, strict=True))


def by_heart(steps: int = 100) -> tuple[float, int]:
    """Train on eight rows; return the last loss, and how many of them come out right."""
    model, losses = learn(repeat(EIGHT), steps)
    return losses[-1], right(model, EIGHT)


def learn_to_repeat(steps: int = 150, seed: int = 0) -> tuple[LanguageModel, Batch]:
    """Train a rotary language model on three words said over and over; return it and a test."""
    torch.manual_seed(seed)
    config = LanguageModelConfig(
        len(VOCABULARY), 32, 2, 2, 96, 1, 32, positions="rotary", norm="pre"
    )
    model, settings = LanguageModel(config), TrainingConfig(steps, 1, RATE, 30, "linear", 0.0)
    draw = torch.Generator().manual_seed(seed)

    def batch(rows: int) -> Batch:
        ids = torch.randint(3, len(VOCABULARY), (rows, 3), generator=draw).repeat(1, 6)
        return Batch(ids[:, :1], ids[:, :-1], ids[:, 1:])

    stream = ((1, batch(16)) for _ in repeat(None))
    for _ in training_steps(
        model, [stream], make_optimizer(model), settings, loss_of=language_loss
    ):
        pass
    return model.eval(), batch(100)


# The checks.


def first_loss(model: Transformer) -> float:
    """Return by how much the loss of an untrained model exceeds log V."""
    loss = training.batch_loss(model, datasets.collate(EIGHT, 0), 0.0)
    return loss.item() - math.log(len(VOCABULARY))


def future_moves_past(model: Transformer) -> float:
    """Return how far past logits move when the last target token becomes another one."""
    source, target = torch.tensor([EIGHT[0].source]), torch.tensor([EIGHT[0].target])
    other = target.clone()
    other[:, -1] = 3  # a word in the place of <eos>
    moved = model(source, other) - model(source, target)
    return moved[:, :-1].abs().max().item()


def padding_moves_loss(model: Transformer) -> float:
    """Return how far the loss of a padded batch is from that of its rows, one by one."""
    rows = [datasets.collate([row], 0) for row in EIGHT]
    tokens = [count_tokens(row, 0) for row in rows]
    alone = [training.batch_loss(model, row, 0.0).item() for row in rows]
    mean = sum(n * loss for n, loss in zip(tokens, alone, strict=True)) / sum(tokens)
    return abs(training.batch_loss(model, datasets.collate(EIGHT, 0), 0.0).item() - mean)


@torch.inference_mode()
def cached_and_fresh_differ(model: Transformer, source: Tensor) -> list[float]:
    """Score all outputs of a beam again, in one pass without a cache; return the differences."""
    beams, differences = start_beams(model, source, 4), []
    while not beams.all_done():
        extend_beams(model, beams, 0.6)  # the length penalty of chapter 13
    for found in beams.ended[0]:
        ids = torch.tensor([[model.config.bos_id, *found.tokens, model.config.eos_id]])
        log_probs = model(source, ids[:, :-1]).log_softmax(dim=-1)
        again = log_probs.gather(2, ids[:, 1:, None]).sum().item()
        differences.append(abs(found.log_prob - again))
    return differences


def without_gradient(model: Transformer) -> int:
    """Return how many parameters a backward pass leaves without a gradient."""
    training.batch_loss(model, datasets.collate(EIGHT, 0), 0.0).backward()
    return sum(p.grad is None or not p.grad.any() for p in model.parameters())


def far_from_pytorch() -> float:
    """Return how far attention, LayerNorm and rotation are from PyTorch's own."""
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 4, 8).unbind()
    mask = attention.causal_mask(4)[0]
    heads = attention.fused_attention(q, k, v, mask=mask, dropout=0.0)
    turn = torch.polar(torch.ones(4, 4), torch.outer(torch.arange(4), 10 ** -torch.arange(4.0)))
    turned = torch.view_as_complex(q.unflatten(-1, (-1, 2))) * turn
    pairs = (
        (heads, F.scaled_dot_product_attention(q, k, v, attn_mask=mask)),
        (residual.LayerNorm(8)(v), F.layer_norm(v, (8,))),
        (residual.LayerNorm(8)(v / 1e3), F.layer_norm(v / 1e3, (8,))),  # here eps counts
        (language_model.rotate(q), torch.view_as_real(turned).flatten(-2)),
    )
    return max((ours - theirs).abs().max().item() for ours, theirs in pairs)


def parameters_too_many() -> int:
    """Return how many values the small model trains beyond those counted with a pencil."""
    D, V = 32, len(VOCABULARY)
    attentions, networks, norms = 3 * 4 * D * (D + 1), 2 * (4 * D * D + 3 * D), 5 * 2 * D
    return transformer.count_parameters(small_model()) - V * D - attentions - networks - norms


def in_both_modes(check: Callable[[Transformer], float]) -> float:
    """Return the larger result of ``check`` in training mode and in evaluation mode."""
    return max(check(small_model().train()), check(small_model().eval()))


CHECKS: dict[str, tuple[Callable[[], float], float]] = {  # and what is still right
    "by heart": (lambda: len(EIGHT) - by_heart()[1], 0),
    "first loss": (lambda: abs(first_loss(small_model()) - 1.0), 1.0),
    "future": (lambda: in_both_modes(future_moves_past), 1e-5),
    "padding": (lambda: in_both_modes(padding_moves_loss), 1e-5),
    "cache": (
        lambda: max(cached_and_fresh_differ(small_model().eval(), torch.tensor([EIGHT[0].source]))),
        1e-3,
    ),
    "gradient": (lambda: without_gradient(small_model()), 0),
    "PyTorch": (far_from_pytorch, 1e-5),
    "count": (parameters_too_many, 0),
}

CAUGHT = {  # the check that the page names; one fault does no harm, and no check finds it
    "mask after softmax": "future",
    "labels not shifted": "by heart",
    "labels shifted twice": "by heart",
    "no scale": "PyTorch",
    "wrong variance": "PyTorch",
    "padding trained on": "padding",
    "causal mask only in training": "future",
    "causal mask only in evaluation": "future",
    "cache not reordered": "cache",
    "rotation of halves": "PyTorch",
    "rate never stepped": "by heart",
    "tables copied": "count",
}

# The runs.

MODELS: dict[str, dict[str, int]] = {
    "4 heads of 8": {},
    "1 head of 64": {"d_model": 64, "n_heads": 1},
}
NOT_TRAINED = ("cache not reordered", "rotation of halves")  # they hurt a model that is trained
RUNS = [
    *((name, "4 heads of 8") for name in ("none", *FAULTS) if name not in NOT_TRAINED),
    *((name, "1 head of 64") for name in ("none", "no scale")),
]


def fresh_rows(seed: int) -> Iterator[list[Example]]:
    """Yield the rows of one step after another, for ever."""
    draw = random.Random(seed)
    return (train_rows(ROWS, draw.randrange(2**32)) for _ in repeat(None))


def run_one(name: str, sizes: str, seed: int, *, steps: int) -> dict[str, Any]:
    """Train under the fault ``name`` and use the model under it; return the line of the log."""
    with fault(name):
        model, losses = learn(fresh_rows(seed), steps, seed, **MODELS[sizes])
        tested = train_rows(TESTED, 2**32 + seed)  # no seed that was trained with
        with torch.inference_mode():
            loss = training.batch_loss(model, datasets.collate(tested, 0), 0.0).item()
        means = torch.tensor(losses).view(-1, EVERY).mean(1).tolist()
        return {
            "fault": name,
            "model": sizes,
            "right": right(model, tested),
            "loss": float(f"{loss:.4g}"),
            "written": " ".join(write(model, EIGHT[:1])[0]),
            "losses": [float(f"{mean:.4g}") for mean in means],
        }


def beam_line(name: str, model: Transformer, seed: int) -> dict[str, Any]:
    """Let ``model`` search with a beam of four under the fault ``name``; return the line."""
    rows = train_rows(TESTED, 2**32 + seed)
    with fault(name):
        found = beam_search(model, pad_rows([row.source for row in rows], 0), beam_size=4)
    good = sum(h.tokens == row.target[1:-1] for h, row in zip(found, rows, strict=True))
    return {"fault": name, "greedy": right(model, rows), "beam": good}


def record(name: str, seed: int) -> Iterator[dict[str, Any]]:
    """Yield the lines of a log: a header, then the runs."""
    sizes = {"rows": ROWS, "rate": RATE, "warmup": WARMUP, "tested": TESTED}
    steps = STEPS if name == "reversal" else UNSURE
    yield {"name": name, "seed": seed, "steps": steps, **sizes, **computed_on()}
    if name == "beam":
        model, _ = learn(fresh_rows(seed), steps, seed)
        yield from (beam_line(faulty, model, seed) for faulty in ("none", "cache not reordered"))
        return
    for faulty, shape in tqdm(RUNS, desc=name, unit="run"):
        yield run_one(faulty, shape, seed, steps=STEPS)


if __name__ == "__main__":
    raise SystemExit(main("faults", ("reversal", "beam"), record))
