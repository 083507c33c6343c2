"""The card of a shipped model, made of the files beside it: settings, logs, scores."""

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

from scratch.plumbing.defaults import BEAM_SIZE, LENGTH_PENALTY
from scratch.plumbing.files import write_whole
from scratch.plumbing.models.quantize import Loss
from scratch.plumbing.models.ship import SHIPPED, seconds_of
from scratch.plumbing.models.storage import CONFIG, WEIGHTS
from scratch.plumbing.training.changes import Changes
from scratch.plumbing.training.log import read_log
from scratch.plumbing.training.recipes import CHAINS

__all__ = ["CARD", "SCORES", "card_text", "write_card"]

CARD, SCORES = "README.md", "scores.json"
DATA = {  # of what a log's checksums name, by the beginning of the name
    "multi30k/": "Multi30k (Elliott et al. 2016, 2017), captions of pictures",
    "tatoeba/": "English-French pairs of the Tatoeba project in the selection of manythings.org",
    "tsv:": "a file of two columns",
    "": "the book's own grammar; no text of others",
}
TERMS = {
    "multi30k/": (
        "Multi30k is for research and education, not for commercial use. Weights that were "
        "trained on it come under the same limit: use them for research and education only."
    ),
    "tatoeba/": (
        "Tatoeba's sentences are the work of its contributors (https://tatoeba.org), under "
        "CC BY 2.0 FR, in the selection of manythings.org. Whoever passes the weights on names "
        "them."
    ),
    "tsv:": "The weights come under the terms of the file that they were trained on.",
    "": "The weights are under the MIT licence, like the code.",
}
LIMITS = {
    "multi30k/": (
        "It has read two kinds of text: captions of everyday pictures, and short everyday "
        "sentences of at most nine English words. News, law, medicine, poetry, names that are "
        "rare and sentences of several clauses are outside of both, and come out wrong: as no "
        "French at all, or as fluent French that says something else."
    ),
    "tatoeba/": (
        'English "you" is "tu" or "vous" as it happens, and "they" "ils" more often than '
        '"elles": each sentence is translated by itself, and the data lean that way. What the '
        "data say of men, women and countries, the model repeats."
    ),
}
ALWAYS = "It never says that it does not know. Don't use it where a wrong translation does harm."


def write_card(folder: Path) -> None:
    """Write the card of the shipped model in ``folder`` from the files beside it."""
    write_whole(folder / CARD, card_text(folder))


def card_text(folder: Path) -> str:
    """Return the card, Markdown, of the shipped model in ``folder``."""
    logs = [read_log(path) for path in sorted(folder.glob("log-*.jsonl"))]
    about = json.loads((folder / SHIPPED).read_text(encoding="utf-8"))
    scores = folder / SCORES
    found = json.loads(scores.read_text(encoding="utf-8")) if scores.exists() else None
    kinds = _kinds([header for header, *_ in logs])
    limits = [LIMITS[kind] for kind in kinds if kind in LIMITS]
    parts = [
        f"# Model card: {folder.name}",
        "A Transformer that translates English into French, built and trained by the code of "
        "this book. This page is made by `python -m scratch ship` of the files beside it; "
        "each `log-N.jsonl` begins with all settings of its stage.",
        _facts(folder, logs, about, kinds),
        "## Training",
        _stages(logs, about),
        _commands(logs),
        *_mean_of_stages(folder.name, about),
        "## Scores",
        _scores(found, folder.name),
        "## Limits",
        "\n\n".join([*limits, _longest(folder), ALWAYS]),
        "## Licence",
        "\n\n".join(TERMS[kind] for kind in kinds),
    ]
    return "\n\n".join(parts) + "\n"


def _kinds(headers: list[dict[str, Any]]) -> list[str]:
    files = [name for header in headers for name in header.get("data", {})]
    return [kind for kind in DATA if kind and any(f.startswith(kind) for f in files)] or [""]


def _facts(
    folder: Path, logs: list[list[dict[str, Any]]], about: dict[str, Any], kinds: list[str]
) -> str:
    header, pairs = logs[-1][0], logs[0][0]["examples"]
    model, parameters = header["model"], header.get("parameters")
    size = (folder / WEIGHTS).stat().st_size / 1e6
    hours = sum(seconds_of(entries) for _, *entries in logs) / 3600
    rows = {
        "Data": "; ".join(DATA[kind] for kind in kinds)
        + f". {pairs:,} pairs, none of which shares a side with a held-out sentence",
        "Size": (f"{parameters:,} parameters; " if parameters else "")
        + f"{model['vocab_size']:,} tokens, width {model['d_model']}, {model['n_heads']} heads, "
        f"d_ff {model['d_ff']}, {model['n_encoder_layers']} encoder and "
        f"{model['n_decoder_layers']} decoder layers, {model['norm']}-norm",
        "Stored as": f"{about['stored_as']}, {size:.1f} MB; dequantised to float32 before any "
        f"arithmetic. By storing, {Loss(about['worst'], about['overall']).describe()}",
        "Hardware": about["hardware"] or _machine(header),
        "Time": f"{hours:.1f} hours in {len(logs)} stage{'s' if len(logs) > 1 else ''}",
    }
    return "\n".join(["| | |", "|:--|:--|", *(f"| {key} | {text} |" for key, text in rows.items())])


def _machine(header: dict[str, Any]) -> str:
    device = header.get("computed_on", {}).get("device", "cpu")
    return f"{header['machine']} {header.get('kernels', '')}, {device}".replace(" ,", ",")


def _stages(logs: list[list[dict[str, Any]]], about: dict[str, Any]) -> str:
    head = "| Stage | Begins with | Steps | Whole epochs | Pairs an epoch | Tokens a step "
    head += "| Peak rate | Dropout | BPE-dropout | Seed | Processes × threads | Hours "
    lines = [head + "| BLEU on dev, greedy |"]
    lines.append("|:--|:--|" + "--:|" * 8 + ":--|--:|:--|")
    for number, (log, name) in enumerate(zip(logs, about["runs"], strict=True), start=1):
        begin = f"stage {number - 1}" if number > 1 else "new weights"
        lines.append("| " + " | ".join([f"{number}: `{name}`", begin, *_cells(log)]) + " |")
    note = (
        "BLEU is that of the weights that the stage ended with, averaged or not; in a log without "
        "it, that after the last whole epoch."
    )
    return "\n".join([*lines, "", note])


def _cells(log: list[dict[str, Any]]) -> list[str]:
    """Return what the table of stages says of one, after its name and beginning."""
    header, *entries = log
    training, last = header["training"], [e for e in entries if "loss" in e][-1]
    looks = [e for e in entries if "dev_bleu" in e]
    epochs = [e["epoch"] for e in looks if "epoch" in e]
    found = looks[-1]["dev_bleu"] if looks else {}
    return [
        f"{last['step']:,}",
        str(max(epochs, default=last["epoch"] - 1)),
        f"{header['examples']:,}",
        f"{training['max_tokens'] * training.get('accumulate', 1):,}",
        f"{training['peak_rate']:g}",
        f"{header['model']['dropout']:g}",
        f"{header.get('extras', {}).get('bpe_dropout', 0.0):g}",
        str(training["seed"]),
        ", then ".join(dict.fromkeys(f"{n} × {m}" for n, m in _processes(log))),
        f"{seconds_of(entries) / 3600:.2f}",
        ", ".join(f"{name} {value:.1f}" for name, value in found.items()) or "-",
    ]


def _processes(log: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """Return with how many processes and threads a run began, and went on."""
    header, *entries = log
    found = [header, *(entry["resumed"] for entry in entries if "resumed" in entry)]
    return [(part.get("processes", 1), part["threads"]) for part in found]


def _commands(logs: list[list[dict[str, Any]]]) -> str:
    """Return the commands as they were typed, and the one that runs the whole chain again."""
    headers = [header for header, *_ in logs]
    typed = list(dict.fromkeys(map(_command, headers)))
    text = "The commands, as they were given:\n\n```\n" + "\n".join(typed) + "\n```"
    again = _chain_command(headers) if len(typed) > 1 else None
    if again is None:
        return text
    return text + "\n\nThe same chain in one command:\n\n```\n" + again + "\n```"


def _mean_of_stages(name: str, about: dict[str, Any]) -> list[str]:
    """Return how the shipped weights were made of those of several stages, if they were."""
    n, runs = about.get("average", 1), about["runs"]
    if n == 1:
        return []
    *others, end = map(str, range(len(runs) - n + 1, len(runs) + 1))
    how = f"--average {n} --stored-as {about['stored_as']}"
    if about["hardware"]:
        how += f" --hardware {shlex.quote(about['hardware'])}"
    stages = " ".join(f"_build/runs/{run}" for run in runs)
    return [
        f"The weights that ship are the mean of those that stages {', '.join(others)} and {end} "
        "ended with:",
        f"```\npython -m scratch ship --as {name} {how} --run {stages}\n```",
    ]


def _chain_command(headers: list[dict[str, Any]]) -> str | None:
    """Return the one command that does what ``headers`` say, if there is one."""
    recipes = tuple(header["recipe"] for header in headers)
    chain = next((name for name, stages in CHAINS.items() if stages == recipes), None)
    first, *others = headers
    made = [replace(Changes(**(h.get("changes") or {})), begin_with=None) for h in headers]
    same = all(found == made[0].of_stage(number) for number, found in enumerate(made))
    where = ("threads", "processes", "computed_on")
    same = same and all(h.get(key) == first.get(key) for h in others for key in where)
    if chain is None or not same:
        return None
    words = f"python -m scratch train {chain} --out _build/runs --threads {first['threads']}"
    options = [words, made[0].options(), _machine_options(first.get("computed_on", {}))]
    return _command({**first, "command": " ".join(filter(None, options))})


def _machine_options(machine: dict[str, Any]) -> str:
    device = machine.get("device", "cpu")
    words = [] if device == "cpu" else [f"--device {device}"]
    return " ".join([*words, *(f"--{name}" for name in ("bf16", "compile") if machine.get(name))])


def _command(header: dict[str, Any]) -> str:
    command, processes = str(header["command"]), header.get("processes", 1)
    if processes == 1:
        return command
    return command.replace("python -m", f"torchrun --nproc-per-node {processes} -m", 1)


def _scores(found: dict[str, Any] | None, name: str) -> str:
    again = f"python -m scratch evaluate --model {name} --set all --record"
    if found is None:
        return f"Not measured yet: `{again}` measures, and writes them here."
    if (found["beam"], found["length_penalty"]) != (BEAM_SIZE, LENGTH_PENALTY):
        again += f" --beam {found['beam']} --length-penalty {found['length_penalty']:g}"
    search = f"Beam {found['beam']}, length penalty {found['length_penalty']:g}, measured on "
    parts = [search + f"the stored weights by `{again}`:", _score_rows(found), _protocol(found)]
    wrong = [w for result in found["sets"].values() for w in result.get("wrong", [])]
    if wrong:
        listed = "\n".join(f"- {w['english']} → {w['french']}" for w in wrong)
        parts += ["Wrong among the everyday sentences:", listed]
    return "\n\n".join(parts)


def _score_rows(found: dict[str, Any]) -> str:
    lines = ["| Set | Sentences | Score | | sacrebleu's signature |", "|:--|--:|:--|--:|:--|"]
    for set_name, result in found["sets"].items():
        start = f"| {set_name} | {result['sentences']:,} "
        for score_name, score in result.get("scores", {}).items():
            signature = score["signature"].replace("|", "\\|")  # or they would end the cell
            lines.append(f"{start}| {score_name} | {score['score']:.2f} | `{signature}` |")
        if "right" in result:
            lines.append(f"{start}| right | {result['right']} | |")
    return "\n".join(lines)


def _protocol(found: dict[str, Any]) -> str:
    return (
        "multi30k-test is test_2016_flickr. The published protocol: output and reference in lower "
        "case, with Moses' normalised punctuation, cut by Moses' tokenizer for French (sacremoses "
        f"{found['versions']['sacremoses']}), then BLEU without another tokenizer. The other "
        "scores are of the text as it is written; Tatoeba's count every French version of a "
        "sentence as right. An everyday sentence is right if it is one of the versions accepted "
        "for it, case, punctuation and hyphens aside."
    )


def _longest(folder: Path) -> str:
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    return (
        f"It reads at most {config['max_len'] - 1} tokens and writes at most twice as many as it "
        "has read, and ten; longer text has to be cut into sentences first."
    )
