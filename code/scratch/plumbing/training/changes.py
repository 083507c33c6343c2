"""What the command line may change in a recipe."""

import shlex
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from scratch.plumbing.data.corpora import TSV
from scratch.plumbing.training.recipes import Extras, Recipe

__all__ = ["AS_IT_STANDS", "Changes"]


@dataclass(frozen=True)
class Changes:
    """What the command line may change in a recipe; what is None stays as it is.

    ``tsv`` is a file to train on instead of the recipe's corpus; ``begin_with`` the folder of a
    finished run whose weights and vocabulary this one begins with.
    """

    tsv: str | None = None
    batch_size: int | None = None
    steps: int | None = None
    seed: int | None = None
    begin_with: str | None = None
    patience: int | None = None
    accumulate: int | None = None
    peak_rate: float | None = None

    def apply(self, recipe: Recipe) -> Recipe:
        """Return ``recipe`` with the changes made.  Raises ValueError for impossible ones."""
        wanted: dict[str, Any] = {"max_tokens": self.batch_size, "steps": self.steps}
        wanted |= {"seed": self.seed, "accumulate": self.accumulate, "peak_rate": self.peak_rate}
        made = {name: value for name, value in wanted.items() if value is not None}
        corpus = recipe.corpus if self.tsv is None else TSV + self.tsv
        training, extras = replace(recipe.training, **made), self._extras(recipe.extras)
        return replace(recipe, corpus=corpus, training=training, extras=extras)

    def _extras(self, extras: Extras | None) -> Extras | None:
        if self.patience is None:
            return extras
        if extras is None:
            raise ValueError(
                f"--patience is {self.patience}, expected it to be left out: the taught loop "
                "looks at no dev sentences"
            )
        return replace(extras, patience=self.patience)

    def beginning(self) -> str:
        """Return the last name of ``begin_with``, since runs may be moved together; "" for None."""
        return Path(self.begin_with).resolve().name if self.begin_with else ""

    def of_stage(self, number: int) -> "Changes":
        """Return the changes in stage ``number`` of a chain: each takes the seed after the last."""
        return self if self.seed is None else replace(self, seed=self.seed + number)

    def options(self) -> str:
        """Return the changes as they are typed."""
        made = {name: value for name, value in asdict(self).items() if value is not None}
        words = [[f"--{name.replace('_', '-')}", str(value)] for name, value in made.items()]
        return shlex.join(word for pair in words for word in pair)


AS_IT_STANDS = Changes()
