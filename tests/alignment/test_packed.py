"""A packed projection and its parts find each other by their weights alone, and only where all of them are there."""

from collections.abc import Sequence

import numpy as np

from parity.alignment.packed import unpacked
from parity.axes import Array
from parity.runners.taps import Tap

PACKED = np.random.default_rng(3).standard_normal((7, 3), dtype=np.float32)


def layer(name: str, kernel: Array) -> Tap:
    """A layer with that kernel and a bias."""
    return Tap(name=name, kind="linear", shape=(2, 5), weighted=True, weights=lambda: [kernel, np.zeros(5)])


def parts(*slices: slice) -> list[Tap]:
    """Layers with slices of the packed kernel, as Keras has them."""
    return [layer(f"part{number}", PACKED[which].T) for number, which in enumerate(slices)]


def found(port: Sequence[Tap], taken: Sequence[str] = ()) -> dict[str, tuple[str, ...]]:
    """What is found for the packed layer."""
    return unpacked([layer("packed", PACKED), layer("other", PACKED[::-1].copy())], port, taken)


def test_parts_are_found_in_the_order_of_their_slices() -> None:
    """Two layers that hold all outputs between them are the packed layer's, whatever their order in the port."""
    assert found(parts(slice(2, 7), slice(0, 2))) == {"packed": ("part1", "part0")}


def test_kernels_of_convolutions_are_packed_too() -> None:
    """Outputs are torch's first axis and Keras's last, with the axes of the window between."""
    kernel = np.random.default_rng(4).standard_normal((5, 2, 3, 1), dtype=np.float32)
    port = [layer(f"part{n}", kernel[which].transpose(2, 3, 1, 0)) for n, which in enumerate((slice(3), slice(3, 5)))]
    assert unpacked([layer("packed", kernel)], port, ()) == {"packed": ("part0", "part1")}


def test_anything_less_is_left_to_the_user() -> None:
    """A part that is lacking, damaged or held twice, and layers that a map names, are not guessed at."""
    assert found(parts(slice(0, 2))) == {}
    assert found(parts(slice(0, 2), slice(3, 7))) == {}
    assert found(parts(slice(0, 2), slice(0, 2), slice(2, 7))) == {}
    damaged = layer("damaged", PACKED[2:].T * np.float32(1.01))
    assert found([*parts(slice(0, 2)), damaged]) == {}
    assert found(parts(slice(2, 7), slice(0, 2)), taken=["packed"]) == {}
    assert found(parts(slice(2, 7), slice(0, 2)), taken=["part0"]) == {}


def test_outputs_that_are_alike_say_nothing() -> None:
    """A layer whose outputs all have the same weights is no evidence: every slice of it would do."""
    alike = np.ones((4, 3), np.float32)
    port = [layer("a", alike[:2].T), layer("b", alike[2:].T)]
    assert unpacked([layer("packed", alike)], port, ()) == {}
