"""Pairs of users' own: wherever they are defined, with the inputs that were asked for, built no more than once."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import parity
from parity import models
from parity.errors import InputError, UnknownModelError, UsageError, UserCodeError
from parity.frameworks import keras, torch
from parity.models import Settings, load
from parity.pairs import Input, Pair


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current folder, and a registry of its own; what is imported from it is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(models, "_MODELS", dict(models._MODELS))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


PAIR = 'import numpy as np\nimport parity\nnoise = parity.inputs.noise((2, 3), name="mine")\n'
WHOLE = 'parity.Pair(name="{0}", reference=None, port=None, inputs=[noise])'


def write(path: str, *lines: str) -> None:
    """A file that defines pairs."""
    Path(path).write_text(PAIR + "\n".join(lines) + "\n")


# --- where pairs are -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        f"it = {WHOLE.format('a')}",
        f"def it(): return {WHOLE.format('a')}",
        f"def it(settings): return {WHOLE.format('a')}",
        "def it(): return parity.Pair(name='a', reference=None, port=None), [noise]",
        "def it(settings=None): return parity.Pair(name='a', reference=None, port=None), [noise]",
    ],
)
def test_a_pair_is_an_object_or_what_a_function_returns(line: str) -> None:
    """In a module or in a file; a function may take the Settings, and return the inputs beside the pair."""
    write("own_pairs.py", line)
    for name in ("own_pairs:it", "own_pairs.py:it"):
        pair, inputs = load(name)
        assert (pair.name, [each.name for each in inputs]) == ("a", ["mine"])


def test_a_function_gets_the_settings() -> None:
    """As they were asked for."""
    write(
        "own_pairs.py",
        "def it(settings): return parity.Pair(name=str(settings.seed), reference=None, port=None), [noise]",
    )
    assert load("own_pairs.py:it", Settings(seed=7))[0].name == "7"


def test_the_only_pair_of_a_file_needs_no_name() -> None:
    """One pair, under however many names, is meant; of several, or none, it must be said which."""
    write("own_one.py", f"it = that = {WHOLE.format('one')}")
    write("own_two.py", f"a = {WHOLE.format('a')}", f"b = {WHOLE.format('b')}")
    write("own_none.py")
    assert load("own_one.py")[0].name == "one"
    with pytest.raises(UsageError, match=r"own_two.py defines the pairs a, b; say which it is: own_two.py:name"):
        load("own_two.py")
    with pytest.raises(UsageError, match=r"own_none.py defines no pair"):
        load("own_none.py")


def test_a_function_of_a_conftest_has_a_name() -> None:
    """The current folder's conftest.py is read for a name that nobody else has; it is listed with where it is."""
    write("conftest.py", '@parity.pair("hers")', "def it():", '    "What she made."', f"    return {WHOLE.format('a')}")
    assert load("hers")[0].name == "a"
    entry = models.everything()["hers"]
    assert (entry.origin, entry.description) == ("conftest.py:4", "What she made.")
    with pytest.raises(UnknownModelError, match="did you mean 'hers'"):
        load("her")


def test_an_entry_point_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is installed may offer pairs; one with the name of another is refused, not chosen."""
    write("own_pairs.py", f"it = {WHOLE.format('a')}")
    points = [metadata.EntryPoint(name, "own_pairs:it", "parity.models") for name in ("offered", "tagger")]
    monkeypatch.setattr(metadata, "entry_points", lambda *, group: points if group == "parity.models" else [])
    assert load("offered")[0].name == "a"
    assert models.everything()["offered"].origin == "own_pairs:it"
    with pytest.raises(UsageError, match="'tagger' is a model of parity and of own_pairs:it"):
        load("tagger")


def test_the_same_name_twice_is_an_error() -> None:
    """Whoever came first is named; a module that is imported twice says nothing new."""
    write("own_pairs.py", '@parity.pair("hers")', f"def a(): return {WHOLE.format('a')}")
    load("own_pairs.py")
    del sys.modules["own_pairs"]
    load("own_pairs.py:a")
    write("own_more.py", '@parity.pair("hers")', f"def b(): return {WHOLE.format('b')}")
    with pytest.raises(UsageError, match=r"model 'hers' is registered already, as own_pairs.py:4"):
        load("own_more.py:b")
    with pytest.raises(UsageError, match="model 'flownet' is registered already"):
        parity.pair("flownet")(lambda: None)


@pytest.mark.parametrize("name", ["a:b", "a/b", "", "net.py", "a b"])
def test_a_name_is_no_path(name: str) -> None:
    """A name that could be a file's or a module's attribute could never be asked for."""
    with pytest.raises(UsageError, match="a name has letters, digits, - and _ only"):
        parity.pair(name)


@pytest.mark.parametrize(
    ("line", "error", "sentence"),
    [
        ("it = 7", UsageError, "own_pairs.py:it is a int, not a parity.Pair"),
        (
            "import torch; it = torch.nn.ReLU()",
            UsageError,
            "it is a ReLU, not .*; .* parity init --reference own_pairs.py",
        ),
        (
            "from torch.nn import Conv2d as it",
            UsageError,
            "it is Conv2d, not a parity.Pair.*; it is one side of a pair",
        ),
        ("import keras; it = lambda: keras.Sequential()", UsageError, "returned a Sequential, .* parity init --port"),
        ("def it(): return 7", UsageError, "own_pairs.py:it returned a int, not a parity.Pair"),
        ("def it(a, b): pass", UsageError, "own_pairs.py:it needs a, b; a function that makes a pair takes Settings"),
        ("def it(): raise KeyError('x')", UserCodeError, r"making the pair .* failed with KeyError: 'x' \(.*line 4\)"),
        ("it = parity.Pair(name='a', reference=None, port=None, inputs=lambda: 1 / 0)", UserCodeError, "line 4"),
    ],
)
def test_what_is_no_pair_is_one_sentence(line: str, error: type[Exception], sentence: str) -> None:
    """Wrong use where it is not a pair, the user's line where the user's code fails."""
    write("own_pairs.py", line)
    with pytest.raises(error, match=sentence):
        load("own_pairs.py:it")


@pytest.mark.parametrize(
    "settings", [Settings(checkpoint=Path("w.pt")), Settings(data_format="channels_first")], ids=["weights", "format"]
)
def test_what_a_pair_is_not_told_is_refused(settings: Settings) -> None:
    """An option that would have no effect is an error; a function that takes the Settings is told."""
    write("own_pairs.py", f"it = {WHOLE.format('a')}", f"def told(settings): return {WHOLE.format('a')}")
    with pytest.raises(UsageError, match="takes no Settings, so it would not be told"):
        load("own_pairs.py:it", settings)
    assert load("own_pairs.py:told", settings)[0].name == "a"


def test_what_is_for_own_pairs_is_refused_elsewhere() -> None:
    """parity's own models have inputs of their own, which no shape or range would change."""
    with pytest.raises(UsageError, match="--range is for pairs of your own; the inputs of tagger are its own"):
        load("tagger", Settings(values=(0, 1)))


def test_a_port_and_a_map_of_files_take_their_places(folder: Path) -> None:
    """--port and --map replace what the pair has; a file that is not there is wrong use."""
    write("own_pairs.py", f"it = {WHOLE.format('a')}")
    files = Path("p.keras"), Path("m.yaml")
    with pytest.raises(UsageError, match=r"map m.yaml: no such file"):
        load("own_pairs.py:it", Settings(map=files[1]))
    for file in files:
        file.touch()
    pair, _ = load("own_pairs.py:it", Settings(port=files[0], map=files[1]))
    assert (pair.port, pair.layers) == files


# --- inputs ----------------------------------------------------------------------------------------------------------


class Net(torch.nn.Module):
    """An image of three channels."""

    def forward(self, image: Any) -> Any:
        return image


class Tokens(torch.nn.Module):
    """Tokens, a mask, and an image that need not be there."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(11, 3)

    def forward(self, input_ids: Any, mask: Any) -> Any:
        return self.embed(input_ids) * mask[..., None]


def image_port(*size: int | None) -> Callable[[], Any]:
    """A builder of a port that takes images."""
    return lambda: keras.Sequential([keras.Input((*size, 3), name="picture"), keras.layers.Activation("linear")])


def tokens_port() -> Any:
    """The same inputs as Tokens, in another order."""
    mask = keras.Input((None,), dtype="bool", name="Mask")
    ids = keras.Input((None,), dtype="int32", name="InputIds")
    value = keras.layers.Embedding(11, 3)(ids)
    return keras.Model([mask, ids], value * keras.ops.cast(mask, "float32")[..., None])


def fed(reference: Any, port: Any, settings: Settings | None = None, **more: Any) -> tuple[Pair, list[Input]]:
    """A pair and its inputs, loaded from a registered function."""
    models._MODELS["own"] = models.ModelEntry(
        description="", builder=lambda: Pair(name="own", reference=reference, port=port, **more), origin="here"
    )
    return load("own", settings or Settings())


def test_without_inputs_of_its_own_a_pair_gets_noise_that_fits() -> None:
    """What the port declares, in the reference's layout; both sides are built once and stay."""
    built = []
    pair, (given,) = fed(Net, lambda: built.append(1) or image_port(5, 7)())
    assert (given.name, given.array.shape) == ("noise", (1, 3, 5, 7))
    assert isinstance(pair.reference, Net)
    assert built == [1]


def test_axes_of_any_size_have_a_size() -> None:
    """Height and width differ, are multiples of the pair's, and are those asked for."""
    assert fed(Net, image_port(None, None))[1][0].array.shape == (1, 3, 64, 96)
    assert fed(Net, image_port(None, None), multiple=40)[1][0].array.shape == (1, 3, 80, 120)
    assert fed(Net, image_port(None, None), Settings(size=(7, 5)))[1][0].array.shape == (1, 3, 5, 7)
    shape = (2, 3, 5, 7)
    for name in ("", "input", "image", "picture"):
        assert fed(Net, image_port(None, None), Settings(shapes={name: shape}))[1][0].array.shape == shape


@pytest.mark.parametrize(
    ("size", "settings", "sentence"),
    [
        ((5, 7), Settings(size=(9, 5)), "--size 9x5: image of own takes 7x5 only"),
        ((5, 7), Settings(shapes={"": (1, 3, 7, 5)}), r"--shape 1,3,7,5: image of own takes any,3,5,7 \(NCHW\)"),
        ((5, 7), Settings(shapes={"mask": (1, 3)}), "--shape mask=...: own has the inputs image; say which"),
        ((5, 7), Settings(inputs=("tokens",)), "tokens were asked for, and the network takes none"),
        ((5, 7), Settings(inputs=("nosuch",)), "input 'nosuch' is neither one of noise, tokens, impulse.* nor a file"),
    ],
)
def test_an_input_that_cannot_be_is_refused(size: tuple[int, int], settings: Settings, sentence: str) -> None:
    """What the port takes, and what was asked for, are in the sentence."""
    with pytest.raises(InputError, match=sentence):
        fed(Net, image_port(*size), settings)


def test_several_inputs_are_in_the_references_order() -> None:
    """By their names, whatever the port's order; tokens stay below the vocabulary, and the pair says which is which."""
    pair, (given,) = fed(Tokens, tokens_port)
    ids, mask = given.args
    assert (ids.dtype, mask.dtype) == (np.int64, np.bool_)
    assert ids.shape == mask.shape
    assert ids.max() < 11
    assert pair.input_map == {"input[0]": "InputIds", "input[1]": "Mask"}


@pytest.mark.parametrize(("batch_first", "shape"), [(True, (1, 16, 5)), (False, (16, 1, 5))])
def test_a_sequence_has_the_layout_of_what_reads_it(batch_first: bool, shape: tuple[int, ...]) -> None:
    """An LSTM says in which order it takes a sequence; a convolution takes channels before length."""

    def port() -> Any:
        return keras.Sequential([keras.Input((None, 5)), keras.layers.LSTM(7, return_sequences=True)])

    assert fed(lambda: torch.nn.LSTM(5, 7, batch_first=batch_first), port)[1][0].array.shape == shape
    assert fed(lambda: torch.nn.Conv1d(5, 7, 3), port)[1][0].array.shape == (1, 5, 16)


def test_a_port_that_does_not_say_its_shapes_is_told_them() -> None:
    """Without a shape the sentence says what to give; with one it is enough."""
    with pytest.raises(InputError, match=r"does not say the shape of its input; give it, .* as --shape 1,3,64,96"):
        fed(Net, lambda: keras.layers.Activation("linear"))
    shapes = {"image": (1, 3, 5, 7)}
    assert fed(Net, lambda: keras.layers.Activation("linear"), Settings(shapes=shapes))[1][0].array.shape == (
        1,
        3,
        5,
        7,
    )


def test_a_pairs_own_inputs_are_chosen_by_name() -> None:
    """All of them by default, in their order; a name that is both a probe's and theirs is theirs."""
    own = [Input(name=name, array=np.full((1, 3, 5, 7), 3, np.float32)) for name in ("first", "ramp")]
    assert fed(Net, image_port(5, 7), inputs=own)[1] == own
    chosen = fed(Net, image_port(5, 7), Settings(inputs=("ramp", "noise")), inputs=lambda: own)[1]
    assert [each.name for each in chosen] == ["ramp", "noise"]
    assert chosen[0] is own[1]


def test_options_do_not_pass_over_a_pairs_own_inputs() -> None:
    """A size that would change nothing is refused, with what would heed it."""
    own = [Input(name="first", array=np.ones((1, 3, 5, 7), np.float32))]
    with pytest.raises(UsageError, match=r"--size does not change 'first', .*; add --input noise"):
        fed(Net, image_port(None, None), Settings(size=(7, 5)), inputs=own)


def test_inputs_come_from_files_and_folders() -> None:
    """Pictures cropped to what the port takes, arrays as they are, a folder as one input a file, named by its path."""
    Path("photos").mkdir()
    for index in (10, 2):
        Image.fromarray(np.full((7, 9, 3), index, np.uint8)).save(f"photos/f{index}.png")
    np.save("one.npy", np.ones((1, 3, 5, 7)))
    settings = Settings(inputs=("photos", "one.npy"))
    inputs = fed(Net, image_port(5, 7), settings)[1]
    assert [each.name for each in inputs] == ["photos/f2.png", "photos/f10.png", "one.npy"]
    assert {each.array.shape for each in inputs} == {(1, 3, 5, 7)}
    assert inputs[1].array.max() == 10
    few = fed(Net, image_port(5, 7), Settings(inputs=("photos",), limit=1, values=(0, 1)))[1]
    assert [each.name for each in few] == ["photos/f2.png"]
    np.testing.assert_allclose(few[0].array, 2 / 255, rtol=1e-6)


def test_arrays_of_several_inputs_are_found_by_their_names() -> None:
    """By the reference's names or the port's; a name that is neither is refused with those that are."""
    ids, mask = np.zeros((1, 7), np.int64), np.ones((1, 7), bool)
    np.savez("named.npz", mask=mask, InputIds=ids)
    np.savez("plain.npz", ids, mask)
    np.savez("wrong.npz", mask=mask, tokens=ids)
    for name in ("named.npz", "plain.npz"):
        given = fed(Tokens, tokens_port, Settings(inputs=(name,)))[1][0]
        assert [array.dtype for array in given.args] == [np.int64, np.bool_]
    with pytest.raises(InputError, match=r"wrong.npz holds mask, tokens; the inputs of own are input_ids, mask"):
        fed(Tokens, tokens_port, Settings(inputs=("wrong.npz",)))


def test_two_pictures_are_for_two_inputs() -> None:
    """--images fills a network of two images, and is refused by one that takes a single one."""
    Image.fromarray(np.zeros((5, 7, 3), np.uint8)).save("a.png")

    class Two(torch.nn.Module):
        def forward(self, left: Any, right: Any) -> Any:
            return left - right

    def port() -> Any:
        left, right = keras.Input((5, 7, 3)), keras.Input((5, 7, 3))
        return keras.Model([left, right], left - right)

    settings = Settings(images=(Path("a.png"), Path("a.png")))
    assert [array.shape for array in fed(Two, port, settings)[1][0].args] == [(1, 3, 5, 7)] * 2
    with pytest.raises(InputError, match=r"2 pictures given, and own has 1 inputs; --input a\.png"):
        fed(Net, image_port(5, 7), settings)


def test_a_port_of_channels_first_needs_no_axes() -> None:
    """The layers of the port say where it has its channels: the noise has the reference's layout, and parity holds."""
    image = keras.Input((2, 3, 5))
    port = keras.Model(image, keras.layers.ZeroPadding2D(1, data_format="channels_first")(image))
    pair, (given,) = fed(lambda: torch.nn.ZeroPad2d(1).eval(), lambda: port, Settings())
    assert given.array.shape == (1, 2, 3, 5)
    assert parity.verify(replace(pair, axes=None), inputs=[given], modes=("eager",)).passed
