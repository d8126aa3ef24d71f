"""Faults between and around layers: constants lost, operands and channels in another order, another tensor read.

Where an operator would change how the input is prepared it gives None: the table calls that `input-channels` or
`input-normalisation`.
"""

from typing import Any

import numpy as np

from parity.faults.planting import ACTIVATIONS, LINEAR, NORMS, Generator, Planted, Site, operator
from parity.faults.tensors import chosen, divisors, log_uniform, on_first, order_of_groups, permuted
from parity.frameworks import keras
from parity.runners.edits import Edit, Node
from parity.runners.taps import kind_of

MOVES = frozenset({"pad", "reshape", "permute", "transpose", "flatten", "identity"})


@operator("scale")
def scale_lost(site: Site, generator: Generator) -> Planted | None:
    """A factor of the network that is not applied, or is undone, or is another."""
    if site.kind != "scale" or site.at_input or len(site.node.input_tensors) != 1:
        return None
    factor = chosen(generator, [0.05, 0.5, 2.0, 1 + log_uniform(generator, 1e-4, 1.0)])
    if generator.integers(2):
        return site.replaced("scale", "the factor is lost", on_first(lambda x: x + 0.0))
    return site.appended("scale", f"times {factor:.5g}", lambda x: x * factor)


@operator("scale")
def scale_value(site: Site, generator: Generator) -> Planted | None:
    """The value of a layer times a constant of any size: 255, 20, or nearly 1."""
    if site.kind not in LINEAR | {"add"} or not site.makes_value or site.at_input:
        return None
    near = 1 + log_uniform(generator, 1e-4, 1.0)
    factor = chosen(generator, [20.0, 0.05, 255.0, 1 / 255.0, -1.0, near, near, 1 / near])
    return site.appended("scale", f"times {factor:.5g}", lambda x: x * factor)


@operator("scale")
def offset(site: Site, generator: Generator) -> Planted | None:
    """The value of a layer plus a constant."""
    if site.kind not in LINEAR | {"add"} or not site.makes_value or site.at_input:
        return None
    added = log_uniform(generator, 1e-2, 3.0) * chosen(generator, [-1.0, 1.0])
    return site.appended("scale", f"plus {added:.5g}", lambda x: x + added)


@operator("concat-order")
def concat_order(site: Site, generator: Generator) -> Planted | None:
    """The operands of a concatenation in another order."""
    count = len(site.node.input_tensors)
    if site.kind != "cat" or count < 2 or site.at_input:
        return None
    order = generator.permutation(count)
    while np.array_equal(order, np.arange(count)):
        order = generator.permutation(count)
    edges = {(site.node, n): site.node.input_tensors[int(i)] for n, i in enumerate(order) if n != i}
    return site.edited("concat-order", f"operands {[int(i) for i in order]}", Edit(rerouted=edges))


@operator("concat-axis")
def concat_axis(site: Site, generator: Generator) -> Planted | None:
    """Operands of one shape concatenated along another axis, what comes out reshaped to what is expected."""
    if site.kind not in ("cat", "stack") or len({tuple(t.shape) for t in site.node.input_tensors}) != 1:
        return None
    rank, own = len(site.source.shape), site.operation.axis
    own = own % (rank + (site.kind == "stack"))
    axes = [axis for axis in range(1, rank + (site.kind == "stack")) if axis != own]
    if not axes or len(site.node.input_tensors) < 2:
        return None
    axis, shape = chosen(generator, axes), tuple(-1 if size is None else size for size in site.shape)
    join = keras.ops.stack if site.kind == "stack" else keras.ops.concatenate
    change = on_first(lambda values: keras.ops.reshape(join(values, axis=axis), shape))
    return site.replaced("concat-axis", f"axis {axis} for {own}", change)


@operator("channel-permutation")
def channel_permutation(site: Site, generator: Generator) -> Planted | None:
    """Channels shuffled in groups, reversed, rotated, or in any other order."""
    if not site.makes_value or site.at_input or len(site.shape) < 3 or site.kind in ("cat", "softmax", "matmul"):
        return None
    channels = int(site.shape[-1] or 0)
    if channels < 3:
        return None
    options = [("in any order", [int(i) for i in generator.permutation(channels)])]
    options += [(f"shuffled in {groups} groups", order_of_groups(channels, groups)) for groups in divisors(channels)]
    turn = int(generator.integers(1, channels))
    options += [("reversed", [*reversed(range(channels))]), (f"rotated by {turn}", [*np.roll(range(channels), turn)])]
    said, order = chosen(generator, options)
    if [*order] == [*range(channels)]:
        return None
    return site.appended("channel-permutation", f"channels {said}", lambda x: permuted(x, order))


@operator("channel-permutation")
def shuffle_order(site: Site, generator: Generator) -> Planted | None:
    """A pixel shuffle that takes channels, rows and columns of a patch in another order than torch's c, f, g."""
    factor = getattr(site.module, "upscale_factor", None)
    if factor is None or not site.makes_value or len(site.segment.nodes) < 2:
        return None
    source = site.ground.tensor(site.segment.anchor_keys[0])
    order = chosen(generator, ["cgf", "fgc", "gfc", "fcg", "gcf"])
    edit = Edit(
        rerouted={(site.node, 0): source},
        replaced={site.operation: on_first(lambda x: _pixel_shuffle(x, int(factor), order))},
    )
    return site.edited("channel-permutation", f"patches as {order} for cfg", edit)


def _pixel_shuffle(x: Any, factor: int, order: str) -> Any:
    """(N, H, W, channels in that order) to (N, f * H, g * W, c)."""
    _, height, width, channels = x.shape
    sizes = {"c": channels // factor**2, "f": factor, "g": factor}
    split = keras.ops.reshape(x, (-1, height, width, *(sizes[letter] for letter in order)))
    axis = {letter: index for index, letter in enumerate(order, start=3)}
    moved = keras.ops.transpose(split, (0, 1, axis["f"], 2, axis["g"], axis["c"]))
    return keras.ops.reshape(moved, (-1, height * factor, width * factor, sizes["c"]))


@operator("flatten-order")
def flatten_order(site: Site, generator: Generator) -> Planted | None:
    """Flattened without bringing the channels to the front, or with the axes in another order."""
    before = site.before
    if site.kind not in ("flatten", "reshape") or len(site.shape) != 2 or before is None:
        return None
    if type(before.operation).__name__ not in ("Permute", "Transpose"):
        return None
    source = before.input_tensors[0]
    order = chosen(generator, [(1, 2, 3), (1, 2, 3), (3, 2, 1), (2, 1, 3)])
    edges = {(site.node, 0): source}
    if order == (1, 2, 3):
        return site.edited("flatten-order", "height, width, channels", Edit(rerouted=edges))
    moved = {(site.node, 0): lambda x: keras.ops.transpose(x, (0, *order))}
    return site.edited("flatten-order", f"axes {order}", Edit(rerouted=edges, inserted=moved))


@operator("flatten-order")
def flatten_rows(site: Site, generator: Generator) -> Planted | None:
    """The rows of the Dense layer behind a flattening in the order of the other framework."""
    maker = site.ground.maker(site.source)
    if site.kind != "linear" or maker is None or type(maker.operation).__name__ != "Flatten":
        return None
    shape = [int(size) for size in maker.input_tensors[0].shape[1:]]
    if sum(size > 1 for size in shape) < 2:
        return None
    places = np.arange(int(np.prod(shape))).reshape(shape)
    order = chosen(generator, [axes for axes in ((1, 2, 0), (2, 0, 1), (0, 2, 1), (2, 1, 0)) if len(shape) == 3])
    rows = places.transpose(order).ravel()
    return site.reweighted("flatten-order", f"rows by axes {order}", {"kernel": site.weights["kernel"][rows]})


@operator("spurious-transpose")
def spurious_transpose(site: Site, generator: Generator) -> Planted | None:
    """Two axes of one size exchanged."""
    if not site.makes_value or site.at_input or len(site.shape) < 3:
        return None
    sizes = site.shape
    pairs = [(i, j) for i in range(1, len(sizes)) for j in range(i + 1, len(sizes)) if sizes[i] == sizes[j] != 1]
    if not pairs:
        return None
    i, j = chosen(generator, pairs)
    return site.appended("spurious-transpose", f"axes {i} and {j} exchanged", lambda x: keras.ops.swapaxes(x, i, j))


@operator("wrong-input")
def wrong_input(site: Site, generator: Generator) -> Planted | None:
    """One argument is another tensor of its shape, made earlier; not the same one an activation earlier or later.

    Something else still reads the right tensor, so that the port keeps all its layers; or a sum takes a value from
    before its norm.
    """
    if site.at_input:
        return None
    earlier = _made_before(site.ground.nodes, site.node)
    options = []
    for n, read in enumerate(site.node.input_tensors):
        kept = len(site.ground.readers(read)) > 1
        for other in (node.outputs[0] for node in earlier):
            fits = other is not read and tuple(other.shape) == tuple(read.shape)
            if fits and ((kept and not _one_step(site, read, other)) or _before_norm(site, read, other)):
                options.append((n, other._keras_history.operation.name, other))
    if not options:
        return None
    n, name, other = chosen(generator, options)
    return site.edited("wrong-input", f"argument {n} is {name}", Edit(rerouted={(site.node, n): other}))


def _made_before(nodes: list[Node], node: Node) -> list[Node]:
    """The firings that do not read the node's value, directly or through others: no circle comes of reading them."""
    after = {id(tensor) for tensor in node.outputs}
    later = {id(node)}
    changed = True
    while changed:
        changed = False
        for each in nodes:
            if id(each) not in later and any(id(tensor) in after for tensor in each.input_tensors):
                later.add(id(each))
                after |= {id(tensor) for tensor in each.outputs}
                changed = True
    return [each for each in nodes if id(each) not in later]


def _before_norm(site: Site, read: Any, other: Any) -> bool:
    """Whether the site is a sum, and `read` a norm of `other`. Elsewhere that would be a norm that is missing."""
    maker = site.ground.maker(read)
    return (
        site.kind == "add"
        and maker is not None
        and kind_of(type(maker.operation).__name__) in NORMS
        and maker.input_tensors[0] is other
    )


def _one_step(site: Site, read: Any, other: Any) -> bool:
    """Whether the two are apart by an activation or by something that only moves: the table has names for that."""
    for value, argument in ((read, other), (other, read)):
        maker = site.ground.maker(value)
        kind = kind_of(type(maker.operation).__name__) if maker is not None else ""
        near = maker is not None and any(tensor is argument for tensor in maker.input_tensors)
        if near and kind in ACTIVATIONS | MOVES | {"scale", "add", "sub"}:
            return True
    return False
