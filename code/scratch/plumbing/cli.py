"""The commands ``python -m scratch translate``, ``train``, ``evaluate``, ``ship``, ``sizes``."""

import argparse
import io
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from scratch.plumbing.defaults import BEAM_SIZE, LENGTH_PENALTY

__all__ = ["main"]

DEFAULT_MODEL = "en-fr"
CHANGES = ("tsv", "batch_size", "steps", "seed", "patience", "accumulate", "peak_rate")
LARGEST_BATCH = 4_096  # lines: more gain no time and would take all memory
MODEL_HELP = "a shipped model by its name, or a folder by its path, ./NAME where both exist"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; a mistake of the user's is one line on stderr and exit status 2."""
    words = sys.argv[1:] if argv is None else list(argv)
    arguments = _parser().parse_args(words, argparse.Namespace(words=words))
    try:
        _prepare_streams()
        arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has seen enough
        _forget_output()
    except (ValueError, OSError, MemoryError, RuntimeError, ModuleNotFoundError) as error:
        _forget_output()
        print(f"scratch {arguments.command}: {_in_a_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(f"\nscratch {arguments.command}: {str(stop) or 'stopped'}", file=sys.stderr)
        return 130
    return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; --help says more\n")


def _prepare_streams() -> None:
    """Write UTF-8, whatever the locale; refuse to work for nobody."""
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for as long as the process lasts
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        raise ValueError("standard output is closed, expected it open, if only on /dev/null")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")


def _in_a_line(error: Exception) -> str:
    """Say what has happened; what is no mistake of the user's is raised again."""
    if isinstance(error, RuntimeError) and "allocate" not in str(error):
        raise error
    if isinstance(error, RuntimeError | MemoryError):  # PyTorch raises the former
        return "there is not enough memory, expected a smaller --batch-size, --beam or model"
    return " ".join(str(error).split())


def _forget_output() -> None:
    """Print what can still be printed; the rest must not fail again when Python ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m scratch", description="Train and use the Transformer that the book builds."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    _add_translate(commands)
    _add_train(commands)
    _add_evaluate(commands)
    _add_ship(commands)

    c = commands.add_parser("sizes", help="the presets' parameters beside the paper's Table 3")
    c.set_defaults(run=_sizes)
    return parser


def _add_train(commands: Any) -> None:
    c = commands.add_parser("train", help="train one of the book's recipes")
    c.add_argument(
        "recipe", nargs="?", help="grammar (a minute), or the pair: en-fr, fr-en, en-de, en-hi"
    )
    c.add_argument("--pair", metavar="PAIR", help="the same: two languages, such as en-de")
    c.add_argument("--out", required=True, metavar="DIR", help="folder of the run")
    c.add_argument("--resume", action="store_true", help="go on where the run in DIR stopped")
    c.add_argument(
        "--processes", type=int, metavar="N", help="share the work (2, and 1 for grammar)"
    )
    c.add_argument("--tsv", metavar="FILE", help="train on a file of two columns instead")
    c.add_argument("--begin-with", metavar="DIR", help="begin with a finished run's weights")
    c.add_argument("--batch-size", type=int, metavar="N", help="tokens in a batch")
    c.add_argument("--steps", type=int, metavar="N", help="how many updates")
    c.add_argument("--accumulate", type=int, metavar="N", help="batches in an update")
    c.add_argument("--peak-rate", type=float, metavar="R", help="the highest learning rate")
    c.add_argument("--patience", type=int, metavar="N", help="epochs without a better BLEU on dev")
    c.add_argument("--seed", type=int, metavar="N", help="of weights, order and dropout")
    c.add_argument("--device", default="cpu", help="cpu or cuda (%(default)s)")
    c.add_argument("--bf16", action="store_true", help="matrix products in bfloat16")
    c.add_argument("--compile", action="store_true", help="translate the model first")
    c.add_argument("--tensorboard", metavar="DIR", help="write the log as TensorBoard events, too")
    c.set_defaults(run=_train)


def _add_evaluate(commands: Any) -> None:
    c = commands.add_parser("evaluate", help="BLEU, chrF and everyday sentences of a model")
    c.add_argument("--model", help=MODEL_HELP)
    c.add_argument("--hypotheses", metavar="FILE", help="translations, to score instead of a model")
    c.add_argument(
        "--set",
        metavar="NAME",
        help="multi30k-val, multi30k-test, tatoeba-dev, tatoeba-test, everyday, first-closed, "
        "first-unseen or all (multi30k-test)",
    )
    c.add_argument("--pair", default="en-fr", help="whose test sets: en-fr, fr-en, en-de, en-hi")
    c.add_argument("--source", metavar="FILE", help="another test set, a sentence a line")
    c.add_argument("--references", nargs="+", metavar="FILE", help="and its translations")
    c.add_argument(
        "--beam", type=int, default=BEAM_SIZE, metavar="N", help="beam size (%(default)s)"
    )
    c.add_argument(
        "--length-penalty", type=float, default=LENGTH_PENALTY, metavar="A", help="(%(default)s)"
    )
    c.add_argument("--out", metavar="FILE", help="write the translations here, one per line")
    c.add_argument("--json", metavar="FILE", help="write the scores here")
    c.add_argument(
        "--record", action="store_true", help="keep the scores of all sets with a shipped model"
    )
    c.set_defaults(run=_evaluate)


def _add_ship(commands: Any) -> None:
    c = commands.add_parser("ship", help="make a shipped model of a finished run")
    c.add_argument(
        "--run", dest="folder", type=Path, required=True, metavar="DIR", help="its folder"
    )
    c.add_argument("--as", dest="name", required=True, metavar="NAME", help="such as en-fr")
    c.add_argument(
        "--stored-as", default="int8", help="int8, float16, bfloat16 or float32 (%(default)s)"
    )
    c.add_argument("--hardware", default="", metavar="TEXT", help="what it ran on, for the card")
    c.set_defaults(run=_ship)


def _add_translate(commands: Any) -> None:
    c = commands.add_parser("translate", help="English lines on stdin, French lines on stdout")
    c.add_argument("--model", default=DEFAULT_MODEL, help=f"{MODEL_HELP} (%(default)s)")
    c.add_argument("--beam", type=int, metavar="N", help=f"beam size ({BEAM_SIZE})")
    c.add_argument("--length-penalty", type=float, metavar="A", help=f"({LENGTH_PENALTY})")
    c.add_argument("--sample", action="store_true", help="draw the words instead of searching")
    c.add_argument("--temperature", type=float, metavar="T", help="of --sample (1.0)")
    c.add_argument("--seed", type=int, metavar="N", help="of --sample (0)")
    c.add_argument(
        "--batch-size", type=int, default=64, metavar="N", help="lines at a time (%(default)s)"
    )
    c.add_argument("--device", default="cpu", help="cpu or cuda (%(default)s)")
    c.add_argument(
        "--attention",
        metavar="FILE",
        help="draw where the words of the first line that is not blank look (.png, .svg)",
    )
    c.set_defaults(run=_translate)


def _translate(arguments: argparse.Namespace) -> None:
    from scratch.plumbing.scoring.lines import input_lines, lines_at_a_time, translated
    from scratch.translation import Translator

    a, settings = arguments, _search_settings(arguments)
    if sys.stdin is None:
        raise ValueError("standard input is closed, expected English lines on it")
    if a.attention is not None:
        _check_picture(a.attention)
    translator = Translator.from_pretrained(a.model, device=a.device)
    at_a_time = lines_at_a_time(a.batch_size, sys.stdin.isatty())
    first = None
    lines = input_lines(sys.stdin.buffer)
    done = translated(translator, lines, at_a_time, model=a.model, **settings)
    for number, (line, found) in enumerate(done):
        print(" ".join(found.text.split()))  # one line out for each line in, whatever it is
        if (number + 1) % at_a_time == 0:
            sys.stdout.flush()
        if first is None and translator.tokenizer.normalise(line):
            first = line  # the first to throw dice, and again the first when it is drawn
    if a.attention is not None:
        _draw(translator, first or "", settings, Path(a.attention))


def _check_picture(name: str) -> None:
    """Refuse what no picture can be written to, before any line is translated."""
    from scratch.plumbing.extras import needs

    needs("figures")
    from matplotlib.backend_bases import FigureCanvasBase

    path, kinds = Path(name), FigureCanvasBase.get_supported_filetypes()
    good = path.suffix[1:].lower() in kinds and not path.is_dir()
    if not good or not os.access(path.parent, os.W_OK):
        raise ValueError(
            f"--attention is {name!r}, which cannot be drawn, expected a file in a folder that "
            "exists, with a name that ends in .png or .svg"
        )


def _draw(translator: Any, line: str, settings: dict[str, Any], path: Path) -> None:
    """Draw the attention of ``line``, which is translated once more, now with its weights."""
    from scratch.plumbing.attention_picture import save_attention

    found = translator.translate([line], need_weights=True, **settings)[0]
    if not found.tokens:
        raise ValueError("--attention found no words to draw, expected a translated line")
    save_attention(translator.tokenizer, line, found, path)


def _search_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what ``translate`` is to do; refuse options that contradict each other."""
    from scratch.plumbing import checks

    a = arguments
    checks.between("--batch-size", a.batch_size, 1, LARGEST_BATCH)
    search = {"--beam": a.beam, "--length-penalty": a.length_penalty}
    sampling = {"--temperature": a.temperature, "--seed": a.seed}
    for name, value in (search if a.sample else sampling).items():
        given = f"{name} is {value} {'with' if a.sample else 'without'} --sample"
        checks.require(value is None, f"{given}, expected {name} to be left out")
    a.beam = _given(a.beam, BEAM_SIZE)
    a.length_penalty = _given(a.length_penalty, LENGTH_PENALTY)
    _check_search(a)
    settings = {"batch_size": a.batch_size}
    if not a.sample:
        return settings | {"beam_size": a.beam, "length_penalty": a.length_penalty}
    temperature, seed = _given(a.temperature, 1.0), _given(a.seed, 0)
    checks.number("--temperature", temperature, 0.01, maximum=100.0)
    checks.at_least("--seed", seed, 0)
    return settings | {"temperature": temperature, "seed": seed}


def _given(value: Any, default: Any) -> Any:
    return default if value is None else value


def _check_search(arguments: argparse.Namespace) -> None:
    """Refuse a search that would end in want of memory or of numbers."""
    from scratch.plumbing import checks

    checks.between("--beam", arguments.beam, 1, 100)
    checks.number("--length-penalty", arguments.length_penalty, 0.0, maximum=10.0)


def _train(arguments: argparse.Namespace) -> None:
    from functools import partial

    from scratch.plumbing import checks
    from scratch.plumbing.data.corpora import PAIRS
    from scratch.plumbing.training.engine import Machine, processes, shared_work
    from scratch.plumbing.training.run import start_run

    a = arguments
    checks.require((a.recipe is None) != (a.pair is None), "expected a recipe or --pair, and one")
    recipe = a.recipe or a.pair
    checks.require(a.out != "", "--out is '', expected a folder for the run")
    once = a.tsv is not None and Path(a.tsv).is_fifo()
    checks.require(not once, f"--tsv is {a.tsv!r}, a pipe, expected a file: it is read twice")
    large = recipe in PAIRS and a.device == "cpu"
    usual = min(2, os.cpu_count() or 1) if large else 1
    count = usual if a.processes is None else a.processes
    checks.between("--processes", count, 1, 64)
    work = partial(
        start_run,
        recipe,
        Path(a.out),
        resume=a.resume,
        command=shlex.join(["python", "-m", "scratch", *a.words]),
        begin_with=a.begin_with,
        machine=Machine(a.device, a.bf16, a.compile),
        tensorboard=a.tensorboard,
        **{name: vars(a)[name] for name in CHANGES},
    )
    with shared_work(1 if processes()[1] > 1 else count, work):  # torchrun has started them
        work()


def _evaluate(arguments: argparse.Namespace) -> None:
    from scratch.plumbing.scoring.evaluation import Asked, run_evaluation

    a = arguments
    _check_search(a)
    asked = Asked(
        model=a.model,
        hypotheses=a.hypotheses,
        test_set=a.set,
        source=a.source,
        references=tuple(a.references or ()),
        out=a.out,
        json=a.json,
        pair=a.pair,
        record=a.record,
        beam=a.beam,
        length_penalty=a.length_penalty,
    )
    run_evaluation(asked)


def _ship(arguments: argparse.Namespace) -> None:
    from scratch.plumbing.models.ship import ship

    a = arguments
    folder, loss = ship(a.folder, a.name, stored_as=a.stored_as, hardware=a.hardware)
    print(f"{folder}: {sum(file.stat().st_size for file in folder.iterdir()) / 1e6:.1f} MB")
    print(f"stored as {a.stored_as}: {loss.describe()}")
    print(f"next: python -m scratch evaluate --model {a.name} --set all --record")


def _sizes(arguments: argparse.Namespace) -> None:
    import torch

    from scratch.transformer import Transformer, TransformerConfig, count_parameters

    printed = {"base": 65, "big": 213}  # million, Table 3
    print(f"{'preset':8}{'counted':>14}{'the paper':>14}{'difference':>13}{'in rows':>12}")
    for name in ("tiny", "base", "big"):
        config = TransformerConfig.preset(name)
        with torch.device("meta"):  # shapes without memory
            count = count_parameters(Transformer(config))
        paper = difference = rows = "-"
        if name in printed:
            missing = count - printed[name] * 1e6
            paper, difference = f"{printed[name]} million", f"{missing / 1e6:+.2f} M"
            rows = f"{missing / config.d_model:+,.0f}"
        print(f"{name:8}{count:14,}{paper:>14}{difference:>13}{rows:>12}")
    print(
        "In rows: the difference as rows of the embedding, d_model values each.\n"
        "Conjecture: the paper rounds to millions, says only 'about 37000' of its vocabulary, and\n"
        "may count what we do not have; no one vocabulary explains both differences, which have\n"
        "opposite signs."
    )
