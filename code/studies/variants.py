"""The recorded runs of chapter 15: one small task, a switch at a time, several seeds.

``python -m studies.variants rotary --seed 1`` trains the character model with the
switch ``rotary`` and writes ``rotary-1.jsonl``: a first line that says what ran, then the losses,
then what the model wrote.  ``--help`` says more.
"""

import argparse
import json
import platform
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from scratch.datasets import Batch, Example, batches
from scratch.plumbing import checks
from scratch.plumbing.data.grammar import sample_pairs
from scratch.plumbing.files import write_whole
from scratch.training import (
    StepRecord,
    TrainingConfig,
    count_tokens,
    endless_batches,
    make_optimizer,
    training_steps,
)
from scratch.transformer import count_parameters
from scratch.variants import LanguageModel, LanguageModelConfig, Vocabulary, generate, language_loss

__all__ = ["SETTINGS", "VariantRun", "french_texts", "main", "validation_loss", "write_lines"]

ALL = {
    "norm": "pre",
    "norm_kind": "rms",
    "positions": "rotary",
    "feed_forward": "swiglu",
    "n_kv_heads": 2,
}
SETTINGS: dict[str, dict[str, Any]] = {  # what each run changes; the first one changes nothing
    "2017": {},
    "pre-norm": {"norm": "pre"},
    "rmsnorm": {"norm_kind": "rms"},
    "rotary": {"positions": "rotary"},
    "swiglu": {"feed_forward": "swiglu"},
    "two-kv-heads": {"n_kv_heads": 2},
    "one-kv-head": {"n_kv_heads": 1},
    "all": ALL,
    "writer": ALL,  # the same, trained longer
}
SIZES = {"d_model": 64, "n_heads": 4, "d_ff": 192, "n_layers": 2, "max_len": 128}
STEPS = {"writer": 2_000}
N_TRAIN, N_VALIDATION = 8_000, 1_000
EVERY_STEP_UNTIL, THEN_EVERY, VALIDATE_EVERY = 20, 20, 100
WRITTEN, TEMPERATURES = 100, (1.0, 0.5)


@cache
def french_texts() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the grammar's French sentences to train on and to validate with, all different."""
    texts = list(dict.fromkeys(p.french_text for p in sample_pairs(9_600, seed=15)))
    n = N_TRAIN + N_VALIDATION
    checks.require(len(texts) >= n, f"the grammar gave {len(texts)} texts, expected at least {n}")
    return tuple(texts[:N_TRAIN]), tuple(texts[N_TRAIN:n])


def training_config(name: str, seed: int) -> TrainingConfig:
    """Return how every run is trained; only the seed and the writer's length differ."""
    steps = STEPS.get(name, 500)
    return TrainingConfig(
        steps=steps,
        max_tokens=1_024,
        peak_rate=6e-3,
        warmup_steps=100,
        schedule="linear",
        label_smoothing=0.0,
        seed=seed,
    )


def text_examples(vocabulary: Vocabulary, texts: Sequence[str]) -> list[Example]:
    """Return ``texts`` as examples without a source, for chapter 11's batches."""
    return [Example([vocabulary.ids["<eos>"]], vocabulary.encode(text)) for text in texts]


@torch.inference_mode()
def validation_loss(model: LanguageModel, parts: Sequence[Batch]) -> float:
    """Return the mean loss of ``parts`` in nats per character, <eos> counted as one."""
    counts = [count_tokens(part, model.config.pad_id) for part in parts]
    losses = [language_loss(model, part).item() for part in parts]
    return sum(n * x for n, x in zip(counts, losses, strict=True)) / sum(counts)


def write_lines(
    model: LanguageModel, vocabulary: Vocabulary, n: int, *, seed: int, temperature: float
) -> list[str]:
    """Let ``model`` write ``n`` texts."""
    prompt = torch.full((n, 1), model.config.bos_id)
    rows = generate(model, prompt, seed=seed, temperature=temperature)
    return ["".join(vocabulary.decode(row)) for row in rows]


class VariantRun:
    """The run ``name`` with ``seed``, ready to be stepped."""

    def __init__(self, name: str, seed: int) -> None:
        checks.one_of("name", name, tuple(SETTINGS))
        self.name, self.training = name, training_config(name, seed)
        train, validation = french_texts()
        self.vocabulary = Vocabulary(train)
        self.examples = text_examples(self.vocabulary, train)
        held_out = text_examples(self.vocabulary, validation)
        self.validation = list(batches(held_out, max_tokens=8_192, seed=0))
        changes = {**SIZES, **SETTINGS[name]}
        torch.manual_seed(seed)
        self.model = LanguageModel(LanguageModelConfig(len(self.vocabulary), **changes))
        self.optimizer = make_optimizer(self.model)

    def steps(self) -> Iterator[StepRecord]:
        """Train to the end; one record per step."""
        stream = endless_batches(self.examples, self.training)
        return training_steps(
            self.model, [stream], self.optimizer, self.training, loss_of=language_loss
        )

    def header(self, command: str) -> dict[str, Any]:
        """Return what the first line of the log says."""
        caches = self.model.start(1)
        self.model(torch.tensor([[self.model.config.bos_id]]), caches)
        return {
            "name": self.name,
            "command": command,
            "model": asdict(self.model.config),
            "training": self.training.to_dict(),
            "examples": len(self.examples),
            "parameters": count_parameters(self.model),
            "cache_bytes_per_token": sum(c.keys.nbytes + c.values.nbytes for c in caches),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "machine": platform.machine(),
        }

    def lines(self) -> Iterator[dict[str, Any]]:
        """Train to the end and yield the lines of the log after the first."""
        texts = write_lines(self.model, self.vocabulary, 5, seed=0, temperature=1.0)
        yield {"step": 0, "validation": self.validate(), "written": {"1.0": texts}}
        losses: list[float] = []
        for record in tqdm(self.steps(), total=self.training.steps, desc=self.name, unit="step"):
            losses.append(record.loss)
            step, last = record.step, record.step == self.training.steps
            if step <= EVERY_STEP_UNTIL or step % THEN_EVERY == 0 or last:
                line = {"step": step, "loss": round(sum(losses) / len(losses), 5)}
                if step % VALIDATE_EVERY == 0 or last:
                    line["validation"] = self.validate()
                losses.clear()
                yield line
        written = {
            str(t): write_lines(self.model, self.vocabulary, WRITTEN, seed=0, temperature=t)
            for t in TEMPERATURES
        }
        yield {"step": self.training.steps, "written": written}

    def validate(self) -> float:
        """Return the validation loss, rounded."""
        return round(validation_loss(self.model, self.validation), 5)


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; a mistake of the user's is one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m studies.variants")
    parser.add_argument("name", choices=tuple(SETTINGS), help="which change to train with")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="(%(default)s)")
    parser.add_argument("--out", default="book/runs/variants", metavar="DIR", help="(%(default)s)")
    words = sys.argv[1:] if argv is None else list(argv)
    options = parser.parse_args(words)
    path = Path(options.out) / f"{options.name}-{options.seed}.jsonl"
    if path.exists():
        print(f"{path} already holds a run; choose another --out", file=sys.stderr)
        return 2
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    run = VariantRun(options.name, options.seed)
    command = " ".join(["python -m studies.variants", *words])
    lines = [run.header(command), *run.lines()]
    write_whole(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
