"""Faults before the first layer: the channels or frames in another order, another range, mean or deviation.

They change what every layer reads that reads the input, so all of these are at fault. A range that is off by one factor
alone is not planted: the table calls a lost /255 `scale`, and `input-normalisation` describes it as well.
"""

from typing import Any

import numpy as np

from parity.axes import Array
from parity.faults.planting import Generator, Planted, Site, operator
from parity.faults.tensors import chosen, like, log_uniform, on_first, permuted
from parity.frameworks import keras
from parity.runners.edits import Change, Edit


def _first(site: Site) -> bool:
    """Whether this is the first reader of a floating-point input: the one site at which these faults are planted."""
    readers = site.ground.readers(site.ground.input)
    return bool(readers) and readers[0][0] is site.node and "float" in str(site.ground.input.dtype)


def _at_input(site: Site, slug: str, detail: str, change: Change) -> Planted:
    places = site.ground.readers(site.ground.input)
    return site.edited(slug, detail, Edit(inserted=dict.fromkeys(places, change)))


@operator("input-channels")
def input_channels(site: Site, generator: Generator) -> Planted | None:
    """BGR for RGB, or the channels in any other order."""
    if not _first(site):
        return None
    channels = int(site.ground.input.shape[-1])
    order = [*reversed(range(channels))]
    if generator.integers(3) == 0:
        order = [int(i) for i in generator.permutation(channels)]
    if order == [*range(channels)]:
        return None
    return _at_input(site, "input-channels", f"channels {order}", lambda x: permuted(x, order))


@operator("input-channels")
def frames_exchanged(site: Site, generator: Generator) -> Planted | None:
    """The second frame before the first: in the input, or where the two are joined."""
    if site.kind == "cat" and site.at_input and len(site.node.input_tensors) == 2 and generator.integers(2):
        first, second = site.node.input_tensors
        edit = Edit(rerouted={(site.node, 0): second, (site.node, 1): first})
        return site.edited("input-channels", "frames exchanged where they are joined", edit)
    if not _first(site) or len(site.ground.input.shape) != 5:
        return None
    return _at_input(site, "input-channels", "frames exchanged", lambda x: keras.ops.flip(x, axis=1))


@operator("input-normalisation")
def input_range(site: Site, generator: Generator) -> Planted | None:
    """The input through a factor and an offset that are not the reference's: another range, mean or deviation."""
    if not _first(site):
        return None
    channels = int(site.ground.input.shape[-1])
    low, high = sorted(generator.uniform(-1, 1, 2))
    options: list[tuple[str, Any, Any]] = [
        ("from [-1, 1] to [0, 1]", 0.5, 0.5),
        (f"from [-1, 1] to [{low:.2f}, {high:.2f}]", (high - low) / 2, (high + low) / 2),
        ("a deviation per channel", generator.uniform(0.5, 1.5, channels), np.zeros(channels)),
        ("a mean per channel", np.ones(channels), generator.uniform(-0.5, 0.5, channels)),
    ]
    said, factor, added = chosen(generator, options)
    return _at_input(site, "input-normalisation", said, _affine(np.asarray(factor), np.asarray(added)))


def _affine(factor: Array, added: Array) -> Change:
    return lambda x: x * like(factor, x) + like(added, x)


@operator("input-normalisation")
def mean_or_deviation(site: Site, generator: Generator) -> Planted | None:
    """A constant of the preparation lost, near the right one, or in the order of BGR."""
    kinds = {"sub": "mean", "scale": "deviation"}
    if not site.at_input or site.kind not in kinds or len(site.node.input_tensors) != 1:
        return None
    constant = next((leaf for leaf in keras.tree.flatten(site.node.arguments.args) if _is_constant(leaf)), None)
    if constant is None:
        return None
    array, what = np.asarray(constant, np.float32), kinds[site.kind]
    if array.size == 1:
        return None
    spread = log_uniform(generator, 1e-3, 0.5) * generator.uniform(-1, 1, array.shape)
    near = np.asarray(array * (1 + spread), np.float32)
    options = [
        (f"another {what}", near),
        (f"no {what}", np.zeros_like(array) if what == "mean" else np.ones_like(array)),
    ]
    options.append((f"the {what} of BGR", np.ascontiguousarray(array[..., ::-1])))
    said, wrong = chosen(generator, options)
    subtract = site.kind == "sub"
    change = on_first(lambda x: x - like(wrong, x) if subtract else x / like(wrong, x))
    return site.replaced("input-normalisation", said, change)


def _is_constant(leaf: Any) -> bool:
    return isinstance(leaf, (float, int, np.ndarray)) and not isinstance(leaf, bool)


@operator("input-normalisation")
def mean_axes(site: Site, generator: Generator) -> Planted | None:
    """The mean of the input taken over other axes than it should be, or not subtracted.

    The right one is still computed, so that the port keeps its taps.
    """
    if site.kind != "sub" or not site.at_input or site.source is not site.ground.input:
        return None
    if len(site.node.input_tensors) != 2 or len(site.shape) != 5 or not site.makes_value:
        return None
    axes = chosen(generator, [(2, 3), (1, 2, 3, 4), (2, 3, 4), (1,), ()])
    if not axes:
        return site.replaced(
            "input-normalisation", "no mean subtracted", on_first(lambda pair: pair[0] + 0.0 * pair[1])
        )
    change = on_first(lambda pair: pair[0] - keras.ops.mean(pair[0], axis=axes, keepdims=True) + 0.0 * pair[1])
    return site.replaced("input-normalisation", f"mean over axes {axes}", change)
