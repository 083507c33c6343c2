"""The card of a shipped model: ``card.md``, filled from the files beside it and ``card.toml``."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from scratch.plumbing.defaults import BEAM_SIZE, LENGTH_PENALTY
from scratch.plumbing.files import json_lines, json_object
from scratch.plumbing.models.storage import CONFIG, LOG, SHIPPED, WEIGHTS, Loss

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
    header, *entries = json_lines(files[LOG].decode(), LOG)
    found = json_object(files[SCORES].decode(), SCORES) if SCORES in files else None
    texts = tomllib.loads(HERE.with_name("card.toml").read_text(encoding="utf-8"))
    known, read = texts["kinds"], header["data"]
    kinds = [known[kind] for kind in known if kind and any(f.startswith(kind) for f in read)]
    kinds = kinds or [known[""]]
    training, looks = header["training"], [e for e in entries if "dev_bleu" in e]
    residual, *others = header["extras"]["dropout"].items()
    ran = [header, *(entry["resumed"] for entry in entries if "resumed" in entry)]
    fields = {
        key: f"{value:,}" if isinstance(value, int) else value
        for key, value in (config | training).items()
    }
    return Template(HERE.with_name("card.md").read_text(encoding="utf-8")).substitute(
        fields,
        name=name,
        data="; ".join(kind["data"] for kind in kinds),
        pairs=f"{header['examples']:,}",
        parameters=f"{header['parameters']:,}",
        tokens_a_step=f"{training['max_tokens'] * training['accumulate']:,}",
        epochs=max((look["epoch"] for look in looks if "epoch" in look), default=0),
        dropout=", ".join([f"{residual[1]:g}", *(f"{place} {p:g}" for place, p in others if p)]),
        noise="English as people type it (`plumbing/training/noise.py`), anew for each epoch"
        if header["extras"]["noise"]
        else "none",
        command=header["command"],
        hardware=about["hardware"] or f"{header['machine']} {header['kernels']}",
        processes=", then ".join(dict.fromkeys(f"{r['processes']} × {r['threads']}" for r in ran)),
        precision="matrix products in bfloat16" if header["computed_on"]["bf16"] else "float32",
        hours=f"{seconds_of(entries) / 3600:.1f}",
        dev=", ".join(f"{n} {bleu:.1f}" for n, bleu in looks[-1]["dev_bleu"].items())
        if looks
        else "-",
        stored_as=about["stored_as"],
        size=f"{len(files[WEIGHTS]) / 1e6:.1f}",
        loss=Loss(about["worst"], about["overall"]).describe(),
        scores=_scores(name, found, texts["protocol"]),
        limits="\n\n".join(kind["limits"] for kind in kinds if kind["limits"]),
        longest=config["max_len"] - 1,
        terms="\n\n".join(kind["terms"] for kind in kinds),
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
            number = f"{score['score']:.2f} ± {score['interval']:.2f}"
            lines.append(f"{start}| {kind} | {number} | `{signature}` |")
        lines += [f"{start}| right | {result['right']} | |"] if "right" in result else []
    lines += ["", protocol.format(found["versions"]["sacremoses"])]
    wrong = [w for result in found["sets"].values() for w in result.get("wrong", [])]
    listed = [f"- {w['english']} → {w['french']}" for w in wrong]
    if wrong:
        lines += ["", "Wrong among the everyday sentences and the first inputs:", ""]
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
