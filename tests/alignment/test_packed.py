"""A packed projection and its parts find each other by their weights alone, and only where all of them are there."""

from collections.abc import Sequence

import numpy as np

from parity.alignment import align
from parity.alignment.packed import repacked, slice_of, split_of, unpacked
from parity.axes import Array, Axes
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


def outputs(of: str, name: str, *sizes: int, features_last: bool = True) -> list[Tap]:
    """The outputs of a split of a layer's seven features, of which the second is listed first."""
    shapes = [(2, 3, size) if features_last else (2, size, 3) for size in sizes]
    found = [Tap(name=name.format(n), kind="split", shape=shape, reads=(of,)) for n, shape in enumerate(shapes)]
    return [*found[1:], *found[:1]]


WHOLE = Tap(name="packed", kind="linear", shape=(2, 3, 7), weighted=True, weights=lambda: [PACKED.T])
"""The packed layer as a port has it."""


def test_the_outputs_of_a_split_are_known_by_the_features_they_have() -> None:
    """Numbered outputs are successive slices; outputs that do not make up the layer, and other readers, are none."""
    assert split_of(WHOLE, outputs("packed", "split[{}]", 2, 5), last=True) == {(0, 2): "split[0]", (2, 7): "split[1]"}
    again = split_of(WHOLE, outputs("packed", "split[{}]#2", 3, 4), last=True)
    assert again == {(0, 3): "split[0]#2", (3, 7): "split[1]#2"}
    assert split_of(WHOLE, outputs("packed", "split[{}]", 2, 4), last=True) == {}
    assert split_of(WHOLE, outputs("other", "split[{}]", 2, 5), last=True) == {}
    assert split_of(WHOLE, outputs("packed", "split_{}", 2, 5), last=True) == {}
    kernel = np.zeros((7, 2, 3), np.float32)
    convolution = Tap(name="packed", kind="conv1d", shape=(2, 7, 3), weighted=True, weights=lambda: [kernel])
    pieces = outputs("packed", "chunk[{}]", 2, 5, features_last=False)
    assert split_of(convolution, pieces, last=False) == {(0, 2): "chunk[0]", (2, 7): "chunk[1]"}


def test_a_layer_that_is_a_slice_of_another_says_which() -> None:
    """The slice is where its weights are, in one piece and in order; damaged or mixed up they are nowhere."""
    packed = layer("packed", PACKED)
    assert slice_of(packed, layer("part", PACKED[2:5].T), last=False) == (2, 5)
    assert slice_of(packed, layer("part", PACKED[[2, 4]].T), last=False) is None
    assert slice_of(packed, layer("part", PACKED[2:5].T * np.float32(1.01)), last=False) is None
    assert slice_of(WHOLE, layer("part", PACKED[5:]), last=True) == (5, 7)


def sides(*sizes: int, name: str = "split[{}]") -> tuple[list[Tap], list[Tap]]:
    """Two layers and their product, and a port that has both in one and splits its value."""
    reads = {"reads": ("input",), "kind": "linear", "weighted": True}
    slices = PACKED[: sizes[0]], PACKED[sizes[0] :]
    reference = [
        Tap(name=each, shape=(2, 3, len(kernel)), weights=lambda kernel=kernel: [kernel], **reads)
        for each, kernel in zip("ab", slices, strict=True)
    ]
    packed = Tap(name="packed", shape=(None, 3, 7), weights=lambda: [PACKED.T], **reads)
    pieces = [
        Tap(name=name.format(n), kind="split", shape=(None, 3, size), reads=("packed",)) for n, size in enumerate(sizes)
    ]
    head = Tap(name="head", kind="mix", shape=(2, 3, 2), reads=("a", "b"))
    end = Tap(name="end", kind="mix", shape=(None, 3, 2), reads=(pieces[0].name, pieces[1].name))
    return [*reference, head], [packed, *pieces, end]


def test_layers_that_the_port_has_in_one_are_compared_with_the_outputs_of_its_split() -> None:
    """Each answers to the output that has its features, and the report says why; nothing is left over."""
    reference, port = sides(2, 5)
    axes = Axes(reference={3: "NLC"}, port={3: "NLC"})
    found = align(reference, port, layers=None, axes=axes, outputs=("head", "end"))
    assert found.matched == {"a": "split[0]", "b": "split[1]", "head": "end"}
    assert found.coverage.reasons["b"] == "weights equal, in parts"
    assert found.coverage.complete
    assert repacked(reference, port, ["b"]) == {}
    whole, unnumbered = sides(2, 5, name="slice_{}")
    assert repacked(whole, unnumbered, ()) == {}


def test_a_part_is_compared_with_its_own_slice_or_not_at_all() -> None:
    """A layer that is one of two slices of equal shape is compared with that one, if the slices say which they are."""
    kernel = np.random.default_rng(5).standard_normal((6, 3), dtype=np.float32)
    linear = {"kind": "linear", "weighted": True, "reads": ("input",)}
    axes = Axes(reference={3: "NLC"}, port={3: "NLC"})
    part = Tap(name="part", shape=(None, 5, 3), weights=lambda: [kernel[3:].T], **linear)
    end = Tap(name="end", kind="mix", shape=(None, 5, 2), reads=("part", "input"))
    for name, answer in (("chunk[{}]", "chunk[1]"), ("slice_{}", None)):
        packed = Tap(name="packed", shape=(2, 5, 6), weights=lambda: [kernel], **linear)
        pieces = [Tap(name=name.format(n), kind="slice", shape=(2, 5, 3), reads=("packed",)) for n in (0, 1)]
        head = Tap(name="head", kind="mix", shape=(2, 5, 2), reads=(pieces[0].name, pieces[1].name))
        found = align([packed, *pieces, head], [part, end], layers=None, axes=axes, outputs=("head", "end"))
        assert found.matched == {"head": "end"} | ({answer: "part"} if answer else {})
        assert ("packed" in found.coverage.unmatched_reference) is (answer is None)
