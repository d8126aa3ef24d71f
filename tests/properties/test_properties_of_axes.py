"""Moving axes, for layouts of any letters, and the trees that a network's inputs come in."""

import string
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples

from parity.axes import BATCH, CHANNELS, Axes, batch_first, flat_positions, in_port, move
from parity.inputs.strategies.tensors import layouts
from parity.pairs import Input
from parity.trees import leaves, rebuilt

DATA_FORMATS = st.sampled_from([True, False])


@st.composite
def numbered(draw: st.DrawFn) -> tuple[np.ndarray[Any, Any], str, str]:
    """An array in which each value says where it is, its layout, and another of the same letters."""
    source = draw(layouts((1, 6)))
    sizes = {letter: draw(st.sampled_from([1, 2, 3, 5])) for letter in source}
    array = np.arange(np.prod(list(sizes.values()))).reshape(list(sizes.values()))
    return array, source, "".join(draw(st.permutations(source)))


@examples(100)
@given(numbered())
def test_moving_there_and_back_is_the_identity(given_: tuple[np.ndarray[Any, Any], str, str]) -> None:
    """Each value comes back to its place, and on the way each axis has its own length."""
    array, source, target = given_
    moved = move(array, source, target)
    assert dict(zip(target, moved.shape, strict=True)) == dict(zip(source, array.shape, strict=True))
    np.testing.assert_array_equal(move(moved, target, source), array)
    assert move(array, source, source).shape == array.shape


@examples(100)
@given(numbered(), st.data())
def test_moving_by_way_of_another_layout(given_: tuple[np.ndarray[Any, Any], str, str], data: st.DataObject) -> None:
    """Whatever layout lies between, what was moved twice is as if it had been moved once."""
    array, source, target = given_
    between = "".join(data.draw(st.permutations(source)))
    np.testing.assert_array_equal(move(move(array, source, between), between, target), move(array, source, target))


@examples(100)
@given(numbered())
def test_flat_positions_go_there_and_back(given_: tuple[np.ndarray[Any, Any], str, str]) -> None:
    """Every flat position leads to the same value in the other layout, and back to itself."""
    array, source, target = given_
    moved = move(array, source, target)
    places = flat_positions(array.reshape(-1), array.shape, source, target)
    np.testing.assert_array_equal(moved.reshape(-1)[places], array.reshape(-1))
    np.testing.assert_array_equal(flat_positions(places, moved.shape, target, source), array.reshape(-1))


@examples(300)
@given(layouts(), DATA_FORMATS)
def test_the_ports_layout_has_the_same_axes(layout: str, channels_last: bool) -> None:
    """A port has every axis of the reference once; but for the batch and channels they are in the reference's order."""
    port = in_port(layout, channels_last=channels_last)
    assert sorted(port) == sorted(layout)
    still = [[letter for letter in each if letter not in BATCH[0] + CHANNELS] for each in (layout, port)]
    assert still[0] == still[1]
    assert Axes(by_name={"x": (layout, port)}).of("x", len(layout)) == (layout, port)


@examples(300)
@given(layouts(), DATA_FORMATS)
def test_the_ports_layout_stays_as_it_is(layout: str, channels_last: bool) -> None:
    """What is in the port's order already is left in it: a port of a port has the same layout."""
    port = in_port(layout, channels_last=channels_last)
    assert in_port(port, channels_last=channels_last) == port
    assert batch_first(batch_first(layout)) == batch_first(layout)


@examples(200)
@given(layouts((1, 6)).filter(lambda layout: len(layout) > 1), st.data())
def test_a_wrong_order_is_not_the_identity(layout: str, data: st.DataObject) -> None:
    """The checks above can fail: moved by any other order than its own, an array of unequal sides is another."""
    array = np.arange(np.prod(range(2, 2 + len(layout)))).reshape(range(2, 2 + len(layout)))
    other = data.draw(st.permutations(layout).map("".join).filter(lambda order: order != layout))
    assert move(array, layout, other).shape != array.shape


# -- trees ------------------------------------------------------------------------------------------------------------

ARRAYS = st.integers(1, 5).map(lambda size: np.arange(size, dtype=np.float32))
TREES = st.recursive(
    ARRAYS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(string.ascii_letters, min_size=1), inner, max_size=3)
    ),
    max_leaves=6,
)


@examples(100)
@given(TREES)
def test_a_tree_that_is_rebuilt_is_the_same(tree: Any) -> None:
    """Nothing changed, a tree has the same form and leaves; every leaf has a name of its own and is visited once."""
    names = [name for name, _ in leaves(tree, "output")]
    assert len(set(names)) == len(names)
    visited: list[str] = []
    again = rebuilt(tree, "output", lambda name, leaf: visited.append(name) or leaf)  # type: ignore[func-returns-value]
    assert visited == names
    assert repr(again) == repr(tree)


@examples(100)
@given(st.lists(TREES, min_size=1, max_size=3), st.dictionaries(st.sampled_from(["mask", "state"]), TREES))
def test_an_input_that_is_changed_keeps_its_form(args: list[Any], kwargs: dict[str, Any]) -> None:
    """Every array of an input is changed once, by its name, and the call takes the same tree of arguments."""
    count = len([leaf for tree in (*args, *kwargs.values()) for leaf in leaves(tree, "")])
    if not count:
        with pytest.raises(Exception, match="holds no array"):
            Input(name="x", args=tuple(args), kwargs=kwargs)
        return
    given_ = Input(name="x", args=tuple(args), kwargs=kwargs)
    assert len(given_.arrays) == count
    twice = given_.changed(lambda _, array: array * 2)
    for name, array in given_.arrays.items():
        np.testing.assert_array_equal(twice.arrays[name], array * 2)
    assert repr(twice.changed(lambda _, array: array / 2).args) == repr(given_.args)
