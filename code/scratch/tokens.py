"""Tokens: text becomes a list of whole numbers, and comes back unchanged.

Chapter 2.  Byte-pair encoding after Sennrich et al. (2016), section 3.2, over bytes, so that
no character is ever unknown; trained and applied by the ``tokenizers`` library.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

from scratch.plumbing import checks

__all__ = ["BOS", "EOS", "PAD", "Tokenizer", "byte_pair_backend", "train_tokenizer"]

PAD = "<pad>"  # id 0 in every vocabulary
BOS = "<bos>"  # id 1
EOS = "<eos>"  # id 2

# A word with the space before it and, in French, the apostrophe that ends it (l', qu'); a digit;
# a run of punctuation and the like; spaces left over.  No merge crosses these borders.
WORD = r" ?\p{L}+'?| ?\p{N}| ?[^ \p{L}\p{N}]+| +"


class Tokenizer:
    """Byte-pair encoding of one vocabulary for both languages.

    ``decode(encode(text)) == normalise(text)`` for every text.
    """

    def __init__(self, backend: Backend) -> None:
        """Wrap a trained ``backend``.  Raises ValueError unless ids 0 to 2 are the special ones."""
        checks.instance("backend", backend, Backend)
        checks.tokenizer("backend", backend, (PAD, BOS, EOS))
        backend.encode_special_tokens = True  # "<eos>" typed by a reader is text, not an end
        self.backend = backend
        self.pad_id, self.bos_id, self.eos_id = 0, 1, 2

    def __reduce__(self) -> tuple[type["Tokenizer"], tuple[Backend]]:
        """Copy and pickle by the constructor: a copied backend takes typed "<eos>" for an end."""
        return type(self), (self.backend,)

    def __len__(self) -> int:
        """Return the size of the vocabulary, V."""
        return self.backend.get_vocab_size()

    def normalise(self, text: str) -> str:
        """Return ``text`` in Unicode's composed form, with plain apostrophes and single spaces."""
        return self.backend.normalizer.normalize_str(text).removeprefix(" ")

    def encode(self, text: str) -> list[int]:
        """Return the ids of ``text``, without <bos> and <eos>."""
        checks.text("text", text)
        return self.backend.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ``ids``; special tokens vanish."""
        checks.id_list("ids", ids, len(self))
        return self.backend.decode(list(ids)).removeprefix(" ")

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Return the text of each token by itself, a leading space included."""
        checks.id_list("ids", ids, len(self))
        return [self.backend.decode([i], skip_special_tokens=False) for i in ids]

    def save(self, path: str | Path) -> None:
        """Write the vocabulary and its merges to ``path`` as JSON."""
        Path(path).write_text(self.backend.to_str(pretty=True) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> "Tokenizer":
        """Read what :meth:`save` wrote.  Raises ValueError when ``path`` holds no tokenizer."""
        try:
            return cls(Backend.from_file(str(path)))
        except Exception as error:  # noqa: BLE001 - the library raises nothing narrower
            wrong = f"path is {str(path)!r}, expected a tokenizer file ({error})"
            raise ValueError(wrong) from None


def byte_pair_backend() -> Backend:
    """Return an untrained backend: how text is cleaned, cut into words and put together again."""
    backend = Backend(models.BPE())
    backend.normalizer = normalizers.Sequence(
        [
            normalizers.NFC(),
            normalizers.Replace(Regex("[\u2019\u02bc]"), "'"),  # printed and modifier apostrophe
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
            normalizers.Prepend(" "),  # so that a word is one token wherever it stands
        ]
    )
    split = pre_tokenizers.Split(Regex(WORD), behavior="isolated")
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([split, to_bytes])
    backend.decoder = decoders.ByteLevel()
    return backend


def train_tokenizer(lines: Iterable[str], vocab_size: int) -> Tokenizer:
    """Learn merges from ``lines`` until the vocabulary has at most ``vocab_size`` tokens.

    Raises ValueError for fewer than the 3 special tokens and 256 bytes.
    """
    checks.between("vocab_size", vocab_size, 3 + 256, 1_000_000)
    checks.several("lines", lines)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        show_progress=False,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    backend = byte_pair_backend()
    backend.train_from_iterator(lines, trainer)
    return Tokenizer(backend)
