"""The user's map: one tap to one, several to one, one to several; and as a file."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from networks import network, ported, without
from test_small_pairs import small

from parity.alignment import Alignment, align, map_as_yaml, read_map
from parity.axes import Axes
from parity.errors import MapError
from parity.models.small import NETWORKS
from parity.runners.taps import Tap


def tap(name: str, kind: str, *reads: str, channels: int = 3, weighted: bool = False, last: bool = False) -> Tap:
    """A tap of (2, channels, 5, 7), or as a port has it with channels `last`."""
    shape = (None, 5, 7, channels) if last else (2, channels, 5, 7)
    return Tap(name=name, kind=kind, shape=shape, weighted=weighted, reads=reads)


REFERENCE = [
    tap("conv", "conv2d", "input", weighted=True),
    tap("bn", "batchnorm", "conv", weighted=True),
    tap("qkv", "conv2d", "bn", channels=9, weighted=True),
    tap("view", "view", "qkv", channels=9),
    tap("mix", "mix", "view"),
    tap("head", "conv2d", "mix", channels=2, weighted=True),
]
PORT = [
    tap("conv_folded", "conv2d", "input", weighted=True, last=True),
    *(tap(name, "conv2d", "conv_folded", weighted=True, last=True) for name in "qkv"),
    tap("mixed", "mix", "q", "k", "v", last=True),
    tap("head", "conv2d", "mixed", channels=2, weighted=True, last=True),
]
LAYERS: Mapping[tuple[str, ...] | str, str | list[str]] = {("conv", "bn"): "conv_folded", "qkv": ["q", "k", "v"]}


def aligned(layers: object, reference: list[Tap] = REFERENCE, port: list[Tap] = PORT) -> Alignment:
    """Align two networks that end in their last taps."""
    ends = {reference[-1].name: port[-1].name}
    return align(reference, port, layers=layers, axes=Axes(), outputs=ends)  # type: ignore[arg-type]


@pytest.mark.parametrize("layers", [LAYERS, {"conv + bn": "conv_folded", "qkv": ("q", "k", "v")}])
def test_several_to_one_and_one_to_several(layers: object) -> None:
    """Fused layers are compared at the last of them, split ones inside the next matched tap; nothing is left over."""
    found = aligned(layers)
    assert found.matched["bn"] == "conv_folded"
    assert "conv" not in found.matched
    assert "qkv" not in found.matched
    assert found.coverage.inside == {"conv": "bn", "qkv": "mix", "view": "mix"}
    assert found.coverage.complete
    assert found.coverage.reasons["bn"] == "given"


def test_without_the_map_they_are_left_over() -> None:
    """The same networks without a map leave the split layers over: what is covered above is so because it was said."""
    found = aligned(None)
    assert "qkv" in found.coverage.unmatched_reference
    assert {*"qkv"} <= {*found.coverage.unmatched_port}


@pytest.mark.parametrize("layers", [{("conv", "bn"): "lost"}, {"qkv": ["q", "lost", "v"]}])
def test_what_the_port_lacks_of_a_group_leaves_it_unmatched(layers: dict[object, object]) -> None:
    """A group of which the port has not all is left over, and so are its parts."""
    found = aligned(layers)
    (key,) = layers
    names = key if isinstance(key, tuple) else (key,)
    assert {*names} <= {*found.coverage.unmatched_reference}  # type: ignore[misc]


def test_an_output_of_several_may_be_named_for_its_layer() -> None:
    """`lstm` stands for `lstm[0]` on either side; a name that is a tap's own stays that."""
    reference = [tap("lstm[0]", "lstm", "input", weighted=True), tap("head", "conv2d", "lstm[0]", weighted=True)]
    port = [
        tap("recurrent[0]", "lstm", "input", weighted=True, last=True),
        tap("head", "conv2d", "recurrent[0]", weighted=True, last=True),
    ]
    assert aligned({"lstm": "recurrent"}, reference, port).coverage.reasons["lstm[0]"] == "given"
    with pytest.raises(MapError, match=r"names 'lstm\[1\]', which the reference never runs"):
        aligned({"lstm[1]": "recurrent"}, reference, port)


def test_a_tap_in_two_groups_is_refused() -> None:
    """One tap cannot be computed in two places, nor one port layer be two."""
    with pytest.raises(MapError, match="names 'bn' twice: as 'bn' and as 'conv'; once is enough"):
        aligned({"bn": "q", ("conv", "bn"): "conv_folded"})
    with pytest.raises(MapError, match="to the same port layer 'k'; if it computes them together"):
        aligned({"conv": "k", "qkv": ["q", "k"]})


# -- files -------------------------------------------------------------------------------------------------------------


def written(path: Path, text: str) -> Path:
    """A file of that text."""
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", NETWORKS)
def test_a_map_that_is_printed_and_read_gives_the_same(name: str, tmp_path: Path) -> None:
    """The map of an alignment that was found without one, given back, gives the same alignment."""
    sides = small(name)
    found = align(sides.reference, sides.port, layers=None, axes=sides.axes, outputs=sides.outputs)
    file = written(tmp_path / "map.yaml", map_as_yaml(found, name))
    again = align(sides.reference, sides.port, layers=file, axes=sides.axes, outputs=sides.outputs)
    assert again.matched == found.matched
    assert again.inside == found.inside
    assert replace(again.coverage, reasons={}) == replace(found.coverage, reasons={})
    assert set(again.coverage.reasons.values()) == {"given"}


def test_groups_survive_the_file(tmp_path: Path) -> None:
    """Fused and split layers are written as such, and read back as they were."""
    found = aligned(LAYERS)
    file = written(tmp_path / "map.yaml", map_as_yaml(found, "mine"))
    assert read_map(file).items() >= {"conv + bn": "conv_folded"}.items()
    assert read_map(file)["qkv"] == ["q", "k", "v"]
    assert aligned(file).coverage == replace(found.coverage, reasons=aligned(file).coverage.reasons)


def test_folded_norms_survive_the_file(tmp_path: Path) -> None:
    """A fusion that was found by itself is written as a group, and read back gives the same."""
    reference = network(1, 2, symmetric=False)
    port = ported(reference)
    norm = next(each for each in reference if each.kind == "batchnorm")
    port = [
        replace(each, weights=lambda: [np.ones((2, 3), np.float32) * [1, 2, 3], np.zeros(3)])
        if each.name == norm.reads[0]
        else each
        for each in without(port, norm.name)
    ]
    found = aligned(None, reference, port)
    assert found.matched[norm.name] == norm.reads[0]
    text = map_as_yaml(found, "mine")
    assert f"{norm.reads[0]} + {norm.name}: {norm.reads[0]}" in text
    assert aligned(written(tmp_path / "map.yaml", text), reference, port).matched == found.matched


def test_reasons_and_what_is_left_over_are_comments(tmp_path: Path) -> None:
    """Each line says why; taps without a counterpart are listed, and none of this is read back."""
    text = map_as_yaml(aligned(None), "mine")
    assert "# in the reference, without a counterpart:\n#   " in text
    assert "head: head" in text
    assert all(" # " in line for line in text.splitlines() if line and not line.startswith("#"))
    assert "qkv" not in read_map(written(tmp_path / "map.yaml", text))


def test_names_that_yaml_would_change_are_quoted(tmp_path: Path) -> None:
    """Children of a Sequential are numbers, and some names are words of YAML: all come back as they were."""
    names = ["0", "no", "1.5", "a#2", "x: y", "*a", "null", "-", "é"]
    reference = [
        tap(name, "conv2d", before, weighted=True) for name, before in zip(names, ["input", *names], strict=False)
    ]
    port = [replace(each, name=f"p{each.name}", shape=(None, 5, 7, 3), reads=()) for each in reference]
    port = [
        replace(each, reads=(before,)) for each, before in zip(port, ["input", *(p.name for p in port)], strict=False)
    ]
    file = written(tmp_path / "map.yaml", map_as_yaml(aligned(None, reference, port), "mine"))
    assert read_map(file) == {name: f"p{name}" for name in names}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [b", "is not YAML: .*line 1"),
        ("- a\n- b", "holds a list, not a mapping"),
        ("a: b\na: c", "line 2: 'a' is there twice"),
        ("0: conv", "line 1: 0 is not a name; put it in quotes"),
        ("a: 3", "line 1: 'a' goes to 3, which is not a name or a list of names"),
        ("a: {b: c}", "line 1: 'a' goes to .*, which is not a name or a list of names"),
        ("a: []", r"line 1: 'a' goes to \[\]"),
        ("a: !!python/name:os.system x", "is not YAML"),
    ],
)
def test_a_file_that_is_no_map_is_refused(text: str, message: str, tmp_path: Path) -> None:
    """The message has the file, the line and what to do; nothing in a file is ever run."""
    with pytest.raises(MapError, match=message) as caught:
        read_map(written(tmp_path / "map.yaml", text))
    assert "map.yaml" in str(caught.value)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    """A missing file is an error of one sentence; one that holds nothing is an empty map."""
    with pytest.raises(MapError, match=r"cannot read the layer map .*lost\.yaml: No such file"):
        read_map(tmp_path / "lost.yaml")
    assert read_map(written(tmp_path / "map.yaml", "# nothing yet\n")) == {}
