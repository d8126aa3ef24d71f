"""Faults in where values come from: pads, strides, crops, pooling, grids of enlarging, shifts.

How a segment pads its input is read from the port: a pad before the operation, or the operation's own `padding`.
"""

from itertools import product
from typing import Any

import numpy as np

from parity.axes import Array
from parity.faults.planting import (
    ACTIVATIONS,
    CONVOLUTIONS,
    NORMS,
    PADS,
    Generator,
    Planted,
    Site,
    operator,
)
from parity.faults.tensors import Pads, chosen, cropped, on_first, padded, resize_matrix, resized, shifted
from parity.frameworks import keras
from parity.runners.edits import Change, Edit, Node

MODES = ("reflect", "symmetric", "replicate")


def _window(site: Site) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """(sizes, strides) that a convolution or pooling sees of its input, along height and width."""
    operation = site.operation
    if site.kind in CONVOLUTIONS and len(site.shape) == 4:
        sizes = [(k - 1) * d + 1 for k, d in zip(operation.kernel_size, operation.dilation_rate, strict=True)]
        strides = operation.strides
        return tuple(sizes), (strides, strides) if isinstance(strides, int) else tuple(strides)
    if site.kind in ("maxpool2d", "avgpool2d"):
        return tuple(operation.pool_size), tuple(operation.strides)
    return None


def _pad_before(site: Site) -> Node | None:
    """The pad in front of the operation, in its segment."""
    before = site.before
    return before if before is not None and type(before.operation).__name__ in ("ZeroPadding2D", "Pad") else None


def _pads_of(node: Node) -> Pads:
    operation = node.operation
    if type(operation).__name__ == "ZeroPadding2D":
        return tuple((int(a), int(b)) for a, b in operation.padding)
    return tuple((int(a), int(b)) for a, b in operation.pad_width[1:-1])


def _mode_of(node: Node | None) -> str:
    return str(getattr(node.operation, "mode", "constant")) if node else "constant"


def _unpadded(site: Site) -> tuple[Any, Pads, str]:
    """What the operation would read without pads, the pads, and their mode."""
    node = _pad_before(site)
    if node is not None:
        return node.input_tensors[0], _pads_of(node), _mode_of(node)
    sizes, strides = _window(site) or ((1, 1), (1, 1))
    if site.operation.padding != "same":
        return site.source, ((0, 0), (0, 0)), "constant"
    return (
        site.source,
        tuple(_same(n, k, s) for n, k, s in zip(_sides(site.source), sizes, strides, strict=True)),
        "constant",
    )


def _same(size: int, window: int, stride: int) -> tuple[int, int]:
    """What TensorFlow's `same` pads: the smaller half before."""
    total = max((-(-size // stride) - 1) * stride + window - size, 0)
    return total // 2, total - total // 2


def _sides(tensor: Any) -> tuple[int, int]:
    return int(tensor.shape[1]), int(tensor.shape[2])


def _with_pads(site: Site, pads: Pads, mode: str) -> Edit:
    """The operation reading its unpadded input through other pads, and padding nothing itself."""
    source, _, _ = _unpadded(site)
    return Edit(
        rerouted={(site.node, 0): source},
        inserted={(site.node, 0): lambda x: padded(x, pads, mode)},
        replaced={site.operation: site.remade(padding="valid")},
    )


@operator("padding")
def padding_amount(site: Site, generator: Generator) -> Planted | None:
    """Other pads, on one side or both, that leave the shape of the value."""
    window = _window(site)
    if window is None or site.kind not in CONVOLUTIONS:
        return None
    source, own, mode = _unpadded(site)
    along = []
    for size, sides, reach, stride in zip(_sides(source), own, *window, strict=True):
        out = (size + sum(sides) - reach) // stride
        amounts = range(sum(sides) + 2) if reach > 1 else [sides[0]]
        pairs = product(amounts, repeat=2) if reach > 1 else [sides]
        along.append([pair for pair in pairs if (size + sum(pair) - reach) // stride == out])
    options = [pads for pads in product(*along) if pads != tuple(own)]
    if not options:
        return None
    pads = chosen(generator, options)
    return site.edited("padding", f"pads {pads} for {tuple(own)}", _with_pads(site, pads, mode))


@operator("padding")
def padding_same(site: Site, generator: Generator) -> Planted | None:
    """`same` at stride 2 in the place of pads on both sides."""
    window, node = _window(site), _pad_before(site)
    if window is None or site.kind not in CONVOLUTIONS or node is None or max(window[1]) == 1:
        return None
    edit = Edit(
        rerouted={(site.node, 0): node.input_tensors[0]}, replaced={site.operation: site.remade(padding="same")}
    )
    return site.edited("padding", f"same for {tuple(_pads_of(node))}", edit)


@operator("padding")
def padding_mode(site: Site, generator: Generator) -> Planted | None:
    """The same pads filled in another way."""
    if _window(site) is None or site.kind not in CONVOLUTIONS:
        return None
    source, own, mode = _unpadded(site)
    if not any(map(sum, own)) or min(_sides(source)) <= max(max(sides) for sides in own):
        return None
    other = chosen(generator, [each for each in ("constant", *MODES) if each != mode])
    return site.edited("padding", f"{other} for {mode}", _with_pads(site, own, other))


@operator("stride-dilation")
def dilation(site: Site, generator: Generator) -> Planted | None:
    """Another dilation along one axis or both; the pads follow, so that the shape stays."""
    window = _window(site)
    if window is None or site.kind not in CONVOLUTIONS or max(window[1]) > 1 or max(window[0]) == 1:
        return None
    if site.operation.padding != "same":
        return None
    own = tuple(site.operation.dilation_rate)
    rates = (int(generator.integers(1, 4)), int(generator.integers(1, 4)))
    if rates == own:
        rates = (own[0] + 1, own[1])
    if site.kind == "depthwiseconv2d":  # TensorFlow's takes one rate
        rates = (max(rates), max(rates)) if max(rates) != own[0] else (own[0] + 1, own[0] + 1)
    change = site.remade(dilation_rate=rates)
    return site.edited("stride-dilation", f"dilation {rates} for {own}", Edit(replaced={site.operation: change}))


@operator("stride-dilation")
def stride(site: Site, generator: Generator) -> Planted | None:
    """Another stride: 1 for 2, or 2 for 1 where what follows takes the smaller value."""
    window = _window(site)
    if window is None or site.kind not in CONVOLUTIONS or max(site.operation.dilation_rate) > 1:
        return None
    own = window[1][0]
    other = 1 if own > 1 else 2
    return site.replaced("stride-dilation", f"stride {other} for {own}", site.remade(strides=other))


@operator("output-crop")
def output_crop(site: Site, generator: Generator) -> Planted | None:
    """A transposed convolution cut at other sides: what `padding` and `output_padding` mean taken otherwise."""
    if site.kind == "convtranspose2d" and site.operation.padding == "same":
        source = _sides(site.source)
        full = [
            (n - 1) * s + k for n, s, k in zip(source, site.operation.strides, site.operation.kernel_size, strict=True)
        ]
        totals = [f - int(out or 0) for f, out in zip(full, site.shape[1:3], strict=True)]
        own = tuple((total // 2, total - total // 2) for total in totals)
        crops = _other_sides(own, generator)
        whole = site.remade(padding="valid")
        change: Change = lambda *args, **kwargs: cropped(whole(*args, **kwargs), crops or own)  # noqa: E731
    elif site.kind == "cropping2d":
        own = tuple(tuple(side) for side in site.operation.cropping)
        crops = _other_sides(own, generator)
        change = site.remade(cropping=crops or own)
    else:
        return None
    return site.replaced("output-crop", f"crops {crops} for {own}", change) if crops else None


def _other_sides(own: Any, generator: Generator) -> Pads | None:
    """The same numbers of rows and columns cut, but from other ends."""
    along = [[(before, sum(sides) - before) for before in range(sum(sides) + 1)] for sides in own]
    options = [crops for crops in product(*along) if crops != tuple(own)]
    return chosen(generator, options) if options else None


@operator("pooling")
def pool_pads(site: Site, generator: Generator) -> Planted | None:
    """A maximum padded with a number it may lose to, or a mean that counts its pads otherwise."""
    node = _pad_before(site)
    if node is None or site.kind not in ("maxpool2d", "avgpool2d"):
        return None
    source, pads = node.input_tensors[0], _pads_of(node)
    if site.kind == "maxpool2d":
        edit = Edit(
            rerouted={(site.node, 0): source}, inserted={(site.node, 0): lambda x: padded(x, pads, "constant", 0.0)}
        )
        return site.edited("pooling", "0 for -infinity in the pads", edit)
    return site.appended("pooling", "pads are not counted", lambda x: x / _share(site, source, pads, x))


def _share(site: Site, source: Any, pads: Pads, like: Any) -> Array:
    """How much of each window of a mean lies inside the picture, (1, H, W, 1)."""
    inside = np.pad(np.ones(_sides(source)), pads)
    (k, m), (s, t) = site.operation.pool_size, site.operation.strides
    height, width = int(site.shape[1] or 0), int(site.shape[2] or 0)
    share = [[inside[i * s : i * s + k, j * t : j * t + m].mean() for j in range(width)] for i in range(height)]
    return np.asarray(share, keras.backend.standardize_dtype(like.dtype))[None, :, :, None]


@operator("pooling")
def pool_ceil(site: Site, generator: Generator) -> Planted | None:
    """`ceil_mode`: a last row and column of what is left over. Only where what follows takes the larger value."""
    if site.kind != "maxpool2d" or site.operation.padding != "valid" or _pad_before(site) is not None:
        return None
    if all((n - k) % s == 0 for n, k, s in zip(_sides(site.source), *(_window(site) or ((), ())), strict=True)):
        return None
    return site.replaced("pooling", "ceil_mode", site.remade(padding="same"))


@operator("pooling")
def pool_bins(site: Site, generator: Generator) -> Planted | None:
    """Adaptive pooling with bins of another reckoning: no overlap, rounded edges, or one size for all."""
    bins = getattr(site.module, "output_size", None)
    if not site.makes_value or not isinstance(bins, tuple) or len(site.segment.anchors) != 1:
        return None
    source = site.ground.tensor(site.segment.anchor_keys[0])
    name, reckon = chosen(generator, list(_RECKONINGS.items()))
    edges = [reckon(size, count) for size, count in zip(_sides(source), bins, strict=True)]
    right = [_torch_bins(size, count) for size, count in zip(_sides(source), bins, strict=True)]
    if edges == right:
        return None
    matrices = [_averages(size, each) for size, each in zip(_sides(source), edges, strict=True)]
    edit = Edit(
        rerouted={(site.node, 0): source},
        replaced={site.operation: on_first(lambda x: resized(x, *matrices))},
    )
    return site.edited("pooling", f"bins {name}: {edges}", edit)


def _torch_bins(size: int, bins: int) -> list[tuple[int, int]]:
    return [(i * size // bins, -(-(i + 1) * size // bins)) for i in range(bins)]


_RECKONINGS = {
    "without overlap": lambda size, bins: [(i * size // bins, (i + 1) * size // bins) for i in range(bins)],
    "with rounded edges": lambda size, bins: [
        (round(i * size / bins), round((i + 1) * size / bins)) for i in range(bins)
    ],
    "of one size": lambda size, bins: [(i * (size // bins), (i + 1) * (size // bins)) for i in range(bins)],
}


def _averages(size: int, edges: list[tuple[int, int]]) -> Array:
    matrix = np.zeros((len(edges), size))
    for row, (start, stop) in enumerate(edges):
        matrix[row, start:stop] = 1.0 / (stop - start)
    return matrix


@operator("resize-grid")
def resize_grid(site: Site, generator: Generator) -> Planted | None:
    """The same method on another grid: align_corners, or asymmetric; for nearest, another rounding."""
    method = getattr(site.operation, "interpolation", None)
    if site.kind != "resize" or method not in ("nearest", "bilinear"):
        return None
    if method == "bilinear":
        grid, method = chosen(generator, [("align-corners", "bilinear"), ("asymmetric", "bilinear")])
    else:
        grids = [("align-corners", "nearest-round"), ("asymmetric", "nearest-round"), ("align-corners", "nearest")]
        grid, method = chosen(generator, grids)
    return site.replaced("resize-grid", f"{method}, {grid}", _resize(site, grid, method))


@operator("resize-method")
def resize_method(site: Site, generator: Generator) -> Planted | None:
    """Another method: nearest for bilinear or the reverse, or bicubic with either coefficient in use."""
    own = getattr(site.operation, "interpolation", None)
    if site.kind != "resize" or own not in ("nearest", "bilinear"):
        return None
    other = ("asymmetric", "nearest", 0.0) if own == "bilinear" else ("half-pixel", "bilinear", 0.0)
    cubics = [("half-pixel", "bicubic", -0.75), ("half-pixel", "bicubic", -0.5)]
    grid, method, cubic = chosen(generator, [other, *cubics])
    said = f"{method} of {cubic:g}" if method == "bicubic" else method
    return site.replaced("resize-method", f"{said} for {own}", _resize(site, grid, method, cubic))


def _resize(site: Site, grid: str, method: str, cubic: float = -0.75) -> Change:
    sides = zip(_sides(site.source), site.shape[1:3], strict=True)
    height, width = (resize_matrix(n, int(out or 0), grid=grid, method=method, cubic=cubic) for n, out in sides)
    return on_first(lambda x: resized(x, height, width))


@operator("spatial-shift")
def spatial_shift(site: Site, generator: Generator) -> Planted | None:
    """The value moved by a place or two, zeros moving in; only behind what has no geometry of its own."""
    if site.kind not in ACTIVATIONS | NORMS | {"cat", "add", "scale"} or not site.makes_value or site.at_input:
        return None
    inner = [int(size) for size in site.shape[1:-1] if size]
    if not inner or min(inner) < 3 or len(inner) > 2 or site.kind in PADS:
        return None
    options = [shifts for shifts in product(range(-2, 3), repeat=len(inner)) if any(shifts)]
    shifts = chosen(generator, options)
    return site.appended("spatial-shift", f"moved by {shifts}", lambda x: shifted(x, shifts))
