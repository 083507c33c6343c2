"""The Transformer: embeddings, positions, encoder, decoder and the scores of the next token.

Chapter 10.  Paper: section 3 and Table 3.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import Tensor, nn

from scratch.attention import causal_mask, padding_mask
from scratch.decoder import Decoder, DecoderMasks, LayerCache
from scratch.embedding import TokenEmbedding
from scratch.encoder import Encoder, Maps
from scratch.plumbing import checks
from scratch.positional import LearnedPositions, SinusoidalPositions

__all__ = [
    "AttentionMaps",
    "DecoderState",
    "Transformer",
    "TransformerConfig",
    "attention_maps",
    "count_parameters",
    "initialise",
]


class Transformer(nn.Module):
    """The encoder-decoder model: token ids in, scores of each next token out.

    Source: Vaswani et al. (2017), section 3 and figure 1.
    """

    def __init__(self, config: "TransformerConfig") -> None:
        super().__init__()
        self.config = c = config
        self.source_embedding = TokenEmbedding(c.vocab_size, c.d_model)
        self.target_embedding = self.output = self.source_embedding  # three names of one table
        if not c.tie_embeddings:
            self.target_embedding = TokenEmbedding(c.vocab_size, c.d_model)
            self.output = TokenEmbedding(c.vocab_size, c.d_model)
        positions = SinusoidalPositions if c.positions == "sinusoidal" else LearnedPositions
        self.source_positions = positions(c.d_model, c.max_len)
        self.target_positions = positions(c.d_model, c.max_len)
        sizes = (c.d_model, c.n_heads, c.d_ff)
        self.encoder = Encoder(c.n_encoder_layers, *sizes, norm=c.norm, dropout=c.dropout)
        self.decoder = Decoder(c.n_decoder_layers, *sizes, norm=c.norm, dropout=c.dropout)
        self.dropout = nn.Dropout(c.dropout)
        initialise(self)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Score every next token: ids (B, S) and (B, T) give logits (B, T, V).

        Position t of the result scores what comes after ``target[:, : t + 1]``.
        """
        state = self.start(source)  # the source is read; nothing is written yet
        hidden, _, _ = self.decode(target, state)  # (B, T, D)
        return self.output.logits(hidden)

    def start(self, source: Tensor) -> "DecoderState":
        """Read ``source`` ids (B, S) and return the state in which nothing is written yet."""
        memory, mask, _ = self.encode(source)
        return DecoderState(self.decoder.start_cache(memory), mask)

    def encode(self, source: Tensor, *, need_weights: bool = False) -> tuple[Tensor, Tensor, Maps]:
        """Read ``source`` ids (B, S): memory (B, S, D), its mask (B, 1, 1, S), the weights."""
        checks.readable("source", source, self.config.vocab_size, self.config.max_len)
        x = self.dropout(self.source_positions(self.source_embedding(source)))
        mask = padding_mask(source, self.config.pad_id)
        memory, weights = self.encoder(x, mask=mask, need_weights=need_weights)
        return memory, mask, weights

    def decode(
        self, target: Tensor, state: "DecoderState", *, need_weights: bool = False
    ) -> tuple[Tensor, Maps, Maps]:
        """Read ``target`` ids (B, T), which follow what ``state`` has read: hidden (B, T, D)."""
        c = self.config
        checks.readable("target", target, c.vocab_size, c.max_len, start=state.length)
        x = self.dropout(self.target_positions(self.target_embedding(target), start=state.length))
        return self.decoder(x, state.cache, state.read(target), need_weights=need_weights)

    def hidden(self, source: Tensor, target: Tensor) -> Tensor:
        """Return the decoder's last states (B, T, D) for ids (B, S) and (B, T)."""
        return self.decode(target, self.start(source))[0]


@dataclass
class DecoderState:
    """Where a generation stands: one cache per layer, the source mask, tokens read so far."""

    cache: list[LayerCache]
    memory_mask: Tensor  # (B, 1, 1, S)
    length: int = 0

    def read(self, target: Tensor) -> DecoderMasks:
        """Count ``target`` ids (B, T) as read; return who may see what from their positions.

        The causal mask is always there, in training and out of it.
        """
        checks.same_batch("target", target, "source", self.memory_mask)
        start = self.length
        self.length += target.shape[1]
        rows = causal_mask(self.length, device=target.device)[:, :, start:]  # (1, 1, T, read)
        return DecoderMasks(rows, self.memory_mask)

    def select(self, rows: Tensor) -> "DecoderState":
        """Return the state of the batch ``rows`` (whole numbers), in that order."""
        cache = [layer.select(rows) for layer in self.cache]
        return DecoderState(cache, self.memory_mask[rows], self.length)


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes and choices of a model; checked once, here, and never changed afterwards.

    ``norm`` is "post" (the paper) or "pre"; ``positions`` is "sinusoidal" or "learned";
    ``tie_embeddings`` shares one matrix between both embeddings and the output, as the paper
    does.  Presets: :meth:`preset`.  Raises ValueError for sizes that make no model.
    """

    vocab_size: int
    d_model: int = 512
    n_heads: int = 8
    d_ff: int = 2048
    n_encoder_layers: int = 6
    n_decoder_layers: int = 6
    dropout: float = 0.1
    max_len: int = 256
    norm: str = "post"
    positions: str = "sinusoidal"
    tie_embeddings: bool = True
    pad_id: int = 0
    bos_id: int = 1
    eos_id: int = 2

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "d_ff", "n_encoder_layers", "n_decoder_layers", "max_len")
        for name in sizes:
            checks.at_least(name, getattr(self, name), 1)
        checks.divisible("d_model", self.d_model, "n_heads", self.n_heads)
        checks.fraction("dropout", self.dropout)
        checks.one_of("norm", self.norm, ("post", "pre"))
        checks.one_of("positions", self.positions, ("sinusoidal", "learned"))
        if self.positions == "sinusoidal":
            checks.divisible("d_model", self.d_model, "a sine-cosine pair", 2)
        checks.instance("tie_embeddings", self.tie_embeddings, bool)
        checks.special_ids(self.pad_id, self.bos_id, self.eos_id, self.vocab_size)

    @classmethod
    def preset(cls, name: str, **changes: Any) -> "TransformerConfig":
        """Return ``tiny``, or the paper's ``base`` or ``big`` (Table 3), with ``changes`` made.

        The paper speaks of an English-German vocabulary of about 37,000 tokens (section 5.1).
        """
        presets = {
            "tiny": cls(8_000, 128, 4, 256, 4, 4),
            "base": cls(37_000, 512, 8, 2048, 6, 6, dropout=0.1),
            "big": cls(37_000, 1024, 16, 4096, 6, 6, dropout=0.3),
        }
        checks.one_of("name", name, tuple(presets))
        return replace(presets[name], **changes)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class AttentionMaps:
    """Attention weights of one pass, one tensor per layer: who looked where.

    ``encoder`` (B, H, S, S), ``decoder`` (B, H, T, T) and ``cross`` (B, H, T, S).  Row t of a
    decoder's map belongs to the position that reads target token t and predicts token t + 1.
    """

    encoder: tuple[Tensor, ...]
    decoder: tuple[Tensor, ...]
    cross: tuple[Tensor, ...]


def attention_maps(model: Transformer, source: Tensor, target: Tensor) -> AttentionMaps:
    """Return all attention weights of one pass over ids (B, S) and (B, T)."""
    memory, mask, encoder = model.encode(source, need_weights=True)
    state = DecoderState(model.decoder.start_cache(memory), mask)
    _, decoder, cross = model.decode(target, state, need_weights=True)
    stacks = (encoder, decoder, cross)
    return AttentionMaps(*(tuple(w for w in stack if w is not None) for stack in stacks))


def initialise(model: nn.Module) -> None:
    """Draw every projection from Xavier's uniform distribution and set its bias to 0.

    Embeddings and layer norms initialise themselves.  Source: Glorot and Bengio (2010),
    equation 16, as in the authors' code; the paper is silent.  ``torch.nn.Transformer`` takes
    query, key and value for one matrix (3D, D), which makes their numbers smaller by sqrt(2).
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)


def count_parameters(model: nn.Module) -> int:
    """Return the number of trained values; a shared matrix counts once."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
