"""Causes in resizing, planted in small pairs: the grid of points, the method, the coefficient, smoothing."""

from collections.abc import Callable
from typing import Any

import pytest
from small_pairs import Reference, chain, functional, judged, layers, nn, ops, port_of, proven, right, slugs, steps

from parity.frameworks import tf

old = tf.compat.v1.image
UP = {"interpolate": "up"}


def resized(size: tuple[int, int] = (16, 12), **how: Any) -> Any:
    """A convolution, its map in another size, and another convolution."""
    return Reference(
        lambda m, x: m.last(functional.interpolate(m.first(x), size=size, **how)),
        first=nn.Conv2d(3, 5, 3, padding=1),
        last=nn.Conv2d(5, 2, 1),
    )


def resized_port(reference: Any, resize: Callable[[Any], Any]) -> Any:
    """Its port, resized by a function of the map, in a layer called "up"."""

    def build(x: Any) -> Any:
        x = layers.Conv2D(5, 3, padding="same", name="first")(x)
        up = resize if isinstance(resize, layers.Layer) else layers.Lambda(resize, name="up")
        return layers.Conv2D(2, 1, name="last")(up(x))

    return port_of(reference, (8, 6, 3), build)


BILINEAR = {"mode": "bilinear", "align_corners": False}
CORNERS = {"mode": "bilinear", "align_corners": True}
BICUBIC = {"mode": "bicubic", "align_corners": False}


@pytest.mark.parametrize(
    ("how", "resize"),
    [
        (BILINEAR, layers.UpSampling2D(2, interpolation="bilinear", name="up")),
        (BILINEAR, layers.Resizing(16, 12, name="up")),
        (CORNERS, lambda x: old.resize_bilinear(x, (16, 12), align_corners=True)),
        ({"mode": "nearest"}, layers.UpSampling2D(2, name="up")),
        ({"mode": "nearest-exact"}, lambda x: tf.image.resize(x, (16, 12), method="nearest")),
    ],
    ids=["bilinear", "resizing", "corners", "nearest", "nearest-exact"],
)
def test_right_ports_pass(how: Any, resize: Any) -> None:
    """Each way to resize, ported rightly, has no finding."""
    reference = resized(**how)
    right(reference, resized_port(reference, resize), layers=UP)


@pytest.mark.parametrize(
    ("how", "resize", "words"),
    [
        (
            CORNERS,
            layers.UpSampling2D(2, interpolation="bilinear", name="up"),
            "half-pixel; the reference bilinear, align",
        ),
        (BILINEAR, lambda x: old.resize_bilinear(x, (16, 12), align_corners=True), "bilinear, align_corners; the"),
        (BILINEAR, lambda x: old.resize_bilinear(x, (16, 12)), "bilinear, asymmetric; the"),
        (CORNERS, lambda x: old.resize_bilinear(x, (16, 12)), "bilinear, asymmetric; the"),
    ],
    ids=["half-pixel for corners", "corners for half-pixel", "asymmetric for half-pixel", "asymmetric for corners"],
)
def test_other_grids(how: Any, resize: Any, words: str) -> None:
    """The same interpolation between other points is resize-grid, and both grids are named."""
    reference = resized(**how)
    port = resized_port(reference, resize)
    proven(reference, port, "interpolate", "resize-grid", layers=UP, says=words, change="bilinear")


@pytest.mark.parametrize(
    ("size", "method", "resize"),
    [
        ((13, 11), "nearest", lambda x: tf.image.resize(x, (13, 11), method="nearest")),
        ((13, 11), "nearest-exact", lambda x: old.resize_nearest_neighbor(x, (13, 11))),
        ((13, 11), "nearest", lambda x: old.resize_nearest_neighbor(x, (13, 11), align_corners=True)),
    ],
    ids=["half-pixel", "asymmetric", "corners"],
)
def test_nearest_of_another_rounding(size: tuple[int, int], method: str, resize: Any) -> None:
    """The nearest point of another grid, at a scale that is no whole number, is resize-grid."""
    reference = resized(size, mode=method)
    proven(reference, resized_port(reference, resize), "interpolate", "resize-grid", layers=UP, says="nearest")


@pytest.mark.parametrize(
    ("how", "interpolation"),
    [(BILINEAR, "nearest"), ({"mode": "nearest"}, "bilinear"), (BICUBIC, "bilinear"), (BILINEAR, "bicubic")],
    ids=["nearest for bilinear", "bilinear for nearest", "bilinear for bicubic", "bicubic for bilinear"],
)
def test_other_methods(how: Any, interpolation: str) -> None:
    """Another interpolation is resize-method, and both are named."""
    reference = resized(**how)
    port = resized_port(reference, layers.UpSampling2D(2, interpolation=interpolation, name="up"))
    proven(
        reference,
        port,
        "interpolate",
        "resize-method",
        layers=UP,
        says=f"the port interpolates {interpolation}",
        change=how["mode"],
    )


def test_the_coefficient_of_a_bicubic() -> None:
    """Keras's bicubic takes the coefficient -0.5, torch's -0.75: resize-method, with both."""
    reference = resized(**BICUBIC)
    port = resized_port(reference, layers.UpSampling2D(2, interpolation="bicubic", name="up"))
    cause = proven(reference, port, "interpolate", "resize-method", layers=UP, says="coefficient -0.5")
    assert "coefficient -0.75" in cause.detail


def test_smoothing_before_shrinking() -> None:
    """Antialiasing, which torch leaves out by default, is resize-method when a port shrinks with it."""
    reference = resized((4, 3), **BILINEAR)
    port = resized_port(reference, lambda x: tf.image.resize(x, (4, 3), antialias=True))
    proven(reference, port, "interpolate", "resize-method", layers=UP, says="antialiased")


@pytest.mark.xfail(strict=True, reason="antialias=True of the reference is not read")
def test_smoothing_that_is_left_out() -> None:
    """A reference that antialiases, ported without, is resize-method too."""
    reference = resized((4, 3), antialias=True, **BILINEAR)
    port = resized_port(reference, lambda x: tf.image.resize(x, (4, 3)))
    proven(reference, port, "interpolate", "resize-method", layers=UP, says="antialiased")


def test_a_sequence_resized_on_another_grid() -> None:
    """A sequence interpolated between other points is resize-grid, in one dimension."""
    reference = Reference(
        lambda m, x: m.last(functional.interpolate(m.first(x), size=18, mode="linear", align_corners=True)),
        first=nn.Conv1d(3, 5, 3, padding=1),
        last=nn.Conv1d(5, 2, 1),
    )

    def build(x: Any) -> Any:
        x = layers.Conv1D(5, 3, padding="same", name="first")(x)
        grow = layers.Lambda(lambda x: tf.image.resize(x[:, :, None], (18, 1))[:, :, 0], name="up")
        return layers.Conv1D(2, 1, name="last")(grow(x))

    proven(reference, port_of(reference, (9, 3), build), "interpolate", "resize-grid", steps(), layers=UP)


def test_a_module_that_resizes() -> None:
    """nn.Upsample is a resizing as the function is: its fault has the same name."""
    reference = chain(first=nn.Conv2d(3, 5, 1), up=nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True))

    def build(x: Any) -> Any:
        return layers.UpSampling2D(2, interpolation="bilinear", name="up")(layers.Conv2D(5, 1, name="first")(x))

    proven(reference, port_of(reference, (8, 6, 3), build), "up", "resize-grid")


def test_a_blur_is_no_way_to_resize() -> None:
    """A right resizing that is smoothed afterwards fits no way to resize, and is unknown."""
    reference = resized(**BILINEAR)
    port = resized_port(
        reference,
        lambda x: ops.average_pool(tf.image.resize(x, (16, 12)), 3, strides=1, padding="same"),
    )
    assert slugs(judged(reference, port, layers=UP)) == {"interpolate": "unknown"}
