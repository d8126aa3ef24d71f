"""Layers that are compared together: halves of a separable convolution, crops, moves at the end, repeated layers."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from parity.alignment import Alignment, align
from parity.axes import Axes
from parity.runners.taps import Tap

GENERATOR = np.random.default_rng(0)


def tap(name: str, kind: str, *reads: str, channels: int = 3, size: tuple[int, int] = (5, 7), **more: Any) -> Tap:
    """A tap of the reference: 2 x channels x H x W."""
    shape = (2, channels, *size)
    return Tap(name=name, kind=kind, shape=shape, reads=reads, weighted="weights" in more, **more)


def kernel(*shape: int) -> Any:
    """What gives a random kernel of the reference, and a bias."""
    arrays = [GENERATOR.normal(size=shape).astype(np.float32), GENERATOR.normal(size=shape[0]).astype(np.float32)]
    return lambda: arrays


def in_port(each: Tap, name: str, *reads: str) -> Tap:
    """The same tap as a port has it."""
    _, channels, height, width = each.shape
    arrays = [a.transpose(2, 3, 1, 0) if a.ndim == 4 else a for a in each.weights()]
    return replace(each, name=name, reads=reads, shape=(None, height, width, channels), weights=lambda: arrays)


def aligned(reference: Sequence[Tap], port: Sequence[Tap], axes: Axes = Axes()) -> Alignment:  # noqa: B008
    """Align two networks that end in their last taps."""
    return align(reference, port, layers=None, axes=axes, outputs=(reference[-1].name, port[-1].name))


DEPTHWISE = tap("dw", "conv2d", "input", weights=kernel(3, 1, 3, 3))
POINTWISE = tap("pw", "conv2d", "dw", channels=5, weights=kernel(5, 3, 1, 1))
HEAD = tap("head", "conv2d", "pw", channels=2, weights=kernel(2, 5, 1, 1))


def separable(arrays: Sequence[Any]) -> list[Tap]:
    """A port that has both halves in one layer, with these weights."""
    both = in_port(POINTWISE, "separable", "input")
    return [replace(both, kind="separableconv2d", weights=lambda: arrays), in_port(HEAD, "dense", "separable")]


def test_halves_of_a_separable_convolution_are_one_layer() -> None:
    """The depthwise half lies inside the pointwise one, because the port's layer holds its weights too."""
    found = aligned([DEPTHWISE, POINTWISE, HEAD], separable([*DEPTHWISE.weights(), *POINTWISE.weights()]))
    assert found.matched == {"pw": "separable", "head": "dense"}
    assert found.inside["pw"] == ("dw",)
    assert found.coverage.complete


def test_a_half_whose_weights_the_port_lacks_is_left_over() -> None:
    """Without its weights in the port's layer, the depthwise half is simply lacking."""
    found = aligned([DEPTHWISE, POINTWISE, HEAD], separable(list(POINTWISE.weights())))
    assert found.matched["pw"] == "separable"
    assert found.coverage.unmatched_reference == ("dw",)


@pytest.mark.parametrize("seed", [None, 3])
def test_a_layer_is_compared_where_a_crop_gives_it_its_shape(seed: int | None) -> None:
    """A transposed convolution that the port crops afterwards is compared behind the crop, loaded or not."""
    up = tap("up", "convtranspose2d", "input", weights=kernel(3, 3, 4, 4))
    head = tap("head", "conv2d", "up", channels=2, weights=kernel(2, 3, 1, 1))
    uncut = replace(in_port(up, "uncut", "input"), shape=(None, 7, 9, 3))
    if seed is not None:
        fresh = np.random.default_rng(seed).normal(size=(4, 4, 3, 3)).astype(np.float32)
        uncut = replace(uncut, weights=lambda: [fresh, np.zeros(3, np.float32)])
    crop = Tap(name="crop", kind="cropping2d", shape=(None, 5, 7, 3), reads=("uncut",))
    found = aligned([up, head], [uncut, crop, in_port(head, "out", "crop")])
    assert found.matched == {"up": "crop", "head": "out"}
    assert found.coverage.complete


def test_a_move_at_the_end_is_compared_with_what_it_moves() -> None:
    """Where the reference only permutes its output, the last layer lies inside the permutation."""
    permuted = Tap(name="permute", kind="permute", shape=(2, 5, 7, 2), reads=("head",))
    axes = Axes(by_name={"permute": ("NHWC", "NHWC")})
    port = [in_port(DEPTHWISE, "a", "input"), in_port(POINTWISE, "b", "a"), in_port(HEAD, "c", "b")]
    found = aligned([DEPTHWISE, POINTWISE, HEAD, permuted], port, axes)
    assert found.matched == {"dw": "a", "pw": "b", "permute": "c"}
    assert found.coverage.complete


def test_a_last_activation_that_the_port_lacks_is_left_over() -> None:
    """A softmax that nothing answers to is not taken for the layer before it."""
    softmax = Tap(name="softmax", kind="softmax", shape=(2, 2, 5, 7), reads=("head",))
    port = [in_port(DEPTHWISE, "a", "input"), in_port(POINTWISE, "b", "a"), in_port(HEAD, "c", "b")]
    found = aligned([DEPTHWISE, POINTWISE, HEAD, softmax], port)
    assert found.matched["head"] == "c"
    assert found.coverage.unmatched_reference == ("softmax",)


def test_a_dense_layer_may_stand_for_a_convolution_of_one_pixel() -> None:
    """Kinds may differ where shape, number of weights and place agree, or the weights themselves."""
    port = [in_port(DEPTHWISE, "a", "input"), in_port(POINTWISE, "b", "a"), in_port(HEAD, "c", "b")]
    dense = replace(port[1], kind="linear", weights=lambda: [a.reshape(3, 5) for a in port[1].weights()[:1]])
    found = aligned([DEPTHWISE, POINTWISE, HEAD], [port[0], dense, port[2]])
    assert found.matched["pw"] == "b"
    assert found.coverage.reasons["pw"].startswith("weights equal")


def test_repeated_layers_are_told_apart_by_where_they_are_called() -> None:
    """A shared layer's calls carry the same weights; each is matched by what it reads, whatever the numbering."""
    shared = kernel(3, 3, 3, 3)
    reference = [
        tap("f", "conv2d", "input[0]", weights=shared),
        tap("f#2", "conv2d", "input[1]", weights=shared),
        tap("cat", "cat", "f", "f#2", channels=6),
        tap("head", "conv2d", "cat", channels=2, weights=kernel(2, 6, 1, 1)),
    ]
    other = {"f": "g#2", "f#2": "g"}
    port = [
        in_port(reference[1], "g", "input[1]"),
        in_port(reference[0], "g#2", "input[0]"),
        in_port(reference[2], "joined", "g#2", "g"),
        in_port(reference[3], "out", "joined"),
    ]
    found = aligned(reference, port)
    assert other.items() <= found.matched.items()
    swapped = [
        replace(each, reads=tuple({"input[0]": "b", "input[1]": "a"}.get(r, r) for r in each.reads)) for each in port
    ]
    inputs = {"input[0]": "b", "input[1]": "a"}
    again = align(reference, swapped, layers=None, axes=Axes(), outputs={"head": "out"}, inputs=inputs)
    assert again.matched == found.matched


def test_several_outputs_tell_heads_of_one_form_apart() -> None:
    """Two heads of equal shape that were never loaded are matched by the output each is."""
    heads = [tap(f"head{side}", "conv2d", "stem", channels=2, weights=kernel(2, 3, 1, 1)) for side in "ab"]
    reference = [tap("stem", "conv2d", "input", weights=kernel(3, 3, 3, 3)), *heads]
    port = [in_port(reference[0], "s", "input"), in_port(heads[1], "x", "s"), in_port(heads[0], "y", "s")]
    port = [replace(each, weights=lambda: [np.zeros((3, 3, 3, 3), np.float32)]) for each in port]
    for outputs in ({"heada": "y", "headb": "x"}, {"heada": "x", "headb": "y"}):
        found = align(reference, port, layers=None, axes=Axes(), outputs=outputs)
        assert outputs.items() <= found.matched.items()
