"""What not everyone installs: the package's extras, named where one of them is missing."""

from importlib.util import find_spec

__all__ = ["EXTRAS", "needs"]

EXTRAS = {  # as pyproject.toml has them: the modules that each one brings
    "data": ("pooch",),
    "scores": ("sacrebleu", "sacremoses"),
    "figures": ("matplotlib",),
    "tensorboard": ("tensorboard",),
}


def needs(extra: str) -> None:
    """Raise ModuleNotFoundError, with what to install, where a module of ``extra`` is missing."""
    for module in EXTRAS[extra]:
        if find_spec(module) is None:
            raise ModuleNotFoundError(
                f"{module} is not installed, expected it for {extra}: "
                f"pip install 'tested-transformer[{extra}]'",
                name=module,
            )
