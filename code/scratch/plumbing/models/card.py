"""The card of a shipped model: ``card.md``, filled from the files beside it and ``card.toml``."""

import shlex
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from scratch.plumbing.defaults import BEAM_SIZE, LENGTH_PENALTY
from scratch.plumbing.files import json_lines, json_object
from scratch.plumbing.models.storage import CONFIG, SHIPPED, WEIGHTS, Loss

__all__ = ["CARD", "SCORES", "card_text", "fill_card", "seconds_of", "stretches"]

HERE = Path(__file__)
CARD, SCORES = "README.md", "scores.json"


def card_text(folder: Path) -> str:
    """Return the card, Markdown, of the shipped model in ``folder``."""
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    return fill_card(folder.name, files)


def fill_card(name: str, files: Mapping[str, bytes]) -> str:
    """Return the card of the model ``name``, which has ``files``; scores may not be among them.

    Raises ValueError when one of them is not what it should be.
    """
    try:
        return _fill(name, files)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise ValueError(
            f"the card of {name} cannot be made, expected whole logs and settings ({error!r})"
        ) from None


def _fill(name: str, files: Mapping[str, bytes]) -> str:
    about, config = (json_object(files[part].decode(), part) for part in (SHIPPED, CONFIG))
    names = sorted((n for n in files if n.startswith("log-")), key=lambda n: (len(n), n))
    logs = [json_lines(files[n].decode(), n) for n in names]
    found = json_object(files[SCORES].decode(), SCORES) if SCORES in files else None
    read = [file for header, *_ in logs for file in header.get("data", {})]
    texts = tomllib.loads(HERE.with_name("card.toml").read_text(encoding="utf-8"))
    known = texts["kinds"]
    kinds = [known[kind] for kind in known if kind and any(f.startswith(kind) for f in read)]
    kinds = kinds or [known[""]]
    header, numbered = logs[-1][0], list(zip(about["runs"], logs, strict=True))
    text = Template(HERE.with_name("card.md").read_text(encoding="utf-8"))
    return text.substitute(
        {key: f"{value:,}" if key == "vocab_size" else value for key, value in config.items()},
        name=name,
        data="; ".join(kind["data"] for kind in kinds),
        pairs=f"{logs[0][0]['examples']:,}",
        parameters=f"{header['parameters']:,}",
        stored_as=about["stored_as"],
        size=f"{len(files[WEIGHTS]) / 1e6:.1f}",
        loss=Loss(about["worst"], about["overall"]).describe(),
        hardware=about["hardware"]
        or f"{header['machine']} {header['kernels']}, {header['computed_on']['device']}",
        hours=f"{sum(seconds_of(entries) for _, *entries in logs) / 3600:.1f}",
        stages=f"{len(logs)} stage{'s' if len(logs) > 1 else ''}",
        stage_rows="\n".join(_stage(n, run, log) for n, (run, log) in enumerate(numbered, 1)),
        commands="\n".join(dict.fromkeys(str(header["command"]) for header, *_ in logs)),
        mean=_mean(name, about),
        scores=_scores(name, found, texts["protocol"]),
        limits="\n\n".join(kind["limits"] for kind in kinds if kind["limits"]),
        longest=config["max_len"] - 1,
        terms="\n\n".join(kind["terms"] for kind in kinds),
    )


def _stage(number: int, run: str, log: Sequence[dict[str, Any]]) -> str:
    """Return the row of a stage's ``log``."""
    header, *entries = log
    training, extras = header["training"], header["extras"]
    last, looks = [e for e in entries if "loss" in e][-1], [e for e in entries if "dev_bleu" in e]
    epochs = [e["epoch"] for e in looks if "epoch" in e]
    residual, *others = extras["dropout"].items()
    places = [f"{residual[1]:g}", *(f"{place} {p:g}" for place, p in others if p)]
    ran = [header, *(entry["resumed"] for entry in entries if "resumed" in entry)]
    cells = [
        f"{number}: `{run}`",
        f"stage {number - 1}" if number > 1 else "new weights",
        f"{last['step']:,}",
        str(max(epochs, default=last["epoch"] - 1)),
        f"{header['examples']:,}",
        f"{training['max_tokens'] * training.get('accumulate', 1):,}",
        f"{training['peak_rate']:g}",
        ", ".join(places),
        f"{extras['bpe_dropout']:g}",
        str(training["seed"]),
        ", then ".join(dict.fromkeys(f"{r['processes']} × {r['threads']}" for r in ran)),
        f"{seconds_of(entries) / 3600:.2f}",
        ", ".join(f"{n} {bleu:.1f}" for n, bleu in looks[-1]["dev_bleu"].items()) if looks else "-",
    ]
    return f"| {' | '.join(cells)} |"


def _mean(name: str, about: dict[str, Any]) -> str:
    """Return how the shipped weights were made of those of several stages, if they were."""
    n, runs = about.get("average", 1), about["runs"]
    if n == 1:
        return ""
    *others, end = map(str, range(len(runs) - n + 1, len(runs) + 1))
    hardware = f" --hardware {shlex.quote(about['hardware'])}" if about["hardware"] else ""
    return (
        f"The weights that ship are the mean of those that stages {', '.join(others)} and {end} "
        f"ended with:\n\n```\npython -m scratch ship --as {name} --average {n} "
        f"--stored-as {about['stored_as']}{hardware} "
        f"--run {' '.join(f'_build/runs/{run}' for run in runs)}\n```\n\n"
    )


def _scores(name: str, found: dict[str, Any] | None, protocol: str) -> str:
    again = f"python -m scratch evaluate --model {name} --set all --record"
    if found is None:
        return f"Not measured yet: `{again}` measures, and writes them here."
    beam, penalty = found["beam"], found["length_penalty"]
    if (beam, penalty) != (BEAM_SIZE, LENGTH_PENALTY):  # which evaluate takes if not told
        again += f" --beam {beam} --length-penalty {penalty:g}"
    lines = [
        f"Beam {beam}, length penalty {penalty:g}, measured on the stored weights by `{again}`:",
        "",
        "| Set | Sentences | Score | | sacrebleu's signature |",
        "|:--|--:|:--|--:|:--|",
    ]
    for set_name, result in found["sets"].items():
        start = f"| {set_name} | {result['sentences']:,} "
        for kind, score in result.get("scores", {}).items():
            signature = score["signature"].replace("|", "\\|")  # or they would end the cell
            lines.append(f"{start}| {kind} | {score['score']:.2f} | `{signature}` |")
        lines += [f"{start}| right | {result['right']} | |"] if "right" in result else []
    lines += ["", protocol.format(found["versions"]["sacremoses"])]
    wrong = [w for result in found["sets"].values() for w in result.get("wrong", [])]
    listed = [f"- {w['english']} → {w['french']}" for w in wrong]
    if wrong:
        lines += ["", "Wrong among the everyday sentences:", ""]
    return "\n".join([*lines, *listed])


def stretches(entries: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Cut a log where the run was resumed.

    There the clock begins again at 0, and a line says so (not in logs older than those lines).
    """
    parts: list[list[dict[str, Any]]] = [[]]
    clock = 0.0
    for entry in entries:
        now = 0.0 if "resumed" in entry else entry.get("seconds", clock)
        if now < clock:
            parts.append([])
        parts[-1].append(entry)
        clock = now
    return parts


def seconds_of(entries: Sequence[dict[str, Any]]) -> float:
    """Return how long a run took by its log: the sum over its stretches."""
    ends = ([e["seconds"] for e in part if "seconds" in e] for part in stretches(entries))
    return float(sum(clock[-1] for clock in ends if clock))
