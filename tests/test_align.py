"""Alignment: the user's map wins, names and order fill the rest, and nothing with weights is matched by luck."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from parity.alignment import Alignment, align, apart, normalised
from parity.axes import Axes
from parity.errors import MapError
from parity.runners.taps import Tap


def conv(name: str, channels: int = 3, **changes: object) -> Tap:
    """A convolution of the reference: its map is NCHW, 2 x `channels` x 5 x 7."""
    return replace(Tap(name=name, kind="conv2d", shape=(2, channels, 5, 7), weighted=True), **changes)  # type: ignore[arg-type]


def operation(name: str, kind: str = "", channels: int = 3) -> Tap:
    """An operation of the reference without weights."""
    return Tap(name=name, kind=kind or name, shape=(2, channels, 5, 7))


def in_port(tap: Tap, name: str, *, batch: int | None = None) -> Tap:
    """The same tap as a port has it: another name, channels last, the batch left open."""
    _, channels, height, width = tap.shape
    return replace(tap, name=name, shape=(batch, height, width, channels))


REFERENCE = [
    conv("stem"),
    operation("stem.act", "leakyrelu"),
    conv("body", 5),
    operation("cat", channels=8),
    conv("out", 2),
]
NAMES = ["conv2d_4", "leaky_re_lu", "conv2d_5", "concatenate", "conv2d_6"]
PORT = [in_port(tap, name) for tap, name in zip(REFERENCE, NAMES, strict=True)]
BY_ORDER = dict(zip(["stem", "stem.act", "body", "cat", "out"], NAMES, strict=True))


def aligned(
    reference: list[Tap],
    port: list[Tap],
    layers: Mapping[str, str] | None = None,
    **more: object,
) -> Alignment:
    """Align two lists whose last taps are the outputs."""
    ends = {reference[-1].name: port[-1].name}
    return align(reference, port, layers=layers, **{"axes": Axes(), "outputs": ends, **more})  # type: ignore[arg-type]


# -- filled by itself --------------------------------------------------------------------------------------------------


def test_order_kind_and_shape_are_enough() -> None:
    """Lists that correspond one to one are matched in order, under names that have nothing in common."""
    found = aligned(REFERENCE, PORT)
    assert found.matched == BY_ORDER
    assert found.coverage.complete
    assert found.coverage.weighted == 3
    assert not any(found.inside.values())


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "convtranspose2d"},
        {"weighted": False},
        {"shape": (None, 5, 7, 6)},
        {"shape": (None, 7, 5, 5)},
        {"shape": (3, 5, 7, 5)},
        {"shape": (None, 5, 7)},
    ],
    ids=["kind", "weights", "channels", "height and width exchanged", "batch", "rank"],
)
def test_what_differs_in_kind_weights_or_shape_is_not_matched(change: dict[str, object]) -> None:
    """A port layer of another kind, without weights or of another shape answers to nothing: both are left over."""
    port = [*PORT[:2], replace(PORT[2], **change), *PORT[3:]]  # type: ignore[arg-type]
    found = aligned(REFERENCE, port)
    assert "body" not in found.matched
    assert found.coverage.unmatched_reference == ("body",)
    assert found.coverage.unmatched_port == (("conv2d_5",) if port[2].weighted else ())
    assert not found.coverage.complete


def test_unknown_sizes_of_the_port_fit_any() -> None:
    """Sizes that the port leaves open are no obstacle; those it gives still are."""
    port = [replace(tap, shape=(None, None, None, tap.shape[3])) for tap in PORT]
    assert aligned(REFERENCE, port).matched == BY_ORDER


def test_equal_names_weigh_more_than_order() -> None:
    """Where one of two like layers is missing, the name says which: the nearer one in order does not take its place."""
    reference = [conv("a"), conv("b"), conv("end", 2)]
    port = [in_port(reference[1], "b"), in_port(reference[2], "end")]
    found = aligned(reference, port)
    assert found.matched == {"b": "b", "end": "end"}
    assert found.coverage.unmatched_reference == ("a",)


def test_data_flow_overrules_names_that_contradict_it() -> None:
    """Of two like layers under each other's names, the one that runs first answers to the one that runs first."""
    reference = [conv("a"), conv("b"), conv("end", 2)]
    port = [in_port(reference[1], "b"), in_port(reference[0], "a"), in_port(reference[2], "end")]
    found = aligned(reference, port)
    assert found.matched == {"a": "b", "b": "a", "end": "end"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("features.stage1.conv.0", "features/stage1/conv"),
        ("conv3_1.0", "conv3_1"),
        ("Block.2", "block_2"),
        ("a-b", "a_b"),
    ],
)
def test_habits_of_naming_are_no_difference(one: str, other: str) -> None:
    """Dots, slashes, case and a last index of zero differ by habit."""
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(("one", "other"), [("conv1", "conv2"), ("conv.1", "conv"), ("conv1_1", "conv11"), ("a", "ab")])
def test_other_names_are_other_names(one: str, other: str) -> None:
    """What tells two layers apart is kept."""
    assert normalised(one) != normalised(other)


BLOCK = ["conv1", "conv2", "norm2", "shortcut", "shortcut_norm", "add"]
"""A residual block as torch runs it: the main branch, then the shortcut."""


def residual_block() -> tuple[list[Tap], list[Tap]]:
    """The block on both sides; Keras lists it by depth, so its two branches are interleaved."""
    kinds = {name: "batchnorm" if "norm" in name else "add" if name == "add" else "conv2d" for name in BLOCK}
    reads = {"conv1": "input", "conv2": "conv1", "norm2": "conv2", "shortcut": "input", "shortcut_norm": "shortcut"}
    reference = [
        replace(
            conv(name),
            kind=kinds[name],
            weighted=name != "add",
            reads=(reads[name],) if name in reads else ("norm2", "shortcut_norm"),
        )
        for name in BLOCK
    ]
    by_depth = ("conv1", "conv2", "shortcut", "norm2", "shortcut_norm", "add")
    return reference, [in_port(reference[BLOCK.index(name)], name) for name in by_depth]


def test_branches_in_another_order_can_be_mapped() -> None:
    """Branches that the port lists in another order than torch runs them are matched by a whole map."""
    reference, port = residual_block()
    found = aligned(reference, port, {name: name for name in BLOCK})
    assert list(found.matched) == BLOCK
    assert found.coverage.complete


@pytest.mark.parametrize("layers", [None, {"shortcut": "shortcut"}])
def test_branches_in_another_order_are_matched(layers: dict[str, str] | None) -> None:
    """A faithful port of a residual block, under the same names, leaves nothing over, with an entry mapped or none."""
    reference, port = residual_block()
    assert aligned(reference, port, layers).coverage.complete


# -- what has no counterpart -------------------------------------------------------------------------------------------


def test_what_has_weights_and_no_counterpart_is_left_over() -> None:
    """Weighted taps are named on the side that has them; a layer of the port without weights is nobody's concern."""
    extra = conv("extra", 7)
    assert aligned([REFERENCE[0], extra, *REFERENCE[1:]], PORT).coverage.unmatched_reference == ("extra",)
    found = aligned(REFERENCE, [PORT[0], in_port(extra, "conv2d_9"), *PORT[1:]])
    assert found.coverage.unmatched_port == ("conv2d_9",)
    padded = in_port(operation("pad", channels=7), "zero_padding2d")
    assert aligned(REFERENCE, [PORT[0], padded, *PORT[1:]]).coverage.complete


def test_what_has_no_weights_lies_inside_the_next_matched_tap() -> None:
    """An activation that the port fuses is compared with what follows it, and the coverage says where it is."""
    found = aligned(REFERENCE, [PORT[0], *PORT[2:]])
    assert found.inside == {"stem": (), "body": ("stem.act",), "cat": (), "out": ()}
    assert found.coverage.inside == {"stem.act": "body"}
    assert found.coverage.complete


def test_several_operations_gather_in_order() -> None:
    """All operations since the last matched tap lie inside the next one, first to last."""
    reference = [conv("stem"), *(operation(name) for name in ("abs", "sqrt", "mul")), conv("end", 2)]
    found = aligned(reference, [in_port(reference[0], "stem"), in_port(reference[-1], "end")])
    assert found.inside["end"] == ("abs", "sqrt", "mul")


def test_operations_after_the_last_matched_tap_are_left_over() -> None:
    """What no later tap holds is compared by nobody, so it is left over, weights or not."""
    found = aligned([*REFERENCE, operation("tanh")], PORT, outputs={"out": "conv2d_6"})
    assert found.coverage.unmatched_reference == ("tanh",)


def test_waivers_are_taken_down() -> None:
    """Names that may be left over are recorded, and make the coverage complete."""
    reference = [*REFERENCE[:2], conv("extra", 7), *REFERENCE[2:]]
    assert aligned(reference, PORT, waived=("extra",)).coverage.complete
    assert not aligned(reference, PORT, waived=("extra2",)).coverage.complete


def test_waivers_are_listed_in_one_order() -> None:
    """A set of names has another order in each process, and a record of the same run is the same."""
    assert aligned(REFERENCE, PORT, waived=frozenset("dbeac")).coverage.waived == tuple("abcde")


# -- the map -----------------------------------------------------------------------------------------------------------


def test_the_map_wins() -> None:
    """Taps of other kinds, shapes and names are matched where the map says so."""
    other = Tap(name="odd", kind="dense", shape=(None, 11), weighted=True)
    found = aligned(REFERENCE, [PORT[0], PORT[1], other, *PORT[3:]], {"body": "odd"})
    assert found.matched["body"] == "odd"
    assert found.coverage.complete


def test_a_partial_map_is_filled_around_its_entries() -> None:
    """What the map leaves open is filled in order on either side of what it pins."""
    twins = [conv(f"r{i}") for i in range(5)]
    port = [in_port(tap, f"p{i}") for i, tap in enumerate(twins)]
    assert aligned(twins, port, {"r2": "p2"}).matched == {f"r{i}": f"p{i}" for i in range(5)}
    shifted = aligned(twins, port, {"r1": "p2"})
    assert shifted.matched["r1"] == "p2"
    assert list(shifted.matched.values()) == sorted(shifted.matched.values())
    assert len(shifted.coverage.unmatched_port) == len(shifted.coverage.unmatched_reference) == 1


def test_filling_never_crosses_the_map() -> None:
    """A layer pinned late leaves nothing after it to earlier port layers, although they would fit."""
    twins = [conv(f"r{i}") for i in range(4)]
    port = [in_port(tap, f"p{i}") for i, tap in enumerate(twins)]
    found = aligned(twins, port, {"r0": "p2"})
    assert found.matched == {"r0": "p2", "r3": "p3"}
    assert found.coverage.unmatched_reference == ("r1", "r2")
    assert found.coverage.unmatched_port == ("p0", "p1")


def test_a_misspelt_reference_name_is_an_error_with_a_suggestion() -> None:
    """A tap that the reference never runs is refused, and the nearest name is offered; none is, for nonsense."""
    with pytest.raises(
        MapError, match=r"names 'stem\.atc', which the reference never runs; did you mean 'stem\.act'\?"
    ):
        aligned(REFERENCE, PORT, {"stem.atc": "leaky_re_lu"})
    with pytest.raises(MapError, match=r"names 'xyzzy', which the reference never runs$"):
        aligned(REFERENCE, PORT, {"xyzzy": "leaky_re_lu"})


def test_two_taps_to_one_layer_is_an_error() -> None:
    """A port layer answers to one tap; the message names both taps and the layer."""
    with pytest.raises(MapError, match="sends 'stem' and 'body' to the same port layer 'conv2d_4'"):
        aligned(REFERENCE, PORT, {"stem": "conv2d_4", "body": "conv2d_4"})


@pytest.mark.parametrize("name", ["stem", "stem.act"])
def test_a_missing_port_layer_leaves_its_tap_unmatched(name: str) -> None:
    """Where the map names a port layer that is not there, its tap is left over and takes no other, weights or not."""
    found = aligned(REFERENCE, PORT, {name: "no_such_layer"})
    assert name not in found.matched
    assert found.coverage.unmatched_reference == (name,)
    assert not found.coverage.complete


def test_a_missing_port_layer_for_the_output_leaves_it_unmatched() -> None:
    """The map wins at the output too: a port layer that is not there is a mistake in the map, not the output."""
    assert aligned(REFERENCE, PORT, {"out": "no_such_layer"}).coverage.unmatched_reference == ("out",)


ALIASES = {"stem_block": "stem.act"}


def test_another_name_of_a_tap_may_be_mapped() -> None:
    """A container's name stands for its last child's tap."""
    found = aligned(REFERENCE, PORT, {"stem_block": "leaky_re_lu"}, aliases=ALIASES)
    assert found.matched == BY_ORDER
    with pytest.raises(MapError, match="did you mean 'stem_block'"):
        aligned(REFERENCE, PORT, {"stem_blok": "leaky_re_lu"}, aliases=ALIASES)


def test_a_missing_port_layer_shows_under_another_name_too() -> None:
    """A tap that the map names as its container is left over like one it names itself."""
    found = aligned(REFERENCE, PORT, {"stem_block": "no_such_layer"}, aliases=ALIASES)
    assert not found.coverage.complete


def test_one_tap_under_two_names_is_an_error() -> None:
    """A map that sends one tap to two port layers, by two of its names, is refused."""
    with pytest.raises(MapError, match="stem_block"):
        aligned(REFERENCE, PORT, {"stem.act": "leaky_re_lu", "stem_block": "concatenate"}, aliases=ALIASES)


def test_outputs_answer_to_each_other() -> None:
    """Output meets output whatever the names, kinds and shapes; a map that says otherwise wins."""
    odd = Tap(name="head", kind="softmax", shape=(None, 11))
    assert aligned(REFERENCE, [*PORT[:-1], odd]).matched["out"] == "head"
    assert aligned(REFERENCE, [*PORT, odd], {"out": "conv2d_6"}).matched["out"] == "conv2d_6"


# -- layouts -----------------------------------------------------------------------------------------------------------


def test_shapes_are_compared_in_declared_layouts() -> None:
    """The same port fits under its own layout, and under another it does not, though the sizes are the same."""
    channels_first = Axes(port={4: "NCHW"})
    assert aligned(REFERENCE, PORT, axes=channels_first).matched == {"out": "conv2d_6"}
    same = [replace(tap, name=f"p{i}") for i, tap in enumerate(REFERENCE)]
    assert len(aligned(REFERENCE, same, axes=channels_first).matched) == 5


def test_a_layout_by_name_is_used() -> None:
    """Tokens (N, L, C) on both sides are matched once their layout is declared, and not as N, C, L before."""
    reference = [Tap(name="embed", kind="linear", shape=(2, 5, 7), weighted=True), conv("end", 2)]
    port = [replace(reference[0], name="dense", shape=(None, 5, 7)), in_port(conv("end", 2), "end")]
    assert "embed" not in aligned(reference, port).matched
    assert aligned(reference, port, axes=Axes(by_name={"embed": ("NLC", "NLC")})).matched["embed"] == "dense"


def test_ranks_without_a_layout_are_not_matched() -> None:
    """A scalar or a six-dimensional view without a layout is left to lie inside what follows; nothing is raised."""
    for shape in ((), (1, 2, 3, 4, 5, 6)):
        reference = [REFERENCE[0], Tap(name="view", kind="view", shape=shape), *REFERENCE[1:]]
        port = [PORT[0], Tap(name="reshape", kind="view", shape=shape), *PORT[1:]]
        assert aligned(reference, port).inside["stem.act"] == ("view",)


# -- taps that turn out not to correspond ------------------------------------------------------------------------------


def test_a_tap_apart_lies_inside_the_layer_after_it() -> None:
    """A tap that does not correspond is no longer matched: it, and what lay inside it, is part of the next layer."""
    found = replace(aligned(REFERENCE, PORT), inside={**aligned(REFERENCE, PORT).inside, "stem.act": ("mul",)})
    without = apart(found, {"stem.act"})
    assert without.matched == {name: target for name, target in BY_ORDER.items() if name != "stem.act"}
    assert without.inside["body"] == ("mul", "stem.act")
    assert without.coverage.apart == ("stem.act",)
    assert without.coverage.inside["stem.act"] == "body"
    assert found.matched == BY_ORDER


def test_several_taps_apart_in_a_row() -> None:
    """Two in a row lie inside the first layer after both, and the last of all, with none after it, stays."""
    without = apart(aligned(REFERENCE, PORT), {"stem.act", "body", "out"})
    assert list(without.matched) == ["stem", "cat", "out"]
    assert {*without.inside["cat"]} >= {"stem.act", "body"}
    assert {*without.coverage.apart} == {"stem.act", "body"}
