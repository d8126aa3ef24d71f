"""Cases of attention, encoders and decoders. No step is kept from all others: torch's own ways differ there."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from hypothesis import strategies as st

from parity.axes import Array
from parity.frameworks import torch
from parity.inputs.strategies.cases import Case, arrays, cases_of, seeded
from parity.pairs import Input

STYLES = ("noise", "zero", "negative", "small", "sparse")
"""Nothing large: of scores in the thousands only the greatest counts, and which that is, rounding decides."""

MORE = ("add_bias_kv", "add_zero_attn")
functional = torch.nn.functional


@cases_of(torch.nn.MultiheadAttention, "multihead_attention")
def multihead_attention(draw: st.DrawFn) -> Case:
    """Of a sequence to itself or to another, with every setting; masks of keys and of pairs; weights of all or each."""
    heads, steps, asked, batch = (draw(st.integers(1, most)) for most in (3, 4, 5, 3))
    features, batch_first, itself = heads * draw(st.integers(1, 3)), draw(st.booleans()), draw(st.booleans())
    widths = {} if itself else {name: draw(st.none() | st.integers(1, 5)) for name in ("kdim", "vdim")}
    steps = heads if features == heads and draw(st.booleans()) else steps  # where Keras takes one for the other
    more = draw(st.booleans())
    settings = {"bias": draw(st.booleans()), **{each: more and draw(st.booleans()) for each in MORE}}
    module = torch.nn.MultiheadAttention(features, heads, batch_first=batch_first, **settings, **widths)
    args = [_sequence(draw, batch, steps, features, batch_first)] * 3
    if itself:
        asked = steps
    else:
        args[1:] = (_sequence(draw, batch, asked, width, batch_first) for width in (module.kdim, module.vdim))
    numbers = draw(st.booleans())
    masks = {
        "key_padding_mask": (_padding(draw, batch, asked, numbers=numbers), "NL"),
        "attn_mask": _pairs(draw, steps, asked, (batch * heads,), numbers=numbers),
    }
    asks = {name: False for name in ("need_weights", "average_attn_weights") if draw(st.booleans())}
    return _case(draw, module, args, masks, asks)


class _Attending(torch.nn.Module):
    """The function, with some of its settings."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.settings = settings

    def forward(self, query: Any, key: Any, value: Any, attn_mask: Any = None) -> Any:
        return functional.scaled_dot_product_attention(query, key, value, attn_mask, **self.settings)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.settings.items())


@cases_of(functional.scaled_dot_product_attention, "scaled_dot_product_attention")
def scaled_dot_product_attention(draw: st.DrawFn) -> Case:
    """With heads or without, values of another width, a mask of either kind or a causal one, keys for several heads."""
    heads, steps, asked, batch, features, width = (draw(st.integers(1, most)) for most in (3, 4, 5, 3, 4, 4))
    rank, settings = draw(st.sampled_from((3, 4))), dict[str, Any]()
    several = draw(st.integers(1, 2)) if rank == 4 else 1
    if draw(st.booleans()):
        settings["scale"] = draw(st.sampled_from((0.3, 2.0, 5.0)))
    if several > 1:
        settings["enable_gqa"] = True
    masks = {}
    if draw(st.booleans()):
        settings["is_causal"] = True
    else:
        mask, layout = _pairs(
            draw, steps, asked, (batch, heads * several) if rank == 4 else (), numbers=draw(st.booleans())
        )
        masks = {"attn_mask": (_inverted(mask), layout)}
    shapes = [(batch, heads * several, steps, features), (batch, heads, asked, features), (batch, heads, asked, width)]
    args = [draw(arrays(shape if rank == 4 else (shape[0], *shape[2:]), STYLES))[0] for shape in shapes]
    layout = "NALC" if rank == 4 else "NLC"
    return _case(draw, _Attending(**settings), [(arg, layout) for arg in args], masks)


@cases_of(torch.nn.TransformerEncoderLayer, "transformer_encoder_layer")
def transformer_encoder_layer(draw: st.DrawFn) -> Case:
    """Norms before or after, activations by name, function or module; masks of numbers off torch's fast path."""
    layer = _layer(draw, torch.nn.TransformerEncoderLayer)
    return _encoder(draw, layer, layer, "src_mask")


@cases_of(torch.nn.TransformerEncoder, "transformer_encoder")
def transformer_encoder(draw: st.DrawFn) -> Case:
    """One or two of its layers, with a norm after them or without; as nested tensors where torch takes them."""
    nested = draw(st.booleans())
    layer = _nesting(draw) if nested else _layer(draw, torch.nn.TransformerEncoderLayer)
    norm = torch.nn.LayerNorm(layer.linear1.in_features) if draw(st.booleans()) else None
    module = torch.nn.TransformerEncoder(layer, draw(st.integers(1, 2)), norm, enable_nested_tensor=nested)
    return _encoder(draw, module, layer, "mask")


@cases_of(torch.nn.TransformerDecoderLayer, "transformer_decoder_layer")
def transformer_decoder_layer(draw: st.DrawFn) -> Case:
    """Norms before or after, activations by name, function or module; four masks of either kind."""
    layer = _layer(draw, torch.nn.TransformerDecoderLayer)
    return _decoder(draw, layer, layer)


@cases_of(torch.nn.TransformerDecoder, "transformer_decoder")
def transformer_decoder(draw: st.DrawFn) -> Case:
    """One or two of its layers, with a norm after them or without."""
    layer = _layer(draw, torch.nn.TransformerDecoderLayer)
    norm = torch.nn.LayerNorm(layer.linear1.in_features) if draw(st.booleans()) else None
    return _decoder(draw, torch.nn.TransformerDecoder(layer, draw(st.integers(1, 2)), norm), layer)


def _layer(draw: st.DrawFn, kind: Any) -> Any:
    """A layer of an encoder or a decoder, with every setting."""
    heads = draw(st.integers(1, 2))
    activations = ("relu", "gelu", functional.silu, torch.nn.GELU(), torch.nn.LeakyReLU(0.1), torch.tanh)
    return kind(
        heads * draw(st.integers(1, 3)),
        heads,
        dim_feedforward=draw(st.integers(1, 5)),
        activation=draw(st.sampled_from(activations)),
        layer_norm_eps=draw(st.sampled_from((1e-5, 1e-3))),
        batch_first=draw(st.booleans()),
        norm_first=draw(st.booleans()),
        bias=draw(st.booleans()),
    )


def _nesting(draw: st.DrawFn) -> Any:
    """A layer that makes torch's encoder take nested tensors where there is padding."""
    return torch.nn.TransformerEncoderLayer(
        2 * draw(st.integers(1, 3)),
        2,
        dim_feedforward=draw(st.integers(1, 5)),
        activation=draw(st.sampled_from(("relu", "gelu"))),
        batch_first=True,
    )


def _has_fast_path(layer: torch.nn.TransformerEncoderLayer) -> bool:
    """Whether torch's fast path may compute it, which takes numbers of a mask for True."""
    attention = layer.self_attn
    ready = attention.batch_first and attention.in_proj_bias is not None and attention.num_heads % 2 == 0
    return bool(ready and layer.activation_relu_or_gelu)


def _encoder(draw: st.DrawFn, module: torch.nn.Module, layer: Any, mask: str) -> Case:
    """A case of an encoder or its layer, which has one sequence."""
    attention, steps, batch = layer.self_attn, draw(st.integers(1, 4)), draw(st.integers(1, 3))
    numbers = not _has_fast_path(layer) and draw(st.booleans())
    source = _sequence(draw, batch, steps, attention.embed_dim, attention.batch_first)
    masks = {
        "src_key_padding_mask": (_padding(draw, batch, steps, numbers=numbers), "NL"),
        mask: _pairs(draw, steps, steps, (batch * attention.num_heads,), numbers=numbers),
    }
    return _case(draw, module, [source], masks)


def _decoder(draw: st.DrawFn, module: torch.nn.Module, layer: Any) -> Case:
    """A case of a decoder or its layer, which has a sequence and what it attends to."""
    attention, steps, asked, batch = layer.self_attn, *(draw(st.integers(1, most)) for most in (4, 5, 3))
    args = [_sequence(draw, batch, length, attention.embed_dim, attention.batch_first) for length in (steps, asked)]
    numbers = draw(st.booleans())
    masks = {
        "tgt_mask": _pairs(draw, steps, steps, (batch * attention.num_heads,), numbers=numbers),
        "memory_mask": _pairs(draw, steps, asked, (batch * attention.num_heads,), numbers=numbers),
        "tgt_key_padding_mask": (_padding(draw, batch, steps, numbers=numbers), "NL"),
        "memory_key_padding_mask": (_padding(draw, batch, asked, numbers=numbers), "NL"),
    }
    return _case(draw, module, args, masks)


def _sequence(draw: st.DrawFn, batch: int, steps: int, features: int, batch_first: bool) -> tuple[Array, str]:
    """A sequence, and its layout."""
    shape = (batch, steps, features) if batch_first else (steps, batch, features)
    return draw(arrays(shape, STYLES))[0], "NLC" if batch_first else "LNC"


def _padding(draw: st.DrawFn, batch: int, steps: int, *, numbers: bool) -> Array | None:
    """A mask of the steps of each sequence, (N, S), or none: at the end or anywhere; one step or more is left."""
    how = draw(st.sampled_from((None, "at the end", "anywhere")))
    if how is None:
        return None
    generator = np.random.default_rng(draw(st.integers(0, 2**16)))
    at_the_end: Array = np.arange(steps) >= generator.integers(1, steps + 1, (batch, 1))
    return _as(at_the_end if how == "at the end" else _not_all(generator, (batch, steps)), generator, numbers)


def _pairs(
    draw: st.DrawFn, steps: int, asked: int, each: tuple[int, ...], *, numbers: bool
) -> tuple[Array | None, str]:
    """A mask (L, S), or one for each head and sequence, or none; and its layout. It leaves the first step to all."""
    how = draw(st.sampled_from((None, "causal", "anywhere")))
    shape = (*each, steps, asked) if how and each and draw(st.booleans()) else (steps, asked)
    layout = {2: "LM", 3: "NLM", 4: "NALM"}[len(shape)]
    if how is None:
        return None, layout
    generator = np.random.default_rng(draw(st.integers(0, 2**16)))
    causal = np.broadcast_to(~np.tri(steps, asked, dtype=bool), shape).copy()
    return _as(causal if how == "causal" else _not_all(generator, shape), generator, numbers), layout


def _as(mask: Array, generator: np.random.Generator, numbers: bool) -> Array:
    """The mask, or numbers to be added: minus infinity where it has True, and mostly 0 elsewhere."""
    if not numbers:
        return mask
    added = generator.standard_normal(mask.shape) * (generator.random(mask.shape) < 0.4)
    return np.where(mask, -np.inf, added).astype(np.float32)


def _not_all(generator: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """True in about a third of the places, but never in the first step."""
    mask: Array = generator.random(shape) < 0.3
    mask[..., 0] = False
    return mask


def _inverted(mask: Array | None) -> Array | None:
    """The mask as the function takes it, which is told what may be attended to."""
    return ~mask if mask is not None and mask.dtype == bool else mask


def _case(
    draw: st.DrawFn, module: torch.nn.Module, args: Any, masks: Mapping[str, Any], asks: Mapping[str, Any] | None = None
) -> Case:
    """A case of a module on arrays with their layouts, by place and, those that are there, by name."""
    module = seeded(module, draw(st.integers(0, 2**16)))
    there = {name: mask for name, mask in masks.items() if mask[0] is not None}
    kwargs = {**{name: array for name, (array, _) in there.items()}, **(asks or {})}
    given = Input(name="sequences", args=tuple(array for array, _ in args), kwargs=kwargs, origin="drawn")
    letters = [layout for _, layout in (*args, *there.values())]
    return Case(module=module, given=given, layouts=dict(zip(given.arrays, letters, strict=True)))
