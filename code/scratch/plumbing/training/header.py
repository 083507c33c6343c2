"""The first line of a log: what someone needs who wants to repeat the run."""

import hashlib
import json
import platform
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import torch

from scratch.plumbing.data.corpora import checksums_of
from scratch.plumbing.training.changes import Changes
from scratch.plumbing.training.recipes import RECIPES, Recipe
from scratch.transformer import count_parameters

__all__ = ["computed_on", "differences", "digest", "header_of", "misfit"]


def digest(text: str) -> str:
    """Return the SHA-256 of ``text``."""
    return hashlib.sha256(text.encode()).hexdigest()


def header_of(name: str, run: Any, command: str, changes: Changes) -> dict[str, Any]:
    """Return the header of ``run``, which follows the recipe ``name`` with ``changes``."""
    header = {
        "recipe": name,
        "command": command,
        "model": run.model.config.to_dict(),
        "training": run.recipe.training.to_dict(),
        "examples": len(run.pairs),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
    }
    return header | (_details(run, changes) if run.recipe.extras else {})


def _details(run: Any, changes: Changes) -> dict[str, Any]:
    parts = {part: version(part) for part in ("numpy", "tokenizers", "sacrebleu")}
    return {
        "extras": asdict(run.extras),
        "changes": asdict(changes),
        "parameters": count_parameters(run.model),
        "data": checksums_of(run.recipe.corpus),
        "vocabulary": digest(run.tokenizer.backend.to_str()),
        "versions": {"python": platform.python_version(), **parts},
        "kernels": torch.backends.cpu.get_cpu_capability(),
        "processes": run.engine.world,
        "computed_on": asdict(run.engine.machine),
    }


def computed_on(run: Any) -> dict[str, Any]:
    """Return on what ``run`` goes on, for the log: it need not be what it began on."""
    return {
        "processes": run.engine.world,
        "threads": torch.get_num_threads(),
        **asdict(run.engine.machine),
        "machine": platform.machine(),
        "kernels": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
    }


def differences(found: Recipe, expected: Recipe) -> str:
    """Return in words where two recipes differ ("steps 5 and not 7"), or nothing."""
    a, b = _flat(asdict(found)), _flat(asdict(expected))
    names = [name for name in a | b if a.get(name) != b.get(name)]
    return ", ".join(f"{name} {a.get(name)!r} and not {b.get(name)!r}" for name in names)


def _flat(fields: dict[str, Any]) -> dict[str, Any]:
    inner = [_flat(value) for value in fields.values() if isinstance(value, dict)]
    flat = {name: value for name, value in fields.items() if not isinstance(value, dict)}
    return {name: value for part in (*inner, flat) for name, value in part.items()}


def misfit(header: dict[str, Any], name: str, changes: Changes) -> str:
    """Return in words how ``header`` differs from that of ``name`` with ``changes``, or ``""``.

    What a run began with counts if ``changes`` say it.
    """
    if header.get("recipe") != name:
        return f"recipe {header.get('recipe')!r} and not {name!r}"
    recipe = changes.apply(RECIPES[name])
    begun = Changes(begin_with=(header.get("changes") or {}).get("begin_with")).beginning()
    if changes.beginning() not in ("", begun):
        return f"begin_with {begun!r} and not {changes.beginning()!r}"
    fields = {**asdict(recipe), "training": header.get("training"), "extras": header.get("extras")}
    fields["model"] = {key: header.get("model", {}).get(key) for key in recipe.model}
    files, read = checksums_of(recipe.corpus), header.get("data", {})
    if recipe.extras and sorted(read.values()) != sorted(files.values()):
        fields["corpus"] = "of other files"
    return differences(Recipe.from_json(json.dumps(fields)), recipe)
