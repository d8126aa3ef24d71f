"""What operators of ONNX are lifted to: Keras layers with the weights that the file has, or `keras.ops`.

A tensor may be kept in other axes than the graph has it in (`Program.orders`); a rule speaks of the graph's. So an
image that a converter has moved to channels-first is read by a Keras layer that is channels-last, if the inputs are.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from parity.artifacts.biases import biased
from parity.artifacts.lifting import Made, Rule, View
from parity.artifacts.norms import layer_norm, layer_of
from parity.artifacts.onnx.steps import AS_READ, FUSED, Order, same_pads
from parity.artifacts.program import Step
from parity.axes import Array
from parity.frameworks import keras


def _made(call: Callable[..., Any], step: Step, *reads: str, weights: tuple[Array, ...] = ()) -> Made:
    fused = tuple(step.attributes.get(FUSED, ()))
    return Made(call=call, reads=reads, tensor=step.outputs[0], steps=(step,), weights=weights, fused=fused)


def _order(step: Step, view: View, place: int = 0) -> Order:
    """The axes in which the file's operator reads a tensor, for each axis that the graph has it in."""
    name = step.attributes[AS_READ][place]
    found = view.program.orders.get(name)
    return tuple(found) if found is not None else tuple(range(len(view.shape(name))))


def _axis(step: Step, view: View, axis: int, place: int = 0) -> int:
    """The graph's axis for one that the file's operator names."""
    order = _order(step, view, place)
    return order.index(axis % len(order))


def _read_shape(step: Step, view: View, place: int = 0) -> tuple[int, ...]:
    """The sizes of a tensor in the axes in which the file's operator reads it."""
    return view.shape(step.attributes[AS_READ][place])


def _format(step: Step, view: View) -> str:
    """Where the graph has the channels of the image that a step reads. Raises ValueError where it is neither."""
    order = _order(step, view)
    if order == tuple(range(len(order))):
        return "channels_first"
    if order == (0, *range(2, len(order)), 1):
        return "channels_last"
    raise ValueError(f"no image has the axes {order}")


def _constants(step: Step, view: View, *places: int) -> list[Array | None]:
    """The constants that a step reads at these places; None for what is left out or computed."""
    return [
        view.constant(step.inputs[place]) if place < len(step.inputs) and step.inputs[place] else None
        for place in places
    ]


def _has(step: Step, place: int) -> bool:
    return place < len(step.inputs) and bool(step.inputs[place])


# -- layers with weights -----------------------------------------------------------------------------------------------


def _padding(step: Step, view: View, kernel: Sequence[int]) -> str | None:
    """Keras's word for how a window is padded; None where it has none."""
    attributes = step.attributes
    given = attributes.get("auto_pad", "NOTSET")
    if given == "VALID" or (given == "NOTSET" and not any(attributes.get("pads", ()))):
        return "valid"
    same = same_pads(_read_shape(step, view)[2:], kernel, attributes)
    is_same = given == "SAME_UPPER" or (given == "NOTSET" and tuple(attributes.get("pads", ())) == same)
    return "same" if is_same else None


def _sure(layer: Any) -> Any:
    """A convolution whose bias goes along the channels, where Keras would guess the axis from sizes."""
    return biased(layer, 1) if layer.data_format == "channels_first" else layer


def _steps_of(step: Step, rank: int) -> dict[str, Any]:
    strides, dilations = (tuple(step.attributes.get(name) or [1] * rank) for name in ("strides", "dilations"))
    return {"strides": strides} | ({"dilation_rate": dilations} if set(dilations) != {1} else {})


def _convolution(step: Step, view: View) -> Made | None:
    kernel, bias = _constants(step, view, 1, 2)
    if kernel is None or (bias is None and _has(step, 2)):
        return None
    rank, sides = kernel.ndim - 2, kernel.shape[2:]
    padding = _padding(step, view, sides)
    if padding is None:
        return None
    settings = {"padding": padding, "data_format": _format(step, view), "use_bias": bias is not None}
    settings |= _steps_of(step, rank)
    groups, channels = int(step.attributes.get("group", 1)), _read_shape(step, view)[1]
    biases = () if bias is None else (bias,)
    spatial = tuple(range(2, 2 + rank))
    if groups > 1 and groups == channels and rank == 2:
        layer = keras.layers.DepthwiseConv2D(sides, depth_multiplier=len(kernel) // channels, **settings)
        apart = kernel.reshape(channels, -1, *sides).transpose(2, 3, 0, 1)
        return _made(_sure(layer), step, step.inputs[0], weights=(apart, *biases))
    kind = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)[rank - 1]
    layer = kind(len(kernel), sides, groups=groups, kernel_initializer="zeros", **settings)
    return _made(_sure(layer), step, step.inputs[0], weights=(kernel.transpose(*spatial, 1, 0), *biases))


def _transposed(step: Step, view: View) -> Made | None:
    kernel, bias = _constants(step, view, 1, 2)
    attributes = step.attributes
    if kernel is None or (bias is None and _has(step, 2)) or attributes.get("group", 1) != 1:
        return None
    rank, sides = kernel.ndim - 2, kernel.shape[2:]
    settings = _steps_of(step, rank)
    padding = _crop(step, view, sides, settings["strides"])
    if padding is None:
        return None
    kind = (keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose)[rank - 1]
    layer = kind(
        kernel.shape[1],
        sides,
        **settings,
        padding=padding,
        data_format=_format(step, view),
        use_bias=bias is not None,
        kernel_initializer="zeros",
    )
    weights = (kernel.transpose(*range(2, 2 + rank), 1, 0), *(() if bias is None else (bias,)))
    return _made(_sure(layer), step, step.inputs[0], weights=weights)


def _crop(step: Step, view: View, sides: Sequence[int], strides: Sequence[int]) -> str | None:
    """Keras's word for how a transposed convolution is cropped; None where it has none."""
    attributes, before, after = step.attributes, _read_shape(step, view)[2:], view.shape(step.outputs[0])[2:]
    usual = attributes.get("auto_pad", "NOTSET") in ("NOTSET", "VALID") and not any(
        attributes.get("output_padding", ())
    )
    pads = tuple(attributes.get("pads") or [0] * (2 * len(sides)))
    if usual and not any(pads) and all(side >= stride for side, stride in zip(sides, strides, strict=True)):
        return "valid"
    if any(made != size * stride for made, size, stride in zip(after, before, strides, strict=True)):
        return None
    totals = [max(side - stride, 0) for side, stride in zip(sides, strides, strict=True)]
    same = (*(total // 2 for total in totals), *(total - total // 2 for total in totals))
    return "same" if usual and pads == same else None


def _general_product(step: Step, view: View) -> Made | None:
    """A dense layer: the product with a matrix, and a bias."""
    kernel, bias = _constants(step, view, 1, 2)
    attributes = step.attributes
    plain = (
        attributes.get("alpha", 1.0) == 1.0 and attributes.get("beta", 1.0) == 1.0 and not attributes.get("transA", 0)
    )
    if (
        kernel is None
        or not plain
        or (bias is None and _has(step, 2))
        or (bias is not None and bias.size != bias.shape[-1])
    ):
        return None
    kernel = kernel.T if attributes.get("transB", 0) else kernel
    biases = () if bias is None else (np.broadcast_to(bias.reshape(-1), kernel.shape[1]),)
    layer = keras.layers.Dense(kernel.shape[1], use_bias=bool(biases), kernel_initializer="zeros")
    return _made(layer, step, step.inputs[0], weights=(kernel, *biases))


def _product(step: Step, view: View) -> Made | None:
    """A dense layer where one is a matrix of the file, with what is added to it; else a product of two tensors."""
    kernel, other = view.constant(step.inputs[1]), view.constant(step.inputs[0])
    if not _is_plain(step, view):
        return None
    if kernel is None:
        return None if other is not None else _made(keras.ops.matmul, step, *step.inputs)
    if kernel.ndim != 2:
        return None
    after = view.next(step, "Add")
    bias = _other_constant(after, view) if after else None
    fits = bias is not None and bias.size == kernel.shape[1] and bias.shape[-1] == bias.size
    steps = (step, after) if after is not None and fits else (step,)
    biases = (bias.reshape(-1),) if bias is not None and fits else ()
    layer = keras.layers.Dense(kernel.shape[1], use_bias=bool(biases), kernel_initializer="zeros")
    return Made(
        call=layer, reads=(step.inputs[0],), tensor=steps[-1].outputs[0], steps=steps, weights=(kernel, *biases)
    )


def _of_rows(step: Step, view: View) -> Made | None:
    """A dense layer on more than two axes, as TensorFlow writes it: a product of rows between two reshapes."""
    product = view.next(step, "MatMul")
    back = view.next(product, "Reshape") if product else None
    kernel = view.constant(product.inputs[1]) if product else None
    if product is None or back is None or kernel is None or kernel.ndim != 2 or not _is_plain(step, view):
        return None
    before, after = view.shape(step.inputs[0]), view.shape(back.outputs[0])
    if view.shape(step.outputs[0])[-1] != before[-1] or after != (*before[:-1], kernel.shape[1]):
        return None
    added = view.next(back, "Add")
    bias = _other_constant(added, view) if added else None
    fits = bias is not None and bias.size == kernel.shape[1] == bias.shape[-1]
    steps = (step, product, back, *((added,) if added is not None and fits else ()))
    biases = (bias.reshape(-1),) if bias is not None and fits else ()
    layer = keras.layers.Dense(kernel.shape[1], use_bias=bool(biases), kernel_initializer="zeros")
    return Made(
        call=layer, reads=(step.inputs[0],), tensor=steps[-1].outputs[0], steps=steps, weights=(kernel, *biases)
    )


def _is_plain(step: Step, view: View) -> bool:
    """Whether the file keeps all that a step reads in the graph's axes."""
    return not any(name in view.program.orders for name in step.attributes[AS_READ])


def _other_constant(step: Step, view: View) -> Array | None:
    """The only constant that a step of two tensors reads."""
    found = [value for tensor in step.inputs if (value := view.constant(tensor)) is not None]
    return found[0] if len(found) == 1 and len(step.inputs) == 2 else None


def _batch_norm(step: Step, view: View) -> Made | None:
    weights = _constants(step, view, 1, 2, 3, 4)
    if any(weight is None for weight in weights) or step.attributes.get("training_mode", 0):
        return None
    layer = keras.layers.BatchNormalization(
        axis=_axis(step, view, 1), epsilon=float(step.attributes.get("epsilon", 1e-5))
    )
    return _made(layer, step, step.inputs[0], weights=tuple(each for each in weights if each is not None))


def _multiplied(step: Step, view: View) -> Made | None:
    """A factor and an offset for each channel, which is what converters leave of a batch norm; else a product."""
    after = view.next(step, "Add")
    factor, offset = _other_constant(step, view), None if after is None else _other_constant(after, view)
    if after is None or factor is None or offset is None:
        return _PRODUCT(step, view)
    (read,) = (tensor for tensor in step.inputs if view.constant(tensor) is None)
    shape, order = view.shape(step.outputs[0]), view.program.orders.get(step.outputs[0])
    axes = [1] if order is not None else [len(shape) - 1, 1]
    axis = next(
        (axis for axis in axes if _is_per_channel(factor, shape, axis) and _is_per_channel(offset, shape, axis)), 0
    )
    if not axis or view.shape(read) != shape:
        return _PRODUCT(step, view)
    layer = keras.layers.BatchNormalization(axis=axis if order is None else order.index(axis), epsilon=0.0)
    weights = (factor.reshape(-1), offset.reshape(-1), np.zeros(shape[axis]), np.ones(shape[axis]))
    return Made(call=layer, reads=(read,), tensor=after.outputs[0], steps=(step, after), weights=weights)


def _is_per_channel(value: Array, shape: Sequence[int], axis: int) -> bool:
    """Whether a constant has one number for each place along an axis of a shape, of several."""
    own = [1] * (len(shape) - value.ndim) + list(value.shape)
    return value.size == shape[axis] > 1 and len(own) == len(shape) and own[axis] == shape[axis]


def _layer_norm(step: Step, view: View) -> Made | None:
    scale, shift = _constants(step, view, 1, 2)
    rank = len(view.shape(step.inputs[0]))
    first = int(step.attributes.get("axis", -1)) % rank
    if scale is None or (shift is None and _has(step, 2)) or not _is_plain(step, view):
        return None
    axes = list(range(first, rank))
    layer = keras.layers.LayerNormalization(
        axis=axes if len(axes) > 1 else axes[0],
        epsilon=float(step.attributes.get("epsilon", 1e-5)),
        center=shift is not None,
    )
    return _made(layer, step, step.inputs[0], weights=(scale, *(() if shift is None else (shift,))))


def _mean(otherwise: Rule) -> Rule:
    """A layer norm, from its mean on; else what `otherwise` makes of it."""

    def rule(step: Step, view: View) -> Made | None:
        norm = layer_norm(view, step, partial(_averaged, view))
        if norm is None or not all(_is_plain(each, view) for each in norm.steps):
            return otherwise(step, view)
        layer, weights = layer_of(norm, view.shape(norm.read), norm.axes)
        return Made(call=layer, reads=(norm.read,), tensor=norm.tensor, steps=norm.steps, weights=weights)

    return rule


def _averaged(view: View, step: Step) -> Sequence[int] | None:
    """The axes over which a step takes the mean, keeping them; None where it is no such mean."""
    rank = len(_read_shape(step, view))
    if step.op == "GlobalAveragePool":
        return range(2, rank)
    (given,) = _constants(step, view, 1)
    axes = step.attributes.get("axes") if given is None else given.reshape(-1).tolist()
    if step.op != "ReduceMean" or axes is None or not step.attributes.get("keepdims", 1):
        return None
    return sorted(int(axis) % rank for axis in axes)


def _prelu(step: Step, view: View) -> Made | None:
    (slopes,) = _constants(step, view, 1)
    order = _order(step, view)
    if slopes is None:
        return None
    slopes = slopes.reshape([1] * (len(order) - slopes.ndim) + list(slopes.shape)).transpose(order)[0]
    return _made(_slopes(step, view, slopes), step, step.inputs[0], weights=(slopes,))


def _rectified(step: Step, view: View) -> Made | None:
    """A ReLU; with a factor for what is below zero, which Keras adds, a PReLU."""
    return _prelu_in_parts(step, view) or _made(keras.layers.ReLU(), step, step.inputs[0])


def _prelu_in_parts(step: Step, view: View) -> Made | None:
    """A PReLU as Keras writes it: relu(x) + factor * relu(-x)."""
    whole = view.next(step, "Add")
    turned = next((each for each in view.readers(step.inputs[0]) if each.op == "Neg"), None)
    below = turned and view.next(turned, "Relu")
    scaled = below and view.next(below, "Mul")
    if whole is None or turned is None or below is None or scaled is None or view.next(scaled, "Add") is not whole:
        return None
    factor = _other_constant(scaled, view)
    order = _order(step, view)
    if factor is None:
        return None
    slopes = -_in_graph(factor.reshape([1] * (len(order) - factor.ndim) + list(factor.shape)), order)[0]
    steps = (step, turned, below, scaled, whole)
    made = _slopes(step, view, slopes)
    return Made(call=made, reads=(step.inputs[0],), tensor=whole.outputs[0], steps=steps, weights=(slopes,))


def _slopes(step: Step, view: View, slopes: Array) -> Any:
    """The PReLU that has these slopes, in the graph's axes."""
    shape, order = _read_shape(step, view), _order(step, view)
    shared = [axis for axis, size in enumerate(slopes.shape, 1) if size == 1 and shape[order[axis]] > 1]
    return keras.layers.PReLU(shared_axes=shared)


def _gathered(step: Step, view: View) -> Made | None:
    """Rows of a table, or one place along an axis."""
    table, places = _constants(step, view, 0, 1)
    axis = int(step.attributes.get("axis", 0))
    if table is not None and table.ndim == 2 and axis == 0 and places is None:
        return _made(
            keras.layers.Embedding(*table.shape, embeddings_initializer="zeros"), step, step.inputs[1], weights=(table,)
        )
    if table is None and places is not None and places.ndim == 0 and _is_plain(step, view):
        where: list[Any] = [slice(None)] * len(view.shape(step.inputs[0]))
        where[axis] = int(places)
        return _made(partial(_taken, where=tuple(where)), step, step.inputs[0])
    return None


def _taken(x: Any, where: tuple[Any, ...]) -> Any:
    return x[where]


# -- layers without weights --------------------------------------------------------------------------------------------


def _layer(make: Callable[[Mapping[str, Any]], Any]) -> Rule:
    """A layer without weights, made of the attributes of a step that reads one tensor."""
    return lambda step, view: _made(make(step.attributes), step, step.inputs[0])


def _function(function: Callable[..., Any]) -> Rule:
    """A function of one tensor."""
    return lambda step, view: _made(function, step, step.inputs[0])


def _activation(name: str) -> Rule:
    return _layer(lambda attributes: keras.layers.Activation(name))


def _sigmoid(step: Step, view: View) -> Made | None:
    """A sigmoid; with the product of it and what it reads a swish."""
    after = view.next(step, "Mul")
    if after is not None and set(after.inputs) == {step.inputs[0], step.outputs[0]}:
        layer = keras.layers.Activation("silu")
        return Made(call=layer, reads=(step.inputs[0],), tensor=after.outputs[0], steps=(step, after))
    return _made(keras.layers.Activation("sigmoid"), step, step.inputs[0])


def _softmax(step: Step, view: View) -> Made | None:
    axis = _axis(step, view, int(step.attributes.get("axis", -1)))
    return _made(keras.layers.Softmax(axis=axis), step, step.inputs[0])


def _clipped(step: Step, view: View) -> Made | None:
    low, high = _constants(step, view, 1, 2)
    lowest = float(step.attributes.get("min", -np.inf)) if low is None else float(low)
    highest = float(step.attributes.get("max", np.inf)) if high is None else float(high)
    if (low is None and _has(step, 1)) or (high is None and _has(step, 2)):
        return None
    if lowest == 0.0:
        layer = keras.layers.ReLU(max_value=None if highest == np.inf else highest)
        return _made(layer, step, step.inputs[0])
    return _made(partial(keras.ops.clip, x_min=lowest, x_max=highest), step, step.inputs[0])


def _hard_sigmoid(step: Step, view: View) -> Made | None:
    alpha, beta = step.attributes.get("alpha", 0.2), step.attributes.get("beta", 0.5)
    if not (np.isclose(alpha, 1 / 6) and beta == 0.5):
        return None
    return _made(keras.layers.Activation("hard_sigmoid"), step, step.inputs[0])


def _joined(step: Step, view: View) -> Made | None:
    axes = {_axis(step, view, int(step.attributes["axis"]), place) for place in range(len(step.inputs))}
    if len(axes) != 1 or any(view.constant(tensor) is not None for tensor in step.inputs):
        return None
    layer = keras.layers.Concatenate(axis=axes.pop())
    return _made(lambda *tensors: layer(list(tensors)), step, *step.inputs)


def _padded(step: Step, view: View) -> Made | None:
    pads, value, axes = _constants(step, view, 1, 2, 3)
    widths = step.attributes.get("pads") if pads is None else pads.tolist()
    if widths is None or axes is not None or min(widths) < 0 or (value is None and _has(step, 2)):
        return None
    order, half = _order(step, view), len(widths) // 2
    sides = [(int(widths[axis]), int(widths[half + axis])) for axis in order]
    mode = str(step.attributes.get("mode", "constant"))
    filling = float(step.attributes.get("value", 0.0)) if value is None else float(value)
    if len(order) == 4 and mode == "constant" and filling == 0.0:
        data_format = _format_of_pads(sides)
        if data_format:
            inner = sides[1:3] if data_format == "channels_last" else sides[2:]
            return _made(keras.layers.ZeroPadding2D(inner, data_format=data_format), step, step.inputs[0])
    if mode not in ("constant", "reflect"):
        return None
    more = {"constant_values": filling} if mode == "constant" else {}
    return _made(partial(keras.ops.pad, pad_width=sides, mode=mode, **more), step, step.inputs[0])


def _format_of_pads(sides: Sequence[tuple[int, int]]) -> str:
    """The data format in which only space is padded; channels-last where both would do."""
    outside = {"channels_last": (0, 3), "channels_first": (0, 1)}
    return next((name for name, axes in outside.items() if not any(any(sides[axis]) for axis in axes)), "")


def _pooled(kinds: Sequence[Any]) -> Rule:
    def rule(step: Step, view: View) -> Made | None:
        attributes = step.attributes
        sides = tuple(attributes["kernel_shape"])
        padding = _padding(step, view, sides)
        odd = attributes.get("ceil_mode", 0) or set(attributes.get("dilations", ())) - {1}
        if (
            padding is None
            or odd
            or len(step.outputs) > 1
            or (padding == "same" and attributes.get("count_include_pad", 0))
        ):
            return None
        settings = {"strides": tuple(attributes.get("strides") or [1] * len(sides)), "padding": padding}
        layer = kinds[len(sides) - 1](sides, **settings, data_format=_format(step, view))
        return _made(layer, step, step.inputs[0])

    return rule


def _pooled_whole(function: Callable[..., Any]) -> Rule:
    """The mean or the maximum of each channel."""

    def rule(step: Step, view: View) -> Made:
        axes = tuple(_axis(step, view, axis) for axis in range(2, len(_read_shape(step, view))))
        return _made(partial(function, axis=tuple(sorted(axes)), keepdims=True), step, step.inputs[0])

    return rule


def _resized(step: Step, view: View) -> Made | None:
    """A resizing to a whole multiple."""
    before, after = _read_shape(step, view), view.shape(step.outputs[0])
    if (
        len(before) != 4
        or before[:2] != after[:2]
        or any(made % size for made, size in zip(after, before, strict=True))
    ):
        return None
    attributes = step.attributes
    mode, rounding = attributes.get("mode", "nearest"), attributes.get("nearest_mode", "round_prefer_floor")
    places = attributes.get("coordinate_transformation_mode", "half_pixel")
    linear = mode == "linear" and places in ("half_pixel", "pytorch_half_pixel") and min(after[2:]) > 1
    nearest = mode == "nearest" and (
        (places == "asymmetric" and rounding == "floor")
        or (places in ("half_pixel", "pytorch_half_pixel") and rounding.startswith("round_prefer"))
    )
    if not (linear or nearest) or step.op == "Upsample":
        return None
    layer = keras.layers.UpSampling2D(
        (after[2] // before[2], after[3] // before[3]),
        data_format=_format(step, view),
        interpolation="bilinear" if linear else "nearest",
    )
    return _made(layer, step, step.inputs[0])


# -- arithmetic, and what moves numbers --------------------------------------------------------------------------------


def _combined(function: Callable[..., Any], layer: Callable[[], Any] | None = None) -> Rule:
    """A function of two tensors, of which one may be a constant; `layer` makes one for two tensors of one shape."""

    def rule(step: Step, view: View) -> Made | None:
        if len(step.inputs) != 2:
            return None
        values = [view.constant(tensor) for tensor in step.inputs]
        reads = [tensor for tensor, value in zip(step.inputs, values, strict=True) if value is None]
        order = view.program.orders.get(step.outputs[0])
        ranks = {len(view.shape(tensor)) for tensor in reads}
        if order is not None and len(ranks) > 1:
            return None
        turned = [value if value is None else _in_graph(value, order) for value in values]
        if len(reads) == 2 and layer is not None and len({view.shape(tensor) for tensor in reads}) == 1:
            made = layer()
            return _made(lambda *tensors: made(list(tensors)), step, *reads)

        def call(*given: Any) -> Any:
            left = list(given)
            return function(*(left.pop(0) if value is None else value for value in turned))

        return _made(call, step, *reads)

    return rule


def _in_graph(value: Array, order: Order | None) -> Array:
    """A constant that is combined with a tensor in the file's axes, for the graph's."""
    if order is None or value.ndim == 0:
        return value
    return value.reshape([1] * (len(order) - value.ndim) + list(value.shape)).transpose(order)


def _reduced(function: Callable[..., Any]) -> Rule:
    def rule(step: Step, view: View) -> Made | None:
        (given,) = _constants(step, view, 1)
        axes = step.attributes.get("axes") if given is None else given.reshape(-1).tolist()
        rank = len(view.shape(step.inputs[0]))
        keeps = bool(step.attributes.get("keepdims", 1))
        if axes is None and (step.attributes.get("noop_with_empty_axes", 0) or _has(step, 1)):
            return None
        named = sorted(_axis(step, view, int(axis)) for axis in (axes or range(rank)))
        kept = [axis for place, axis in enumerate(_order(step, view)) if place not in named]
        if not keeps and kept != sorted(kept):
            return None
        axis = named[0] if len(named) == 1 else tuple(named)
        return _made(partial(function, axis=axis, keepdims=keeps), step, step.inputs[0])

    return rule


def _reshaped(step: Step, view: View) -> Made | None:
    """Other sizes, the numbers in the same order; or a dense layer that begins so."""
    if dense := _of_rows(step, view):
        return dense
    before, order = _read_shape(step, view), _order(step, view)
    long = [axis for axis in order if before[axis] > 1]
    if long != sorted(long) or step.outputs[0] in view.program.orders:
        return None
    return _made(partial(keras.ops.reshape, newshape=view.shape(step.outputs[0])), step, step.inputs[0])


def _moved(step: Step, view: View) -> Made | None:
    rank = len(view.shape(step.inputs[0]))
    permutation = tuple(step.attributes.get("perm") or reversed(range(rank)))
    axes = tuple(_axis(step, view, axis) for axis in permutation)
    return _made(partial(keras.ops.transpose, axes=axes), step, step.inputs[0])


def _sliced(step: Step, view: View) -> Made | None:
    """A part along some axes; with the Squeeze after it, one place along them."""
    found = _constants(step, view, 1, 2, 3, 4)
    rank = len(_read_shape(step, view))
    if found[0] is None or found[1] is None:
        return None
    starts, ends = (each.tolist() for each in found[:2] if each is not None)
    axes = list(range(len(starts))) if found[2] is None else found[2].tolist()
    strides = [1] * len(starts) if found[3] is None else found[3].tolist()
    where: list[Any] = [slice(None)] * rank
    for start, end, axis, stride in zip(starts, ends, axes, strides, strict=True):
        where[_axis(step, view, axis)] = _part(start, end, stride, _read_shape(step, view)[axis])
    after = view.next(step, "Squeeze")
    steps: tuple[Step, ...] = (step,)
    if after is not None and step.outputs[0] not in view.program.orders:
        (dropped,) = _constants(after, view, 1)
        for axis in after.attributes.get("axes", ()) if dropped is None else dropped.tolist():
            if where[axis].indices(view.shape(step.inputs[0])[axis])[1:] == where[axis].indices(0)[1:]:
                return None
            where[axis] = where[axis].start
        steps = (step, after)
    return Made(
        call=partial(_taken, where=tuple(where)), reads=(step.inputs[0],), tensor=steps[-1].outputs[0], steps=steps
    )


def _part(start: int, end: int, stride: int, size: int) -> slice:
    """A slice as Python has it: ONNX means "to the end" by a number that is larger than any size."""
    if stride < 0:
        return slice(start, None if end <= -size - 1 else end, stride)
    return slice(start, None if end >= size else end, stride if stride != 1 else None)


_KERAS = keras.layers
_PRODUCT = _combined(keras.ops.multiply, lambda: keras.layers.Multiply())

RULES: Mapping[str, Rule] = {
    "Abs": _function(keras.ops.abs),
    "Add": _combined(keras.ops.add, lambda: keras.layers.Add()),
    "AveragePool": _pooled((_KERAS.AveragePooling1D, _KERAS.AveragePooling2D, _KERAS.AveragePooling3D)),
    "BatchNormalization": _batch_norm,
    "Clip": _clipped,
    "Concat": _joined,
    "Conv": _convolution,
    "ConvTranspose": _transposed,
    "Div": _combined(keras.ops.divide),
    "Elu": _layer(lambda attributes: keras.layers.ELU(alpha=attributes.get("alpha", 1.0))),
    "Erf": _function(keras.ops.erf),
    "Exp": _function(keras.ops.exp),
    "Flatten": _reshaped,
    "Floor": _function(keras.ops.floor),
    "Gather": _gathered,
    "Gemm": _general_product,
    "GlobalAveragePool": _mean(_pooled_whole(keras.ops.mean)),
    "GlobalMaxPool": _pooled_whole(keras.ops.max),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _activation("hard_silu"),
    "LayerNormalization": _layer_norm,
    "LeakyRelu": _layer(lambda attributes: keras.layers.LeakyReLU(negative_slope=attributes.get("alpha", 0.01))),
    "Log": _function(keras.ops.log),
    "LogSoftmax": _activation("log_softmax"),
    "MatMul": _product,
    "Max": _combined(keras.ops.maximum),
    "MaxPool": _pooled((_KERAS.MaxPooling1D, _KERAS.MaxPooling2D, _KERAS.MaxPooling3D)),
    "Min": _combined(keras.ops.minimum),
    "Mish": _activation("mish"),
    "Mul": _multiplied,
    "Neg": _function(keras.ops.negative),
    "PRelu": _prelu,
    "Pad": _padded,
    "Pow": _combined(keras.ops.power),
    "ReduceMax": _reduced(keras.ops.max),
    "ReduceMean": _mean(_reduced(keras.ops.mean)),
    "ReduceMin": _reduced(keras.ops.min),
    "ReduceSum": _reduced(keras.ops.sum),
    "Relu": _rectified,
    "Reshape": _reshaped,
    "Resize": _resized,
    "Round": _function(keras.ops.round),
    "Selu": _activation("selu"),
    "Sigmoid": _sigmoid,
    "Slice": _sliced,
    "Softmax": _softmax,
    "Softplus": _activation("softplus"),
    "Softsign": _activation("softsign"),
    "Sqrt": _function(keras.ops.sqrt),
    "Squeeze": _reshaped,
    "Sub": _combined(keras.ops.subtract, lambda: keras.layers.Subtract()),
    "Tanh": _activation("tanh"),
    "Transpose": _moved,
    "Unsqueeze": _reshaped,
}
"""A rule for each operator that parity knows."""
