"""The command line: ``python -m scratch translate``, ``train``, ``evaluate``, ``sizes``."""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

__all__ = ["main"]

DEFAULT_MODEL = "grammar-en-fr"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; a mistake of the user's is one line on stderr and exit status 2."""
    words = sys.argv[1:] if argv is None else list(argv)
    arguments = _parser().parse_args(words, argparse.Namespace(words=words))
    try:
        arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has seen enough
        _forget_output()
    except (ValueError, OSError) as error:
        _forget_output()
        print(f"scratch {arguments.command}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(f"\nscratch {arguments.command}: {str(stop) or 'stopped'}", file=sys.stderr)
        return 130
    return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; --help says more\n")


def _forget_output() -> None:
    """Print what can still be printed; the rest must not fail again when Python ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _read_lines() -> list[str]:
    """Return the lines of standard input; a line ends at a newline and nowhere else."""
    try:
        lines = sys.stdin.buffer.read().decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ValueError(f"line {line} of the input is not UTF-8, expected UTF-8") from None
    return [line.removesuffix("\r") for line in (lines if lines[-1] else lines[:-1])]


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m scratch", description="Train and use the Transformer that the book builds."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    c = commands.add_parser("translate", help="English lines on stdin, French lines on stdout")
    c.add_argument(
        "--model", default=DEFAULT_MODEL, help="a shipped model or a folder (%(default)s)"
    )
    c.add_argument("--beam", type=int, default=5, metavar="N", help="beam size (%(default)s)")
    c.add_argument("--length-penalty", type=float, default=0.6, metavar="A", help="(%(default)s)")
    c.add_argument("--batch-size", type=int, metavar="N", help="lines at a time (all, sorted)")
    c.add_argument(
        "--attention", metavar="FILE", help="draw the first line's attention (.png, .svg)"
    )
    c.set_defaults(run=_translate)

    c = commands.add_parser("train", help="train one of the book's recipes")
    c.add_argument("recipe", help="grammar, multi30k or en-fr, a chain of stages")
    c.add_argument("--out", required=True, metavar="DIR", help="folder of the run")
    c.add_argument("--resume", action="store_true", help="go on where the run in DIR stopped")
    c.add_argument("--threads", type=int, default=2, metavar="N", help="(%(default)s)")
    c.add_argument("--tsv", metavar="FILE", help="train on a file of two columns instead")
    c.add_argument("--begin-with", metavar="DIR", help="begin with a finished run's weights")
    c.add_argument("--batch-size", type=int, metavar="N", help="tokens in a batch")
    c.add_argument("--steps", type=int, metavar="N", help="how many updates")
    c.add_argument("--seed", type=int, metavar="N", help="of weights, order and dropout")
    c.add_argument("--device", default="cpu", help="cpu or cuda (%(default)s)")
    c.add_argument("--bf16", action="store_true", help="matrix products in bfloat16 (cuda)")
    c.add_argument("--compile", action="store_true", help="translate the model first")
    c.set_defaults(run=_train)

    c = commands.add_parser("evaluate", help="BLEU and chrF of a model on a Multi30k split")
    c.add_argument("--model", required=True, help="a shipped model or a folder")
    c.add_argument("--split", default="test_2016_flickr", help="(%(default)s)")
    c.add_argument("--beam", type=int, default=5, metavar="N", help="beam size (%(default)s)")
    c.add_argument("--length-penalty", type=float, default=0.6, metavar="A", help="(%(default)s)")
    c.add_argument("--out", metavar="FILE", help="write the translations here, one per line")
    c.set_defaults(run=_evaluate)

    c = commands.add_parser("sizes", help="the presets' parameters beside the paper's Table 3")
    c.set_defaults(run=_sizes)
    return parser


def _translate(arguments: argparse.Namespace) -> None:
    from scratch.plumbing import checks
    from scratch.translation import Translation, Translator

    _check_search(arguments)
    size = sys.maxsize if arguments.batch_size is None else arguments.batch_size
    checks.at_least("--batch-size", size, 1)
    translator = Translator.from_pretrained(arguments.model)
    lines = _read_lines()
    found: list[Translation] = []
    for start in range(0, len(lines), size):
        found += translator.translate(
            lines[start : start + size],
            beam_size=arguments.beam,
            length_penalty=arguments.length_penalty,
        )
    for translation in found:
        print(" ".join(translation.text.split()))  # one line out for each line in, whatever it is
    if arguments.attention:
        from scratch.plumbing.figures import save_attention

        first = next((i for i, t in enumerate(found) if t.text.strip()), None)
        if first is None:
            raise ValueError("--attention found no words to draw, expected a translated line")
        save_attention(translator, lines[first], found[first].text, Path(arguments.attention))


def _check_search(arguments: argparse.Namespace) -> None:
    """Refuse a search that would end in want of memory or of numbers."""
    from scratch.plumbing import checks

    checks.between("--beam", arguments.beam, 1, 100)
    checks.number("--length-penalty", arguments.length_penalty, 0.0, maximum=10.0)


def _train(arguments: argparse.Namespace) -> None:
    import torch

    from scratch.plumbing import checks
    from scratch.plumbing.chain import start_chain
    from scratch.plumbing.engine import Machine
    from scratch.plumbing.recipes import CHAINS
    from scratch.plumbing.trainer import Changes, start_run

    checks.between("--threads", arguments.threads, 1, 1024)
    torch.set_num_threads(arguments.threads)
    a = arguments
    start = start_chain if a.recipe in CHAINS else start_run
    start(
        a.recipe,
        Path(a.out),
        resume=a.resume,
        command=shlex.join(["python", "-m", "scratch", *a.words]),
        changes=Changes(a.tsv, a.batch_size, a.steps, a.seed, a.begin_with),
        machine=Machine(a.device, a.bf16, a.compile),
    )


def _evaluate(arguments: argparse.Namespace) -> None:
    import sacrebleu
    from tqdm import tqdm

    from scratch.datasets import multi30k
    from scratch.translation import Translator

    _check_search(arguments)
    if arguments.out and not Path(arguments.out).parent.is_dir():
        raise ValueError(f"--out is {arguments.out!r}, expected a file in a folder that exists")
    translator = Translator.from_pretrained(arguments.model)
    pairs = multi30k(arguments.split)
    found: list[str] = []
    for first in tqdm(range(0, len(pairs), 100), unit="batch"):
        lines = [english for english, _ in pairs[first : first + 100]]
        outputs = translator.translate(
            lines, beam_size=arguments.beam, length_penalty=arguments.length_penalty
        )
        found.extend(output.text for output in outputs)
    references = [[french for _, french in pairs]]
    for metric in (sacrebleu.BLEU(), sacrebleu.CHRF()):
        score = metric.corpus_score(found, references)
        print(f"{score.format(width=2)}  {metric.get_signature()}")
    if arguments.out:
        Path(arguments.out).write_text("".join(f"{line}\n" for line in found), encoding="utf-8")


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
