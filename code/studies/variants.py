"""The recorded runs of chapter 15: one small task, a switch at a time, rates and seeds.

``python -m studies.variants sweep`` trains the character model with each switch, at several
learning rates with several seeds, and appends a line to ``rates.jsonl`` for each run; started
again, it goes on where it was stopped.  ``python -m studies.variants writer`` trains one model
for longer and writes ``writer-1.jsonl``, with what that model wrote.
"""

import argparse
import json
import math
import os
import statistics
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from scratch.datasets import Batch, Example, batches
from scratch.language_model import (
    LanguageModel,
    LanguageModelConfig,
    Vocabulary,
    generate,
    language_loss,
)
from scratch.plumbing import checks
from scratch.plumbing.data.grammar import sample_pairs
from scratch.training import (
    StepRecord,
    TrainingConfig,
    count_tokens,
    endless_batches,
    make_optimizer,
    training_steps,
)
from scratch.transformer import count_parameters
from studies import recording
from studies.recording import computed_on

__all__ = [
    "SETTINGS",
    "VariantRun",
    "best_rate",
    "french_texts",
    "measure",
    "record",
    "sweep",
    "validation_loss",
]

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
}
RATES, SEEDS = (0.003, 0.006, 0.012, 0.024), (1, 2, 3)  # of every name; more where its best is
MORE_SEEDS = (4, 5)  # at each name's best rate
SIZES = {"d_model": 64, "n_heads": 4, "d_ff": 192, "n_layers": 2, "max_len": 128}
STEPS, WRITER_STEPS, WRITER_RATE = 500, 2_000, 0.006
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


def training_config(steps: int, rate: float, seed: int) -> TrainingConfig:
    """Return how every run is trained; only what is given differs."""
    return TrainingConfig(
        steps=steps,
        max_tokens=1_024,
        peak_rate=rate,
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


class VariantRun:
    """The run ``name`` at a peak ``rate`` with ``seed``, ready to be stepped."""

    def __init__(self, name: str, rate: float, seed: int, *, steps: int | None = None) -> None:
        checks.one_of("name", name, tuple(SETTINGS))
        self.name, self.training = name, training_config(steps or STEPS, rate, seed)
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

    def sizes(self) -> dict[str, int]:
        """Return the number of parameters and the bytes of cache for a token."""
        caches = self.model.start(1)
        self.model(torch.tensor([[self.model.config.bos_id]]), caches)
        return {
            "parameters": count_parameters(self.model),
            "cache_bytes_per_token": sum(c.keys.nbytes + c.values.nbytes for c in caches),
        }

    def settings(self) -> dict[str, Any]:
        """Return what a log's first line says of the model, its training and its examples."""
        return {
            "model": asdict(self.model.config),
            "training": self.training.to_dict(),
            "examples": len(self.examples),
        }

    def validate(self) -> float:
        """Return the validation loss, rounded."""
        return round(validation_loss(self.model, self.validation), 5)

    def write(self, n: int, temperature: float) -> list[str]:
        """Let the model write ``n`` texts."""
        prompt = torch.full((n, 1), self.model.config.bos_id)
        rows = generate(self.model, prompt, seed=0, temperature=temperature)
        return ["".join(self.vocabulary.decode(row)) for row in rows]


def measure(name: str, rate: float, seed: int) -> dict[str, Any]:
    """Train one run to its end; return its line: what ran, and its losses."""
    run = VariantRun(name, rate, seed)
    first: list[float] = []
    validation: dict[str, float] = {}
    for entry in run.steps():
        if entry.step <= EVERY_STEP_UNTIL:
            first.append(round(entry.loss, 5))
        if entry.step % VALIDATE_EVERY == 0 or entry.step == run.training.steps:
            validation[str(entry.step)] = run.validate()
    return {
        "name": name,
        "rate": rate,
        "seed": seed,
        "validation": validation,
        "first": first,
        **run.sizes(),
        **computed_on(),
    }


def best_rate(lines: Iterable[dict[str, Any]], name: str) -> float:
    """Return the rate of the lowest mean loss at the end, over the seeds that all rates had."""
    last: dict[float, list[float]] = {}
    for line in lines:
        if line["name"] == name and line["seed"] in SEEDS:
            last.setdefault(line["rate"], []).append([*line["validation"].values()][-1])
    return min(last, key=lambda rate: statistics.fmean(last[rate]))


def times(rate: float, halves: int) -> float:
    """Return ``rate`` times 2 ** (halves / 2), on one grid of rates with two digits each."""
    steps = round(2 * math.log2(rate / RATES[0])) + halves
    return float(f"{RATES[0] * 2 ** (steps / 2):.2g}")


def planned(lines: Sequence[dict[str, Any]]) -> list[tuple[str, float, int]]:
    """Return the runs of which ``lines`` has none yet, as far as they can be told by now.

    First every rate for every name.  Where the best is the lowest or highest tried, half or twice
    of it as well; where it is not, both rates beside it, a factor of 1.4 away; at the end more
    seeds at the best.
    """
    done = {(line["name"], line["rate"], line["seed"]) for line in lines}
    left: list[tuple[str, float, int]] = []
    for name in SETTINGS:
        tried = {*RATES, *(rate for n, rate, _ in done if n == name)}
        wanted = [(name, rate, seed) for rate in sorted(tried) for seed in SEEDS]
        if done.issuperset(wanted):
            best = best_rate(lines, name)
            beyond = {min(tried): times(best, -2), max(tried): times(best, 2)}.get(best)
            beside = {beyond} if beyond else {times(best, -1), times(best, 1)} - tried
            wanted = [(name, rate, seed) for rate in sorted(beside) for seed in SEEDS]
            wanted = wanted or [(name, best, seed) for seed in MORE_SEEDS]
        left += [run for run in wanted if run not in done]
    return sorted(left, key=lambda run: run[2])  # all names and rates with one seed, then the next


def sweep(path: Path) -> None:
    """Make all runs that ``path`` has no line of, one after another, each appended as it ends.

    Raises ValueError when ``path`` holds runs of other settings.
    """
    head = {**VariantRun("2017", RATES[0], SEEDS[0]).settings(), "switches": SETTINGS}
    path.parent.mkdir(parents=True, exist_ok=True)
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    whole = text[: text.rfind("\n") + 1]  # a line that was cut off is made again
    found = [json.loads(line) for line in whole.splitlines()]
    checks.require(found[:1] in ([], [head]), f"{path} holds runs of other settings")
    with path.open("ab") as file, tqdm(unit="run") as bar:
        file.truncate(len(whole.encode()))

        def append(line: dict[str, Any]) -> None:
            found.append(line)
            file.write(f"{json.dumps(line)}\n".encode())
            file.flush()
            os.fsync(file.fileno())

        if not found:
            append(head)
        while left := planned(found[1:]):
            bar.total = bar.n + len(left)  # it grows when more rates or seeds are wanted
            bar.set_postfix_str(" ".join(map(str, left[0])))
            append(measure(*left[0]))
            bar.update()


def record(name: str, seed: int) -> Iterator[dict[str, Any]]:
    """Yield the lines of the writer's log: a header, the losses, and what the model wrote."""
    run = VariantRun("all", WRITER_RATE, seed, steps=WRITER_STEPS)
    yield {"name": name, **run.settings(), **run.sizes(), **computed_on()}
    yield {"step": 0, "validation": run.validate(), "written": {"1.0": run.write(5, 1.0)}}
    losses: list[float] = []
    for entry in tqdm(run.steps(), total=run.training.steps, desc=name, unit="step"):
        losses.append(entry.loss)
        step, last = entry.step, entry.step == run.training.steps
        if step <= EVERY_STEP_UNTIL or step % THEN_EVERY == 0 or last:
            line = {"step": step, "loss": round(sum(losses) / len(losses), 5)}
            if step % VALIDATE_EVERY == 0 or last:
                line["validation"] = run.validate()
            losses.clear()
            yield line
    yield {"step": step, "written": {str(t): run.write(WRITTEN, t) for t in TEMPERATURES}}


def main(words: Sequence[str] | None = None) -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m studies.variants")
    parser.add_argument("what", choices=("sweep", "writer"), help="all switches, or the writer")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the writer (1)")
    parser.add_argument("--out", default="book/runs/variants", metavar="DIR", help="(%(default)s)")
    options = parser.parse_args(words)
    if options.what == "writer":
        rest = ["writer", "--seed", str(options.seed), "--out", options.out]
        return recording.main("variants", ("writer",), record, rest)
    torch.set_num_threads(1)
    try:
        sweep(Path(options.out) / "rates.jsonl")
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    except ValueError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
