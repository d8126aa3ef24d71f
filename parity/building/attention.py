"""Attention, and the encoders and decoders made of it: N batch, L steps that ask, S steps that are asked, e features.

Steps in which nothing may be attended to are none of these builders' business: torch gives NaN there on one of its
ways, 0 on another, and the port the mean of all.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from parity.axes import Array
from parity.building.registry import apply, build, builder_of, builds
from parity.building.values import Site, Value
from parity.converters.attention import projections
from parity.converters.registry import kind_name, numpy
from parity.errors import ConversionError
from parity.frameworks import keras, torch

Layer = torch.nn.TransformerEncoderLayer | torch.nn.TransformerDecoderLayer
Masks = Sequence[Any]
"""What may not be attended to, (..., L, S) or of length 1 along an axis: True where not, or numbers to be added."""

LOWEST = float(np.finfo(np.float32).min)
"""What a score becomes that does not count."""
MASKED = "steps in which nothing may be attended to are not torch's"
NO_HINT = "is_causal is the hint it is in torch: the mask counts"


@builds(
    torch.nn.MultiheadAttention,
    layout="values",
    how="MultiHeadAttention; composed for weights under a mask, masks of numbers, heads of one feature, added keys",
    limits=f"refused: a sequence without a batch; {MASKED}; {NO_HINT}; dropout is left out",
)
def multihead_attention(
    layer: torch.nn.MultiheadAttention,
    site: Site,
    query: Value,
    key: Value,
    value: Value,
    key_padding_mask: Value | None = None,
    need_weights: bool = True,
    attn_mask: Value | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> Any:
    """(N, L, e), (N, S, k) and (N, S, v) to (N, L, e), N and L as torch has them, and the weights (N, [h,] L, S)."""
    order = _order(layer, site, query)
    masks = _masks(layer.num_heads, key_padding_mask, attn_mask)
    steps = [each.moved(order) for each in (query, key, value)]
    output, weights = _attended_by_heads(layer, site, steps, masks, need_weights)
    if weights is None:
        return Value(output, order), None
    return Value(output, order), Value.plain(keras.ops.mean(weights, axis=1) if average_attn_weights else weights)


def _order(layer: torch.nn.MultiheadAttention, site: Site, x: Value) -> tuple[int, ...]:
    """The order in which the batch is first."""
    if len(x.order) != 3:
        raise ConversionError(
            f"{site.path or kind_name(type(layer))}: its input has {len(x.order)} axes, that is no batch; "
            "Keras's attention takes a batch, 3 axes"
        )
    return (0, 1, 2) if layer.batch_first else (1, 0, 2)


def _masks(heads: int, padding: Value | None, attention: Value | None) -> Masks:
    """The masks of keys (N, S) and of pairs, (L, S) or (N * h, L, S), each as (N or 1, h or 1, L or 1, S)."""
    masks = []
    if padding is not None:
        masks.append(keras.ops.expand_dims(padding.moved((0, 1)), (1, 2)))
    if attention is not None and len(attention.order) == 2:
        masks.append(keras.ops.expand_dims(attention.moved((0, 1)), (0, 1)))
    elif attention is not None:
        _, *pairs = attention.shape
        masks.append(keras.ops.reshape(attention.moved((0, 1, 2)), (-1, heads, *pairs)))
    return masks


def _attended_by_heads(
    layer: torch.nn.MultiheadAttention, site: Site, steps: Sequence[Any], masks: Masks, need_weights: bool
) -> tuple[Any, Any]:
    """Query (N, L, e), key (N, S, k) and value (N, S, v) to (N, L, e) and weights (N, h, L, S), if they are needed.

    Keras's layer takes no numbers for a mask; where it is asked for weights it gives what is masked a score of -1e9,
    and takes them for (N, h, L, L); it adds a bias of heads that are one feature wide along the steps, if as many.
    """
    more = layer.bias_k is not None or layer.add_zero_attn
    narrow = layer.head_dim == 1 and layer.in_proj_bias is not None
    crossed = steps[0].shape[1] != steps[1].shape[1]
    if more or narrow or ((masks or crossed) and need_weights) or not all(_is_bool(mask) for mask in masks):
        output, weights = _composed(layer, site, steps, masks)
        return output, weights if need_weights else None
    has_bias = layer.in_proj_bias is not None
    made = keras.layers.MultiHeadAttention(
        layer.num_heads, layer.head_dim, use_bias=has_bias, attention_axes=(1,), name=site.name()
    )
    query, key, value = steps
    mask = None
    for each in masks:
        mask = keras.ops.logical_not(each) if mask is None else keras.ops.logical_and(mask, keras.ops.logical_not(each))
    call = site.layer(made, weights_of=layer)
    if need_weights:
        output, weights = call(query, value, key, return_attention_scores=True)
        return output, weights
    return call(query, value, key, attention_mask=mask), None


def _composed(layer: torch.nn.MultiheadAttention, site: Site, steps: Sequence[Any], masks: Masks) -> tuple[Any, Any]:
    """The same of Dense layers for the four projections, and of one more key and value, or two."""
    arrays = projections(layer)

    def projected(part: str, x: Any, name: str) -> Any:
        kernel, *bias = arrays[part]
        made = keras.layers.Dense(layer.embed_dim, use_bias=bool(bias), name=name)
        return site.layer(made, arrays=[kernel, *bias])(x)

    query, key, value = (projected(part, x, site.name(part)) for part, x in zip(arrays, steps, strict=False))
    if layer.bias_k is not None and layer.bias_v is not None:
        key, value = _with_one_more(key, numpy(layer.bias_k)), _with_one_more(value, numpy(layer.bias_v))
    if layer.add_zero_attn:
        key, value = (_with_one_more(x, np.zeros((1, 1, layer.embed_dim), np.float32)) for x in (key, value))
    more = (layer.bias_k is not None) + layer.add_zero_attn
    query, key, value = (_by_head(x, layer.num_heads) for x in (query, key, value))
    masks = [_with_more_allowed(mask, more) for mask in masks]
    attended, weights = _attended(query, key, value, masks, layer.head_dim**-0.5)
    joined = keras.ops.reshape(keras.ops.transpose(attended, (0, 2, 1, 3)), (-1, query.shape[2], layer.embed_dim))
    return projected("output", joined, site.name()), weights


def _with_one_more(x: Any, row: Array) -> Any:
    """(N, S, e) and (1, 1, e) to (N, S + 1, e)."""
    return keras.ops.concatenate([x, keras.ops.zeros_like(x[:, :1]) + row], axis=1)


def _with_more_allowed(mask: Any, more: int) -> Any:
    """(..., S) to (..., S + more), what is more being allowed, with nothing added."""
    return keras.ops.concatenate([mask, *[keras.ops.zeros_like(mask[..., :1])] * more], axis=-1) if more else mask


def _by_head(x: Any, heads: int) -> Any:
    """(N, S, h * d) to (N, h, S, d)."""
    _, steps, features = x.shape
    return keras.ops.transpose(keras.ops.reshape(x, (-1, steps, heads, features // heads)), (0, 2, 1, 3))


def _attended(query: Any, key: Any, value: Any, masks: Masks, scale: float) -> tuple[Any, Any]:
    """(..., L, d), (..., S, d) and (..., S, v) to (..., L, v), and the weights (..., L, S)."""
    scores = keras.ops.matmul(query * scale, keras.ops.swapaxes(key, -1, -2))
    for mask in masks:  # `subtract` broadcasts, where `add` may take a mask for a bias
        scores = keras.ops.where(mask, LOWEST, scores) if _is_bool(mask) else keras.ops.subtract(scores, -mask)
    weights = keras.ops.softmax(scores, axis=-1)
    return keras.ops.matmul(weights, value), weights


def _is_bool(mask: Any) -> bool:
    return bool(keras.backend.standardize_dtype(mask.dtype) == "bool")


def _later(query: Any, key: Any) -> Any:
    """(..., L, S), True where the key is later than the query. Of it only the numbers of the steps are saved."""
    steps, others = (np.arange(x.shape[-2], dtype=np.float32) for x in (query, key))
    return keras.ops.less(keras.ops.subtract(steps[:, np.newaxis], keras.ops.zeros_like(query[..., :1])), others)


@builds(
    torch.nn.functional.scaled_dot_product_attention,
    layout="torch",
    how="matmul, softmax, matmul",
    limits=f"dropout_p other than 0 is refused: torch drops in inference too; {MASKED}",
)
def scaled_dot_product_attention(
    site: Site,
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """(..., L, d), (..., S, d) and (..., S, v) to (..., L, v); the mask says what may be attended to, not what not."""
    if dropout_p:
        raise ConversionError(
            f"{site.path}: dropout_p={dropout_p} drops at random in inference too; call it with 0 there"
        )
    if enable_gqa:
        key, value = (keras.ops.repeat(x, query.shape[-3] // x.shape[-3], axis=-3) for x in (key, value))
    masks = [] if attn_mask is None else [keras.ops.logical_not(attn_mask) if _is_bool(attn_mask) else attn_mask]
    if is_causal:
        masks.append(_later(query, key))
    attended, _ = _attended(query, key, value, masks, query.shape[-1] ** -0.5 if scale is None else scale)
    return attended


PARTS = "MultiHeadAttention, Dense and LayerNormalization"
TWO_WAYS = "refused where torch's fast path computes something else than its slow one: masks of numbers, GELU('tanh')"


@builds(torch.nn.TransformerEncoderLayer, layout="values", how=PARTS, limits=f"{TWO_WAYS}; {MASKED}")
def transformer_encoder_layer(
    layer: torch.nn.TransformerEncoderLayer,
    site: Site,
    src: Value,
    src_mask: Value | None = None,
    src_key_padding_mask: Value | None = None,
    is_causal: bool = False,
) -> Value:
    """(N, L, e) to the same, N and L as torch has them."""
    order = _order(layer.self_attn, site, src)
    _refuse_two_ways(layer, site, [mask for mask in (src_mask, src_key_padding_mask) if mask is not None])
    masks = _masks(layer.self_attn.num_heads, src_key_padding_mask, src_mask)
    x = _residual(layer, site, "norm1", src.moved(order), _attention(layer, site, "self_attn", masks))
    return Value(_residual(layer, site, "norm2", x, _feed_forward(layer, site)), order)


@builds(torch.nn.TransformerDecoderLayer, layout="values", how=PARTS, limits=f"{MASKED}; {NO_HINT}")
def transformer_decoder_layer(
    layer: torch.nn.TransformerDecoderLayer,
    site: Site,
    tgt: Value,
    memory: Value,
    tgt_mask: Value | None = None,
    memory_mask: Value | None = None,
    tgt_key_padding_mask: Value | None = None,
    memory_key_padding_mask: Value | None = None,
    tgt_is_causal: bool = False,
    memory_is_causal: bool = False,
) -> Value:
    """(N, L, e) and (N, S, e) to (N, L, e), N and L as torch has them."""
    order = _order(layer.self_attn, site, tgt)
    own = _masks(layer.self_attn.num_heads, tgt_key_padding_mask, tgt_mask)
    others = _masks(layer.multihead_attn.num_heads, memory_key_padding_mask, memory_mask)
    of_memory = _attention(layer, site, "multihead_attn", others, memory.moved(order))
    x = _residual(layer, site, "norm1", tgt.moved(order), _attention(layer, site, "self_attn", own))
    x = _residual(layer, site, "norm2", x, of_memory)
    return Value(_residual(layer, site, "norm3", x, _feed_forward(layer, site)), order)


def _residual(layer: Layer, site: Site, norm: str, x: Any, block: Callable[[Any], Any]) -> Any:
    """(N, L, e) to the same: with what the block makes of it, normalised before that or after."""
    if layer.norm_first:
        return x + block(_built(layer, site, norm, x))
    return _built(layer, site, norm, x + block(x))


def _attention(layer: Layer, site: Site, name: str, masks: Masks, memory: Any = None) -> Callable[[Any], Any]:
    """What attends to the memory, or to what it is given: (N, L, e) to the same."""

    def attended(x: Any) -> Any:
        asked = x if memory is None else memory
        part = site.part(name)
        return _attended_by_heads(getattr(layer, name), part, (x, asked, asked), masks, need_weights=False)[0]

    return attended


def _feed_forward(layer: Layer, site: Site) -> Callable[[Any], Any]:
    """What makes (N, L, e) of the same, over a layer of another width."""

    def fed(x: Any) -> Any:
        x = _built(layer, site, "linear1", x)
        if isinstance(layer.activation, torch.nn.Module):
            x = _built(layer, site, "activation", x)
        else:
            x = apply(builder_of(layer.activation), site.part("activation"), (Value.plain(x),), {}).tensor
        return _built(layer, site, "linear2", x)

    return fed


def _built(layer: torch.nn.Module, site: Site, name: str, x: Any) -> Any:
    """What a part of a layer makes of (N, L, e), which has its axes where torch's batch_first has them."""
    return build(getattr(layer, name), site.part(name), Value.plain(x)).tensor


def _has_fast_path(layer: torch.nn.TransformerEncoderLayer) -> bool:
    """Whether torch computes it in one piece, in inference and without gradients."""
    attention = layer.self_attn
    return bool(
        attention.batch_first
        and attention.in_proj_bias is not None
        and attention.num_heads % 2 == 0
        and layer.activation_relu_or_gelu
        and layer.norm1.eps == layer.norm2.eps
    )


def _refuse_two_ways(layer: torch.nn.TransformerEncoderLayer, site: Site, masks: Sequence[Value]) -> None:
    """What torch computes differently on its fast path: with a hook on any of the layers the values are others."""
    if not _has_fast_path(layer):
        return
    title = site.path or kind_name(type(layer))
    if getattr(layer.activation, "approximate", "none") != "none":
        raise ConversionError(
            f"{title}: torch's fast path computes GELU by erf where the layer says {layer.activation}; "
            "set its activation to what you mean"
        )
    if not all(_is_bool(mask.tensor) or _only_masks(mask.tensor) for mask in masks):
        raise ConversionError(
            f"{title}: torch's fast path takes every number of a mask but 0 for True, and its slow path adds it; "
            "give it a mask of True and False"
        )


def _only_masks(mask: Any) -> bool:
    """Whether a mask of numbers is known to have none but 0 and minus infinity, which mean the same on either path."""
    return isinstance(mask, np.ndarray) and bool(np.all((mask == 0) | np.isneginf(mask)))


ALIGNED = "where padding is at the end and no other mask is given, what is padded becomes 0 as on torch's fast path"


@builds(
    torch.nn.TransformerEncoder, layout="values", how=f"its layers: {PARTS}", limits=f"{TWO_WAYS}; {ALIGNED}; {MASKED}"
)
def transformer_encoder(
    layer: torch.nn.TransformerEncoder,
    site: Site,
    src: Value,
    mask: Value | None = None,
    src_key_padding_mask: Value | None = None,
    is_causal: bool | None = None,
) -> Value:
    """(N, L, e) to the same, N and L as torch has them."""
    x = src
    for number, each in enumerate(layer.layers):
        part = site.part(f"layers.{number}")
        x = build(each, part, x, src_mask=mask, src_key_padding_mask=src_key_padding_mask)
    if layer.use_nested_tensor and mask is None and src_key_padding_mask is not None:
        x = Value(_without_padding(x.moved((0, 1, 2)), src_key_padding_mask.moved((0, 1))), (0, 1, 2))
    return x if layer.norm is None else _normalised(layer.norm, site, x)


def _without_padding(x: Any, padding: Any) -> Any:
    """(N, L, e) with 0 where the mask (N, L) has True, if no row of it has False after True."""
    aligned = keras.ops.logical_not(keras.ops.any(padding[:, :-1] & ~padding[:, 1:]))
    gone = keras.ops.logical_and(padding, aligned)
    return keras.ops.where(keras.ops.expand_dims(gone, -1), 0.0, x)


@builds(torch.nn.TransformerDecoder, layout="values", how=f"its layers: {PARTS}", limits=f"{MASKED}; {NO_HINT}")
def transformer_decoder(
    layer: torch.nn.TransformerDecoder,
    site: Site,
    tgt: Value,
    memory: Value,
    tgt_mask: Value | None = None,
    memory_mask: Value | None = None,
    tgt_key_padding_mask: Value | None = None,
    memory_key_padding_mask: Value | None = None,
    tgt_is_causal: bool | None = None,
    memory_is_causal: bool = False,
) -> Value:
    """(N, L, e) and (N, S, e) to (N, L, e), N and L as torch has them."""
    masks = (tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask)
    x = tgt
    for number, each in enumerate(layer.layers):
        x = build(each, site.part(f"layers.{number}"), x, memory, *masks)
    return x if layer.norm is None else _normalised(layer.norm, site, x)


def _normalised(norm: torch.nn.Module, site: Site, x: Value) -> Value:
    """What the norm after the last layer makes of it; the axes stay where they are."""
    return Value(build(norm, site.part("norm"), Value.plain(x.tensor)).tensor, x.order)
