"""The book's weights in other hands: Hugging Face's Marian and M2M100, and CTranslate2.

All three are Transformers as the book's: Marian has post-norm layers, M2M100 pre-norm ones, and
CTranslate2, an engine in C++, runs both.  Only the names of the weights differ, and the order of
the sines and cosines, so positions are handed over as a table.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scratch.datasets import pad_rows
from scratch.transformer import Transformer

__all__ = ["Decode", "ctranslate2_decoder", "hugging_face", "hugging_face_decoder"]

# sources as ids, sorted by length; beam size; batch size -> tokens without <bos> and <eos>
Decode = Callable[[Sequence[list[int]], int, int], list[list[int]]]


def room(source: Sequence[int]) -> int:
    """Return how many tokens, <eos> included, the book allows an output for ``source``."""
    return 2 * len(source) + 10


# -- Hugging Face


def hugging_face(model: Transformer) -> Any:
    """Return a Marian, if ``model`` has post-norm layers, or an M2M100 with the same weights."""
    import transformers

    c = model.config
    kind = "Marian" if c.norm == "post" else "M2M100"
    head = "MTModel" if c.norm == "post" else "ForConditionalGeneration"
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=c.vocab_size,
        d_model=c.d_model,
        encoder_layers=c.n_encoder_layers,
        decoder_layers=c.n_decoder_layers,
        encoder_attention_heads=c.n_heads,
        decoder_attention_heads=c.n_heads,
        encoder_ffn_dim=c.d_ff,
        decoder_ffn_dim=c.d_ff,
        max_position_embeddings=c.max_len,
        activation_function="relu",
        scale_embedding=True,
        tie_word_embeddings=True,
        pad_token_id=c.pad_id,
        bos_token_id=c.bos_id,
        eos_token_id=c.eos_id,
        decoder_start_token_id=c.bos_id,
        forced_eos_token_id=c.eos_id,
    )
    theirs = getattr(transformers, kind + head)(config).eval()
    with torch.no_grad():
        _fill(theirs.model, model)
    theirs.generation_config.suppress_tokens = [c.pad_id, c.bos_id]
    theirs.generation_config.forced_eos_token_id = c.eos_id
    return theirs


def _fill(theirs: Any, ours: Transformer) -> None:
    theirs.shared.weight.copy_(ours.source_embedding.weight)
    for part in ("encoder", "decoder"):
        stack, source = getattr(theirs, part), getattr(ours, part)
        for layer, given in zip(stack.layers, source.layers, strict=True):
            _fill_layer(layer, given)
        if ours.config.norm == "pre":
            _fill_norm(stack.layer_norm, source.final_norm)
        table = ours.source_positions.table if part == "encoder" else ours.target_positions.table
        if hasattr(stack.embed_positions, "weights"):  # M2M100 counts from 1, 0 being padding
            stack.embed_positions.weights = nn.functional.pad(table, (0, 0, 1, 2))
        else:
            stack.embed_positions.weight.copy_(table)


def _fill_layer(theirs: Any, ours: Any) -> None:
    _fill_attention(theirs.self_attn, ours.self_attention)
    _fill_norm(theirs.self_attn_layer_norm, ours.residual_1.norm)
    if hasattr(theirs, "encoder_attn"):
        _fill_attention(theirs.encoder_attn, ours.cross_attention)
        _fill_norm(theirs.encoder_attn_layer_norm, ours.residual_2.norm)
    last = ours.residual_3 if hasattr(ours, "residual_3") else ours.residual_2
    _fill_norm(theirs.final_layer_norm, last.norm)
    theirs.fc1.load_state_dict(ours.feed_forward.expand.state_dict())
    theirs.fc2.load_state_dict(ours.feed_forward.contract.state_dict())


def _fill_attention(theirs: Any, ours: Any) -> None:
    names = {"q_proj": "w_query", "k_proj": "w_key", "v_proj": "w_value", "out_proj": "w_output"}
    for name, our_name in names.items():
        getattr(theirs, name).load_state_dict(getattr(ours, our_name).state_dict())


def _fill_norm(theirs: Any, ours: Any) -> None:
    theirs.weight.copy_(ours.scale)
    theirs.bias.copy_(ours.shift)


def hugging_face_decoder(model: Transformer) -> Decode:
    """Return ``generate`` of the peer with ``model``'s weights, cache and all."""
    theirs, c = hugging_face(model), model.config

    def decode(sources: Sequence[list[int]], beam_size: int, batch_size: int) -> list[list[int]]:
        found: list[list[int]] = []
        beam = {"early_stopping": True, "length_penalty": 0.0} if beam_size > 1 else {}
        for first in range(0, len(sources), batch_size):
            rows = sources[first : first + batch_size]
            ids = pad_rows(rows, c.pad_id)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                outputs = theirs.generate(
                    input_ids=ids,
                    attention_mask=(ids != c.pad_id).long(),
                    num_beams=beam_size,
                    do_sample=False,
                    use_cache=True,
                    **beam,
                    max_new_tokens=min(room(rows[-1]), c.max_len),
                )
            found += [_cut(row, c.eos_id) for row in outputs[:, 1:].tolist()]
        return found

    return decode


def _cut(row: list[int], end: int) -> list[int]:
    return row[: row.index(end)] if end in row else row


# -- CTranslate2


def ctranslate2_decoder(model: Transformer, folder: Path) -> Decode:
    """Return the engine's ``translate_batch`` with ``model``'s weights, stored in ``folder``."""
    import ctranslate2

    c = model.config
    names = [str(i) for i in range(c.vocab_size)]
    for special, i in (("<pad>", c.pad_id), ("<s>", c.bos_id), ("</s>", c.eos_id)):
        names[i] = special
    _specification(model, names).save(str(folder))
    engine = ctranslate2.Translator(
        str(folder), inter_threads=1, intra_threads=torch.get_num_threads()
    )
    number = {name: i for i, name in enumerate(names)}

    def decode(sources: Sequence[list[int]], beam_size: int, batch_size: int) -> list[list[int]]:
        found: list[list[int]] = []
        for first in range(0, len(sources), batch_size):
            rows = sources[first : first + batch_size]
            results = engine.translate_batch(
                [[names[i] for i in row] for row in rows],
                beam_size=beam_size,
                length_penalty=0.0,
                max_decoding_length=min(room(rows[-1]), c.max_len) - 1,  # without <eos>
                suppress_sequences=[["<pad>"], ["<s>"]],
            )
            found += [[number[t] for t in result.hypotheses[0]] for result in results]
        return found

    return decode


def _specification(model: Transformer, names: list[str]) -> Any:
    import ctranslate2

    c = model.config
    layers = (c.n_encoder_layers, c.n_decoder_layers)
    spec = ctranslate2.specs.TransformerSpec.from_config(
        layers, c.n_heads, pre_norm=c.norm == "pre"
    )
    weight = _array(model.source_embedding.weight)
    spec.encoder.embeddings[0].weight = weight
    spec.decoder.embeddings.weight = spec.decoder.projection.weight = weight
    for part in ("encoder", "decoder"):
        stack, given = getattr(spec, part), getattr(model, part)
        stack.position_encodings.encodings = _array(model.source_positions.table)
        for layer, ours in zip(stack.layer, given.layers, strict=True):
            _specify_layer(layer, ours)
        if c.norm == "pre":
            _specify_norm(stack.layer_norm, given.final_norm)
    spec.register_source_vocabulary(names)
    spec.register_target_vocabulary(names)
    spec.config.unk_token, spec.config.layer_norm_epsilon = names[3], 1e-5
    spec.validate()
    spec.optimize(quantization="float32")
    return spec


def _specify_layer(layer: Any, ours: Any) -> None:
    a = ours.self_attention
    _specify_linear(layer.self_attention.linear[0], a.w_query, a.w_key, a.w_value)
    _specify_linear(layer.self_attention.linear[1], a.w_output)
    _specify_norm(layer.self_attention.layer_norm, ours.residual_1.norm)
    last = ours.residual_2
    if hasattr(ours, "cross_attention"):
        a = ours.cross_attention
        _specify_linear(layer.attention.linear[0], a.w_query)
        _specify_linear(layer.attention.linear[1], a.w_key, a.w_value)
        _specify_linear(layer.attention.linear[2], a.w_output)
        _specify_norm(layer.attention.layer_norm, ours.residual_2.norm)
        last = ours.residual_3
    _specify_linear(layer.ffn.linear_0, ours.feed_forward.expand)
    _specify_linear(layer.ffn.linear_1, ours.feed_forward.contract)
    _specify_norm(layer.ffn.layer_norm, last.norm)


def _specify_linear(place: Any, *linears: nn.Linear) -> None:
    place.weight = _array(torch.cat([linear.weight for linear in linears]))
    place.bias = _array(torch.cat([linear.bias for linear in linears]))


def _specify_norm(place: Any, norm: Any) -> None:
    place.gamma, place.beta = _array(norm.scale), _array(norm.shift)


def _array(x: Tensor) -> Any:
    return x.detach().float().contiguous().numpy()
