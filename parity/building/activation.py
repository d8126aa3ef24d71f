"""Activations: elementwise, so their tensors may have any order; along an axis, and dropout, which does nothing here.

Each is one function for torch's module and for torch's function of the same meaning: it takes the function's arguments,
and a module's settings are those of the same names. Where Keras has the same, that is a layer of the module's name;
elsewhere it is composed as torch computes it. Everything keeps its shape, but for `glu`.
"""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from parity.building.registry import Layout, builds
from parity.building.values import Site
from parity.errors import ConversionError
from parity.frameworks import keras, torch

F = torch.nn.functional
Function = TypeVar("Function", bound=Callable[..., Any])


def activation(
    *kinds: Any, how: str, limits: str = "", layout: Layout = "any", moves_only: bool = False
) -> Callable[[Function], Function]:
    """Decorator: the function, called as torch's function after its site, builds these functions, methods and modules.

    Of a module it is given the settings that have the names of its parameters.
    """

    def decorate(function: Function) -> Function:
        names = list(inspect.signature(function).parameters)[2:]

        def of_module(layer: torch.nn.Module, site: Site, x: Any) -> Any:
            return function(site, x, **{name: getattr(layer, name) for name in names if hasattr(layer, name)})

        modules = [kind for kind in kinds if isinstance(kind, type)]
        functions = dict.fromkeys(
            kind for kind in kinds if not isinstance(kind, type)
        )  # torch has some under two names
        of_module.__name__ = function.__name__
        builds(*modules, layout=layout, how=how, limits=limits, moves_only=moves_only)(of_module)
        builds(*functions, layout=layout, how=how, limits=limits, moves_only=moves_only)(function)
        return function

    return decorate


def _named(site: Site, function: str, x: Any) -> Any:
    """The Keras layer that does what a function of `keras.activations` does; it takes no whole numbers."""
    x = x if "float" in keras.backend.standardize_dtype(x.dtype) else keras.ops.cast(x, "float32")
    return site.layer(keras.layers.Activation(function, name=site.name()))(x)


@activation(torch.nn.ReLU, F.relu, torch.relu, "relu", how="ReLU")
def relu(site: Site, input: Any, inplace: bool = False) -> Any:
    """x, or 0 where it is negative."""
    return site.layer(keras.layers.ReLU(name=site.name()))(input)


@activation(torch.nn.ReLU6, F.relu6, how="ReLU with a greatest value")
def relu6(site: Site, input: Any, inplace: bool = False) -> Any:
    """x, at least 0 and at most 6."""
    return site.layer(keras.layers.ReLU(max_value=6.0, name=site.name()))(input)


@activation(torch.nn.LeakyReLU, F.leaky_relu, how="LeakyReLU; of a negative slope composed")
def leaky_relu(site: Site, input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Any:
    """x, times the slope where it is negative. Keras's layer refuses a negative slope."""
    if negative_slope >= 0:
        return site.layer(keras.layers.LeakyReLU(negative_slope, name=site.name()))(input)
    return keras.ops.where(input > 0, input, input * negative_slope)


@activation(torch.nn.RReLU, F.rrelu, how="LeakyReLU of the mean slope", limits="training=True is refused")
def rrelu(
    site: Site, input: Any, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, inplace: bool = False
) -> Any:
    """x, times the mean of the slopes where it is negative."""
    if training:
        raise ConversionError("rrelu with training=True draws other slopes than torch each time it is run")
    return leaky_relu(site, input, (lower + upper) / 2)


@builds(torch.nn.PReLU, layout="channels", how="PReLU that shares its slopes along every axis but the channels")
def prelu(layer: torch.nn.PReLU, site: Site, x: Any) -> Any:
    """(N, c, ...): x, times its channel's slope, or the only one, where it is negative."""
    if len(x.shape) < 2:
        raise ConversionError(f"PReLU of a tensor of shape {tuple(x.shape)}, which has no channels after its batch")
    shared = [axis for axis in range(1, len(x.shape)) if layer.num_parameters == 1 or axis != site.channels]
    return site.layer(keras.layers.PReLU(shared_axes=shared or None, name=site.name()), weights_of=layer)(x)


@builds(F.prelu, "prelu", layout="channels", how="PReLU", limits="slopes that are computed are refused")
def prelu_of(site: Site, input: Any, weight: Any) -> Any:
    """(N, c, ...) as `prelu`: the slopes are a parameter (1,) or (c,) of the module that calls it."""
    if isinstance(weight, keras.KerasTensor):
        raise ConversionError("the slopes of this PReLU are computed from the network's inputs")
    slopes = np.asarray(weight, np.float32).reshape(-1)
    layer = torch.nn.PReLU(len(slopes))
    layer.weight = torch.nn.Parameter(torch.from_numpy(slopes.copy()))
    return prelu(layer, site, input)


@activation(torch.nn.ELU, F.elu, how="composed of expm1: Keras's takes exp(x) - 1")
def elu(site: Site, input: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    """x, or alpha (e^x - 1) where it is negative."""
    return keras.ops.where(input > 0, input, alpha * keras.ops.expm1(keras.ops.minimum(input, 0.0)))


@activation(torch.nn.SELU, F.selu, torch.selu, how="composed of expm1: Keras's takes exp(x) - 1")
def selu(site: Site, input: Any, inplace: bool = False) -> Any:
    """Scale times the ELU of alpha; both are the constants of the paper (arXiv:1706.02515), as torch has them."""
    alpha, scale = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946
    return keras.ops.where(input > 0, scale * input, scale * alpha * keras.ops.expm1(keras.ops.minimum(input, 0.0)))


@activation(torch.nn.CELU, F.celu, torch.celu, how="composed of expm1")
def celu(site: Site, input: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    """x, or alpha (e^(x / alpha) - 1) where it is negative."""
    return keras.ops.where(input > 0, input, alpha * keras.ops.expm1(keras.ops.minimum(input, 0.0) / alpha))


@activation(
    torch.nn.GELU,
    F.gelu,
    how="keras.ops.gelu, of erf or tanh",
    limits="from -14 to -8, where torch's erf leaves 0 or a part, it has the true value, of 1e-15 and less",
)
def gelu(site: Site, input: Any, approximate: str = "none") -> Any:
    """x times the share of a normal distribution below it, exactly or by tanh."""
    return keras.ops.gelu(input, approximate=approximate == "tanh")


@activation(torch.nn.SiLU, F.silu, how="Activation silu")
def silu(site: Site, input: Any, inplace: bool = False) -> Any:
    """x sigmoid(x)."""
    return _named(site, "silu", input)


@activation(torch.nn.Mish, F.mish, how="composed of exp: TensorFlow's optimiser spoils x tanh(softplus(x))")
def mish(site: Site, input: Any, inplace: bool = False) -> Any:
    """x tanh(log(1 + e^x)), which is x n / (n + 2) with n = e^x (e^x + 2); beyond 20 that is x."""
    power = keras.ops.exp(keras.ops.minimum(input, 20.0))
    odds = power * (power + 2.0)
    return input * (odds / (odds + 2.0))


@activation(torch.nn.Hardswish, F.hardswish, how="Activation hard_silu")
def hardswish(site: Site, input: Any, inplace: bool = False) -> Any:
    """x times hardsigmoid(x)."""
    return _named(site, "hard_silu", input)


@activation(torch.nn.Hardsigmoid, F.hardsigmoid, how="Activation hard_sigmoid")
def hardsigmoid(site: Site, input: Any, inplace: bool = False) -> Any:
    """(x + 3) / 6, at least 0 and at most 1."""
    return _named(site, "hard_sigmoid", input)


@activation(torch.nn.Hardtanh, F.hardtanh, how="keras.ops.clip")
def hardtanh(site: Site, input: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Any:
    """x, at least the one and at most the other value."""
    return keras.ops.clip(input, min_val, max_val)


@activation(torch.nn.Sigmoid, F.sigmoid, torch.sigmoid, torch.special.expit, "sigmoid", how="Activation sigmoid")
def sigmoid(site: Site, input: Any) -> Any:
    """1 / (1 + e^-x)."""
    return _named(site, "sigmoid", input)


@activation(torch.nn.LogSigmoid, F.logsigmoid, how="Activation log_sigmoid")
def logsigmoid(site: Site, input: Any) -> Any:
    """-log(1 + e^-x)."""
    return _named(site, "log_sigmoid", input)


@activation(torch.nn.Tanh, F.tanh, torch.tanh, "tanh", how="Activation tanh")
def tanh(site: Site, input: Any) -> Any:
    """The hyperbolic tangent."""
    return _named(site, "tanh", input)


SERIES = (
    1 / 3,
    -2 / 15,
    17 / 315,
    -62 / 2835,
    1382 / 155925,
    -21844 / 6081075,
    929569 / 638512875,
    -6404582 / 10854718875,
)
"""x - tanh(x) over x cubed, in powers of x squared: up to 1/2, what is left out is less than a rounding."""


@activation(torch.nn.Tanhshrink, F.tanhshrink, how="x - tanh(x); up to 1/2 its series: XLA's tanh errs to one side")
def tanhshrink(site: Site, input: Any) -> Any:
    """x less its hyperbolic tangent."""
    square = keras.ops.minimum(input * input, 0.25)
    series = SERIES[-1]
    for coefficient in SERIES[-2::-1]:
        series = series * square + coefficient
    series = keras.ops.where(square < 1e-15, 0.0, input * square * series)  # where float64, too, has tanh(x) = x
    return keras.ops.where(keras.ops.abs(input) < 0.5, series, input - keras.ops.tanh(input))


SHRUNK = "keras.ops.where: Keras's makes 0 of NaN"


@activation(torch.nn.Softshrink, F.softshrink, how=SHRUNK)
def softshrink(site: Site, input: Any, lambd: float = 0.5) -> Any:
    """x nearer to 0 by lambd; 0 where it is no farther from it than that."""
    return keras.ops.where(keras.ops.abs(input) <= lambd, 0.0, input - keras.ops.sign(input) * lambd)


@activation(torch.nn.Hardshrink, F.hardshrink, torch.hardshrink, "hardshrink", how=SHRUNK, moves_only=True)
def hardshrink(site: Site, input: Any, lambd: float = 0.5) -> Any:
    """x; 0 where it is no farther from 0 than lambd."""
    return keras.ops.where(keras.ops.abs(input) <= lambd, 0.0, input)


@activation(torch.nn.Softsign, F.softsign, how="Activation softsign")
def softsign(site: Site, input: Any) -> Any:
    """x / (1 + |x|)."""
    return _named(site, "softsign", input)


@activation(torch.nn.Softplus, F.softplus, how="composed of softplus; beyond the threshold x")
def softplus(site: Site, input: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """log(1 + e^(beta x)) / beta; x where beta x is beyond the threshold."""
    scaled = input * beta
    return keras.ops.where(scaled > threshold, input, keras.ops.softplus(scaled) / beta)


@activation(torch.nn.Threshold, F.threshold, torch.threshold, how="keras.ops.where", moves_only=True)
def threshold(site: Site, input: Any, threshold: float, value: float, inplace: bool = False) -> Any:
    """x where it is beyond the threshold, or NaN; elsewhere the value."""
    return keras.ops.where(input <= threshold, value, input)


PASSES_NAN = "of a NaN among others, TensorFlow makes 0 of the others"


@activation(
    torch.nn.Softmax,
    F.softmax,
    torch.softmax,
    torch.special.softmax,
    "softmax",
    how="Softmax along the axis",
    limits=f"another dtype is refused; {PASSES_NAN}",
)
def softmax(site: Site, input: Any, dim: int | None = None, _stacklevel: Any = 3, dtype: Any = None) -> Any:
    """e^x over its sum along `dim`. Composed where the axis may have one value, of which Keras would warn."""
    axis = _axis_of(site, dim, dtype, _stacklevel)
    if input.shape[axis] in (None, 1):
        powers = keras.ops.exp(input - keras.ops.max(input, axis=axis, keepdims=True))
        return powers / keras.ops.sum(powers, axis=axis, keepdims=True)
    return site.layer(keras.layers.Softmax(axis, name=site.name()))(input)


@activation(torch.nn.Softmax2d, how="Softmax along the channels", limits=PASSES_NAN)
def softmax2d(site: Site, input: Any) -> Any:
    """e^x over its sum along the channels of (N, c, h, w)."""
    return softmax(site, input, -3)


@activation(torch.nn.Softmin, F.softmin, how="Softmax of -x", limits=f"another dtype is refused; {PASSES_NAN}")
def softmin(site: Site, input: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Any:
    """e^-x over its sum along `dim`."""
    return softmax(site, -input, dim, dtype=dtype)


@activation(
    torch.nn.LogSoftmax,
    F.log_softmax,
    torch.log_softmax,
    torch.special.log_softmax,
    "log_softmax",
    how="keras.ops.log_softmax along the axis",
    limits="another dtype is refused",
)
def log_softmax(site: Site, input: Any, dim: int | None = None, _stacklevel: Any = 3, dtype: Any = None) -> Any:
    """x less the logarithm of the sum of e^x along `dim`."""
    return keras.ops.log_softmax(input, axis=_axis_of(site, dim, dtype, _stacklevel))


def _axis_of(site: Site, dim: int | None, *dtypes: Any) -> int:
    """The port's axis that is `dim`, or what torch takes where none is given. Raises ConversionError for a dtype."""
    for dtype in dtypes:
        if isinstance(dtype, torch.dtype) and dtype != torch.float32:
            raise ConversionError(f"a softmax that first makes its input {dtype}: the port computes in float32")
    return site.axis((0 if len(site.order) in (1, 3) else 1) if dim is None else dim)


@activation(torch.nn.GLU, F.glu, how="split along the axis, times sigmoid", limits="not along the batch")
def glu(site: Site, input: Any, dim: int = -1) -> Any:
    """(..., 2 c, ...) to (..., c, ...): the first half along `dim`, times the sigmoid of the second."""
    axis = site.axis(dim)
    if input.shape[axis] is None:
        raise ConversionError(f"GLU halves dim {dim}, the batch, whose size the port leaves open")
    values, gates = keras.ops.split(input, 2, axis=axis)
    return values * keras.ops.sigmoid(gates)


@activation(torch.nn.Dropout, how="Dropout", limits="inference: nothing is dropped", moves_only=True)
def dropout_layer(site: Site, input: Any, p: float = 0.5) -> Any:
    """x."""
    return site.layer(keras.layers.Dropout(p, name=site.name()))(input)


@activation(
    torch.nn.Identity,
    torch.nn.Dropout1d,
    torch.nn.Dropout2d,
    torch.nn.Dropout3d,
    torch.nn.AlphaDropout,
    torch.nn.FeatureAlphaDropout,
    how="Identity",
    limits="inference: nothing is dropped",
    moves_only=True,
)
def identity(site: Site, input: Any) -> Any:
    """x."""
    return site.layer(keras.layers.Identity(name=site.name()))(input)


@activation(
    F.dropout,
    torch.dropout,
    F.dropout1d,
    F.dropout2d,
    F.dropout3d,
    F.alpha_dropout,
    F.feature_alpha_dropout,
    how="nothing",
    limits="refused with training=True, which drops at random in inference too",
    moves_only=True,
)
def dropout(site: Site, input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """x."""
    if training and p:
        raise ConversionError(
            f"dropout with p={p} and training=True draws other numbers than torch each time it is run"
        )
    return identity(site, input)
