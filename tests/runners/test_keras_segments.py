"""The Keras side: a port cut where the reference can be met."""

from collections.abc import Sequence

import numpy as np
from keras_nets import ALL, chain, image, layers, network, whole

from parity.frameworks import keras
from parity.pairs import INPUT
from parity.runners.edits import Edit
from parity.runners.keras_model import KerasModel
from parity.runners.segments import Segment
from parity.runners.tensors import as_array, as_tensor

ops = keras.ops


def by_layer(segments: Sequence[Segment]) -> dict[str, Segment]:
    """Segments by the reference tap they answer to."""
    return {segment.layer: segment for segment in segments}


# -- taps --------------------------------------------------------------------------------------------------------------


def test_taps_are_the_operations_in_an_order_they_can_run_in() -> None:
    """Every operation but the input is a tap, with its kind, open batch, and whether it has weights."""
    found = KerasModel(network()).taps
    assert [(tap.name, tap.kind, tap.shape, tap.weighted) for tap in found] == [
        ("first", "conv2d", (None, 5, 7, 5), True),
        ("act", "leakyrelu", (None, 5, 7, 5), False),
        ("pad", "pad", (None, 7, 9, 5), False),
        ("second", "conv2d", (None, 5, 7, 5), True),
        ("sum", "add", (None, 5, 7, 5), False),
    ]
    assert KerasModel(network()).output_taps["output"] == "sum"


def test_a_shared_layer_is_numbered() -> None:
    """A layer that is used twice is two taps, and each is a segment of its own."""
    shared = layers.Conv2D(3, 3, padding="same", name="shared")
    port = KerasModel(chain(shared, layers.ReLU(name="between"), shared))
    assert [tap.name for tap in port.taps] == ["shared", "between", "shared#2"]
    segments = by_layer(port.segments({"a": "shared", "b": "shared#2"}))
    assert segments["b"].anchors == ("a",)
    assert [node.operation.name for node in segments["b"].nodes] == ["between", "shared"]


def test_an_operation_with_several_results_has_a_tap_for_each() -> None:
    """The parts of a split are taps of their own, and each can be where the port is cut."""
    start = keras.Input((5, 7, 5))
    few, many = ops.split(start, [2], axis=-1)
    split = few._keras_history.operation
    model = keras.Model(start, ops.concatenate([many, few * 3.0], axis=-1))
    port = KerasModel(model)
    parts = [tap for tap in port.taps if tap.operation is split]
    assert [tap.name for tap in parts] == [f"{split.name}[0]", f"{split.name}[1]"]
    assert [tap.shape for tap in parts] == [(None, 5, 7, 2), (None, 5, 7, 3)]
    matched = {"few": parts[0].name, "many": parts[1].name, "out": port.output_taps["output"]}
    array = image(2, 5, 7, 5)
    values, output = whole(port, port.segments(matched), array, "eager")
    np.testing.assert_array_equal(values["few"], array[..., :2])
    np.testing.assert_array_equal(values["many"], array[..., 2:])
    np.testing.assert_array_equal(output, port.plain({INPUT: array}, "eager")["output"])


# -- segments ----------------------------------------------------------------------------------------------------------


def test_a_port_is_cut_at_matched_taps() -> None:
    """Each segment leads from values the reference has to one it has, through what it has not."""
    port = KerasModel(network())
    segments = port.segments(ALL)
    assert {s.layer: (s.anchors, [n.operation.name for n in s.nodes]) for s in segments} == {
        "r1": ((INPUT,), ["first"]),
        "r2": (("r1",), ["act"]),
        "r3": (("r2",), ["pad", "second"]),
        "r4": (("r1", "r3"), ["sum"]),
    }
    assert [segment.layer for segment in segments] == ["r1", "r2", "r3", "r4"]


def test_unmatched_taps_lie_inside_segments() -> None:
    """With the output alone matched, one segment is the whole model, each operation in it once."""
    (segment,) = KerasModel(network()).segments({"out": "sum"})
    assert segment.anchors == (INPUT,)
    assert sorted(node.operation.name for node in segment.nodes) == ["act", "first", "pad", "second", "sum"]


def test_a_segment_does_not_reach_past_its_anchors() -> None:
    """What lies before an anchor is not run: the anchor's value is taken as it is given."""
    port = KerasModel(network())
    segment = by_layer(port.segments(ALL))["r4"]
    values = [image(2, 5, 7, 5, seed=seed) for seed in (2, 3)]
    np.testing.assert_array_equal(as_array(segment.run([as_tensor(v) for v in values])), values[0] + values[1])


def test_an_operation_can_be_replaced_for_one_run() -> None:
    """A replay puts another callable in an operation's place; the next run is the old one."""
    segment = by_layer(KerasModel(network()).segments(ALL))["r2"]
    value = as_tensor(image(2, 5, 7, 5))
    replaced = as_array(segment.run([value], Edit(replaced={segment.tap.operation: lambda x: x * 2})))
    np.testing.assert_array_equal(replaced, image(2, 5, 7, 5) * 2)
    assert not np.array_equal(as_array(segment.run([value])), replaced)
