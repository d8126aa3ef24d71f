"""Converted layers compute the same, and a port is filled whole or not at all."""

from typing import Any

import numpy as np
import pytest

from parity.axes import move
from parity.converters import convert, register, registry, transfer
from parity.errors import WeightError
from parity.frameworks import keras, torch

LAYERS = {"0": "first", "1": "act", "2": "up"}


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry that a test may add to."""
    monkeypatch.setattr(registry, "_CONVERTERS", dict(registry._CONVERTERS))


def reference(*, bias: bool = True) -> torch.nn.Sequential:
    """A convolution of 2 to 5 channels with a 3x7 kernel, an activation, and a transposed one to 3 channels."""
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(2, 5, (3, 7), padding=(1, 3)),
        torch.nn.LeakyReLU(0.1),
        torch.nn.ConvTranspose2d(5, 3, 4, stride=2, padding=1, bias=bias),
    )


def port(*, filters: int = 5, bias: bool = True, extra: bool = False) -> Any:
    """The same in Keras, with Keras's initial weights; `extra` adds a layer that the reference does not have."""
    start = keras.Input((None, None, 2))
    x = keras.layers.Conv2D(filters, (3, 7), padding="same", name="first")(start)
    x = keras.layers.LeakyReLU(negative_slope=0.1, name="act")(x)
    if extra:
        x = keras.layers.Dense(filters, use_bias=False, name="extra")(x)
    up = keras.layers.Conv2DTranspose(3, 4, strides=2, padding="same", use_bias=bias, name="up")
    return keras.Model(start, up(x))


def agree(module: torch.nn.Module, model: Any) -> bool:
    """Whether both give the same on noise of unequal sizes, to rounding."""
    images = np.random.default_rng(0).normal(size=(2, 2, 9, 11)).astype(np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(images)).numpy()
    actual = model(np.ascontiguousarray(move(images, "NCHW", "NHWC"))).numpy()
    return np.allclose(move(actual, "NHWC", "NCHW"), expected, rtol=1e-5, atol=1e-6)


def messages(module: torch.nn.Module, model: Any, layers: dict[str, str]) -> list[str]:
    """What transfer says is wrong, line by line; the port must be as it was."""
    before = [variable.numpy() for variable in model.weights]
    with pytest.raises(WeightError) as caught:
        transfer(module, model, layers)
    for variable, value in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    return str(caught.value).splitlines()


@pytest.mark.parametrize("bias", [True, False])
def test_filled_port_computes_the_same(bias: bool) -> None:
    """A convolution and a transposed one, with biases or without, give torch's values once they are filled."""
    module, model = reference(bias=bias), port(bias=bias)
    assert not agree(module, model)
    transfer(module, model, LAYERS)
    assert agree(module, model)


def test_dilation_and_stride_leave_weights_alone() -> None:
    """A dilated and a strided convolution are converted like any other."""
    torch.manual_seed(1)
    module = torch.nn.Sequential(torch.nn.Conv2d(2, 5, 3, dilation=2), torch.nn.Conv2d(5, 3, 3, stride=2))
    start = keras.Input((None, None, 2))
    x = keras.layers.Conv2D(5, 3, dilation_rate=2, name="dilated")(start)
    model = keras.Model(start, keras.layers.Conv2D(3, 3, strides=2, name="strided")(x))
    transfer(module, model, {"0": "dilated", "1": "strided"})
    assert agree(module, model)


def test_axes_are_named() -> None:
    """A kernel's four axes, all of unequal length, arrive where Keras expects them."""
    convolution, transposed = torch.nn.Conv2d(2, 5, (3, 7)), torch.nn.ConvTranspose2d(2, 5, (3, 7))
    assert [array.shape for array in convert(convolution, "c")] == [(3, 7, 2, 5), (5,)]
    assert [array.shape for array in convert(transposed, "t")] == [(3, 7, 5, 2), (5,)]
    assert convert(convolution, "c")[0][1, 4, 0, 3] == convolution.weight[3, 0, 1, 4].item()
    assert convert(transposed, "t")[0][1, 4, 3, 0] == transposed.weight[0, 3, 1, 4].item()


def test_missing_converter_says_where_to_add_it() -> None:
    """A layer kind without a converter is named as people write it, with its path and the room for a new one."""
    module = torch.nn.Sequential(torch.nn.EmbeddingBag(2, 3))
    start = keras.Input((3, 4, 1))
    model = keras.Model(start, keras.layers.PReLU(shared_axes=[1, 2], name="bag")(start))
    assert messages(module, model, {"0": "bag"}) == [
        "No converter for torch.nn.EmbeddingBag (layer '0'). Add one in parity/converters/."
    ]


@pytest.mark.usefixtures("own_registry")
def test_registering_twice_is_an_error() -> None:
    """A second converter for a kind is refused, and the first one named."""
    with pytest.raises(WeightError, match=r"torch.nn.Conv2d already has a converter: conv2d"):
        register(torch.nn.Conv2d)(lambda layer, target: [])
    with pytest.raises(WeightError, match=r"torch.nn.Conv2d to DepthwiseConv2D already has a converter: depthwise_"):
        register(torch.nn.Conv2d, to="DepthwiseConv2D")(lambda layer, target: [])


@pytest.mark.usefixtures("own_registry")
def test_a_target_of_its_own_has_a_converter_of_its_own() -> None:
    """What is registered to a kind of Keras layer serves it and what derives from it; the default all others."""

    class Half(keras.layers.Dense):  # type: ignore[misc]
        """A Keras layer of a user's own."""

    class Quarter(Half):
        """One that derives from it."""

    register(torch.nn.Linear, to="Half")(lambda layer, target: [np.full(1, target.units)])
    layer = torch.nn.Linear(2, 3)
    assert convert(layer, "linear", Half(5))[0] == 5
    assert convert(layer, "linear", Quarter(7))[0] == 7
    assert convert(layer, "linear", keras.layers.Dense(3))[0].shape == (2, 3)
    assert convert(layer, "linear")[0].shape == (2, 3)


@pytest.mark.usefixtures("own_registry")
def test_registered_kinds_are_converted_and_subclasses_are_not() -> None:
    """A new kind is known from then on; a subclass of it, which may compute something else, is not."""

    class Odd(torch.nn.Module):
        """A layer kind of a user's own."""

    class Odder(Odd):
        """Another one."""

    register(Odd)(lambda layer, target: [np.zeros(3)])
    assert convert(Odd(), "odd")[0].shape == (3,)
    with pytest.raises(WeightError, match=r"No converter for .*test_converters.*Odder \(layer 'odder'\)"):
        convert(Odder(), "odder")
    with pytest.raises(WeightError, match=r"No converter for .* \(layer 'mean'\)"):
        convert(torch.Tensor.mean, "mean")  # type: ignore[arg-type]


def test_everything_wrong_is_named_at_once() -> None:
    """Ill-shaped, unused and missing weights and unknown layers all come in one error, and nothing is assigned."""
    module, model = reference(), port(filters=4, extra=True)
    assert messages(module, model, {"0": "first", "1": "act", "2": "upp"}) == [
        "'0' gives shape (3, 7, 2, 5) for first/kernel, which has shape (3, 7, 2, 4)",
        "'0' gives shape (5,) for first/bias, which has shape (4,)",
        "'2' goes to 'upp', and the port has no layer of that name",
        "nothing in the reference fills: extra/kernel, up/kernel, up/bias",
    ]


def test_unused_weights_are_named() -> None:
    """Weights of the reference that no layer of the port takes are named by their state-dict keys."""
    assert messages(reference(), port(), {"0": "first", "1": "act"}) == [
        "no layer of the port takes: 2.weight, 2.bias",
        "nothing in the reference fills: up/kernel, up/bias",
    ]


def test_filling_a_layer_twice_is_named() -> None:
    """Two modules that go to one layer are both named."""
    module = torch.nn.Sequential(torch.nn.Conv2d(2, 2, 3), torch.nn.Conv2d(2, 2, 3))
    start = keras.Input((None, None, 2))
    model = keras.Model(start, keras.layers.Conv2D(2, 3, name="shared")(start))
    assert messages(module, model, {"0": "shared", "1": "shared"}) == [
        "port layer 'shared' is filled twice: from '0' and '1'"
    ]


def test_using_a_weight_twice_is_named() -> None:
    """A module that goes to two layers, under two paths, is named with both."""
    shared = torch.nn.Conv2d(2, 2, 3)
    start = keras.Input((None, None, 2))
    x = keras.layers.Conv2D(2, 3, name="one")(start)
    model = keras.Model(start, keras.layers.Conv2D(2, 3, name="two")(x))
    assert messages(torch.nn.Sequential(shared, shared), model, {"0": "one", "1": "two"}) == [
        "1.weight is used twice: '0' takes it too",
        "1.bias is used twice: '0' takes it too",
    ]


def test_a_lost_bias_is_named() -> None:
    """A port layer without the bias that its module has is refused."""
    assert messages(reference(), port(bias=False), LAYERS) == ["'2' gives 2 arrays; port layer 'up' has 1: kernel"]


def test_other_precisions_are_refused() -> None:
    """A reference in half precision is not rounded up in silence."""
    assert messages(reference().half(), port(), LAYERS)[0] == (
        "0.weight is torch.float16; ports hold float32, so call .float() first"
    )


def test_names_that_are_no_modules_are_passed_over() -> None:
    """A pair's whole layer map will do: functional operations and activations have no weights to load."""
    module, model = reference(), port()
    transfer(module, model, {**LAYERS, "cat#2": "concatenate_1"})
    assert agree(module, model)
