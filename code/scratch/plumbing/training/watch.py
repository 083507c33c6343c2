"""How a run is watched: loss and BLEU on dev sentences once an epoch, never on test ones."""

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from scratch.datasets import batches, encode_pairs
from scratch.plumbing import checks
from scratch.plumbing.extras import needs
from scratch.plumbing.files import json_object, read_log
from scratch.plumbing.scoring.scores import corpus_bleu
from scratch.tokens import Tokenizer
from scratch.training import batch_loss, count_tokens
from scratch.transformer import Transformer
from scratch.translation import translate_ids

__all__ = ["Watch", "dev_loss", "save_curve"]

SENTENCES = 250  # of each dev set are translated, evenly spread; the loss is that of all
WINDOW = 50  # steps to a point of the training curve
References = Sequence[tuple[str, list[str]]]


@torch.inference_mode()
def dev_loss(model: Transformer, tokenizer: Tokenizer, sentences: References) -> float:
    """Return the mean loss per token, in nats and not smoothed, of every first reference."""
    pairs = [(source, references[0]) for source, references in sentences]
    examples = encode_pairs(pairs, tokenizer, max_len=model.config.max_len)
    total, tokens = 0.0, 0
    for batch in batches(examples, max_tokens=4_096, seed=0, pad_id=model.config.pad_id):
        count = count_tokens(batch, model.config.pad_id)
        total += count * batch_loss(model, batch, 0.0).item()
        tokens += count
    return total / tokens


class Watch:
    """Looks at dev sentences, and remembers the best BLEU and how long ago it was."""

    def __init__(self, dev: dict[str, list[tuple[str, list[str]]]], patience: int) -> None:
        if dev:
            needs("scores")  # now, and not at the end of the first epoch
        self.dev, self.patience = dev, patience
        self.best, self.since, self.epochs = -1.0, 0, 0

    def look(self, model: Transformer, tokenizer: Tokenizer) -> dict[str, Any]:
        """Return what :meth:`measure` does; count the epoch, and remember how good it was."""
        self.epochs += 1
        found = self.measure(model, tokenizer)
        mean = sum(found["dev_bleu"].values()) / max(1, len(self.dev))
        better = mean > self.best
        self.best, self.since = (mean, 0) if better else (self.best, self.since + 1)
        return found

    def measure(self, model: Transformer, tokenizer: Tokenizer) -> dict[str, Any]:
        """Return loss and greedy BLEU of each dev set."""
        # on the processor, in a copy if need be: the search knows no other device
        there = model.output.weight.device.type
        model = model if there == "cpu" else copy.deepcopy(model).cpu()
        was_training = model.training
        model.eval()
        losses = {n: round(dev_loss(model, tokenizer, d), 4) for n, d in self.dev.items()}
        scores = {n: round(_greedy_bleu(model, tokenizer, d), 2) for n, d in self.dev.items()}
        model.train(was_training)
        return {"dev_loss": losses, "dev_bleu": scores}

    def has_seen_enough(self) -> bool:
        """Say whether there was no better BLEU for ``patience`` epochs."""
        return bool(self.dev) and 0 < self.patience <= self.since

    def position(self) -> str:
        """Return what the watch remembers, for :meth:`go_to`."""
        return json.dumps({"best": self.best, "since": self.since, "epochs": self.epochs})

    def go_to(self, position: str) -> None:
        """Remember what :meth:`position` said."""
        found = json_object(position, "watch")
        checks.number("best", found["best"], -1.0)
        checks.at_least("since", found["since"], 0)
        checks.at_least("epochs", found["epochs"], 0)
        self.best, self.since, self.epochs = found["best"], found["since"], found["epochs"]


def _greedy_bleu(model: Transformer, tokenizer: Tokenizer, sentences: References) -> float:
    chosen = sentences[:: max(1, len(sentences) // SENTENCES)][:SENTENCES]
    sources = [[*tokenizer.encode(s), tokenizer.eos_id][: model.config.max_len] for s, _ in chosen]
    outputs = translate_ids(model, sources, beam_size=1, batch_size=125)
    return corpus_bleu([tokenizer.decode(o.tokens) for o in outputs], [r for _, r in chosen])


def save_curve(log: Path, picture: Path) -> None:
    """Draw the losses of ``log``, and the BLEU of its dev sets if there are any.

    Raises ValueError when ``log`` is no log or holds no loss.
    """
    import matplotlib.pyplot as plt  # here, because it is slow to load

    from scratch.plumbing.style import use_book_style

    entries = read_log(log)[1:]
    losses = [(e["step"], e["loss"]) for e in entries if "loss" in e]
    looks = [e for e in entries if "dev_bleu" in e and "ended" not in e]
    if not losses:
        raise ValueError(f"{log} holds no loss, expected one step at least")
    with plt.style.context([]):
        use_book_style()
        names = looks[0]["dev_bleu"] if looks else ()
        figure, axes = plt.subplots(1, 2 if names else 1, figsize=(8, 3), squeeze=False)
        left, right = axes[0, 0], axes[0, -1]
        groups = [losses[i : i + WINDOW] for i in range(0, len(losses), WINDOW)]
        means = [sum(loss for _, loss in group) / len(group) for group in groups]
        left.plot([group[-1][0] for group in groups], means, label="training, smoothed")
        for name in names:
            steps = [look["step"] for look in looks]
            left.plot(steps, [look["dev_loss"][name] for look in looks], label=name)
            right.plot(steps, [look["dev_bleu"][name] for look in looks], label=name)
        right.set(xlabel="step", ylabel="BLEU (greedy)")
        left.set(xlabel="step", ylabel="loss per token (nats)")
        left.legend()
        figure.savefig(picture)
        plt.close(figure)
