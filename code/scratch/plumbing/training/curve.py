"""The curve of a run, drawn from its log when it has ended."""

from pathlib import Path

import matplotlib.pyplot as plt

from scratch.plumbing.style import use_book_style
from scratch.plumbing.training.log import read_log

__all__ = ["save_curve"]

WINDOW = 50  # steps to a point of the training curve


def save_curve(log: Path, picture: Path) -> None:
    """Draw the losses of ``log``, and the BLEU of its dev sets if there are any.

    Raises ValueError when ``log`` is no log or holds no loss.
    """
    _, *entries = read_log(log)
    losses = [(e["step"], e["loss"]) for e in entries if "loss" in e]
    looks = [e for e in entries if "dev_bleu" in e and "averaged" not in e]
    if not losses:
        raise ValueError(f"{log} holds no loss, expected one step at least")
    with plt.style.context([]):
        use_book_style()
        figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3))
        groups = [losses[i : i + WINDOW] for i in range(0, len(losses), WINDOW)]
        means = [sum(loss for _, loss in group) / len(group) for group in groups]
        left.plot([group[-1][0] for group in groups], means, label="training, smoothed")
        for name in looks[0]["dev_bleu"] if looks else ():
            steps = [look["step"] for look in looks]
            left.plot(steps, [look["dev_loss"][name] for look in looks], label=name)
            right.plot(steps, [look["dev_bleu"][name] for look in looks], label=name)
        left.set(xlabel="step", ylabel="loss per token (nats)")
        right.set(xlabel="step", ylabel="BLEU (greedy)")
        left.legend()
        figure.savefig(picture)
        plt.close(figure)
