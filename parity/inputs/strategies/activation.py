"""Cases of activations: any rank, values where a function bends, and values of every size."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from parity.axes import CHANNELS_FIRST, Array
from parity.frameworks import torch
from parity.inputs.strategies.cases import STYLES, Case, cases_of, seeded
from parity.pairs import INPUT, Input

BENDS = np.asarray([0.0, -0.0, 0.5, -0.5, 1, -1, 3, -3, 6, 20, -20, 88, -87, 104, -104, 1e-20, -1e-20])
"""Where activations bend, or their exponentials reach the end of float32's range: what is below it, TensorFlow
rounds to 0."""
VALUES: Mapping[str, Callable[[np.random.Generator, Sequence[int]], Array]] = {
    **STYLES,
    "bends": lambda generator, shape: generator.choice(BENDS, shape),
    "tens": lambda generator, shape: 10 * generator.standard_normal(shape),
    "partly NaN": lambda generator, shape: generator.choice([*BENDS, np.nan, np.nan], shape),
    "of any size": lambda generator, shape: generator.choice([-1, 1], shape) * 10 ** generator.uniform(-30, 30, shape),
}


FINITE = tuple(style for style in VALUES if style != "partly NaN")
"""What is drawn along an axis: of a NaN among others, TensorFlow's softmax makes 0 of the others."""


@st.composite
def values(draw: st.DrawFn, shape: tuple[int, ...], styles: tuple[str, ...] = tuple(VALUES)) -> tuple[Array, str]:
    """A float32 array of that shape for an elementwise function, and what is in it in words."""
    style, seed = draw(st.sampled_from(styles)), draw(st.integers(0, 2**16))
    return np.asarray(VALUES[style](np.random.default_rng(seed), shape), np.float32), f"{style}, seed {seed}"


def shapes(ranks: tuple[int, int] = (2, 5)) -> st.SearchStrategy[tuple[int, ...]]:
    """Shapes of a batch, channels and space."""
    return st.lists(st.integers(1, 4), min_size=ranks[0], max_size=ranks[1]).map(tuple)


def case_of(
    draw: st.DrawFn, module: torch.nn.Module, shape: tuple[int, ...], styles: tuple[str, ...] = tuple(VALUES)
) -> Case:
    """A case of an activation on a map of that shape. NaN has to stay NaN: what compares may make a number of it."""
    module = seeded(module, draw(st.integers(0, 2**16)))
    array, says = draw(values(shape, styles))
    given = Input(name=says, array=array, origin=says)
    return Case(module=module, given=given, layouts={INPUT: CHANNELS_FIRST[len(shape)]})


def slopes(least: float = -2, most: float = 2) -> st.SearchStrategy[float]:
    """Numbers of float32 for settings, the simplest first; so small ones are 0 that what they are a factor of would be
    subnormal, which is 0 to TensorFlow."""
    simplest = st.sampled_from([each for each in (0.25, 1.0, 0.0) if least <= each <= most])
    return simplest | st.floats(least, most, width=32).map(lambda number: number if abs(number) > 1e-6 else 0.0)


def _plain(kind: type[torch.nn.Module], name: str, **settings: st.SearchStrategy[Any]) -> None:
    """Cases of a kind that has nothing but settings of numbers, each from a strategy of its own."""

    def drawn(draw: st.DrawFn) -> Case:
        module = kind(**{setting: draw(strategy) for setting, strategy in settings.items()})
        return case_of(draw, module, draw(shapes()))

    drawn.__name__, drawn.__doc__ = name, f"Cases of torch.nn.{kind.__name__}."
    cases_of(kind, name)(drawn)


_plain(torch.nn.ReLU, "relu", inplace=st.booleans())
_plain(torch.nn.ReLU6, "relu6")
_plain(torch.nn.LeakyReLU, "leaky_relu", negative_slope=slopes(), inplace=st.booleans())
_plain(torch.nn.RReLU, "rrelu", lower=slopes(0, 0.25), upper=slopes(0.25, 1))
_plain(torch.nn.ELU, "elu", alpha=slopes())
_plain(torch.nn.SELU, "selu")
_plain(torch.nn.CELU, "celu", alpha=slopes(0.125, 4))
_plain(torch.nn.SiLU, "silu")


@cases_of(torch.nn.GELU, "gelu")
def gelu(draw: st.DrawFn) -> Case:
    """Cases of torch.nn.GELU, but for values from -14 to -8: there 1 + erf leaves torch nothing, in float64 as well,
    and what the port has (1e-15 and less) is right."""
    drawn = case_of(draw, torch.nn.GELU(draw(st.sampled_from(["none", "tanh"]))), draw(shapes()))
    given = drawn.given.changed(lambda _, array: np.where((array > -14) & (array < -8), np.float32(-8), array))
    return Case(module=drawn.module, given=given, layouts=drawn.layouts)


_plain(torch.nn.Mish, "mish")
_plain(torch.nn.Hardswish, "hardswish")
_plain(torch.nn.Hardsigmoid, "hardsigmoid")
_plain(torch.nn.Sigmoid, "sigmoid")
_plain(torch.nn.LogSigmoid, "logsigmoid")
_plain(torch.nn.Tanh, "tanh")
_plain(torch.nn.Tanhshrink, "tanhshrink")
_plain(torch.nn.Softsign, "softsign")
_plain(torch.nn.Softplus, "softplus", beta=slopes(0.125, 4), threshold=st.sampled_from([20.0, 1.0, 0.0, -3.0, 50.0]))
_plain(torch.nn.Identity, "identity")
_plain(torch.nn.Dropout, "dropout", p=slopes(0, 1))
_plain(torch.nn.AlphaDropout, "alpha_dropout", p=slopes(0, 1))
_plain(torch.nn.FeatureAlphaDropout, "feature_alpha_dropout", p=slopes(0, 1))


def _with_values_at(drawn: Case, bend: float) -> Case:
    """The case, some of its values being where the function bends, or as far below zero."""

    def bent(_: str, array: Array) -> Array:
        place = np.arange(array.size).reshape(array.shape) % 5
        return np.where(place == 1, np.float32(bend), np.where(place == 3, np.float32(-bend), array))

    return Case(module=drawn.module, given=drawn.given.changed(bent), layouts=drawn.layouts)


@cases_of(torch.nn.Softshrink, "softshrink")
def softshrink(draw: st.DrawFn) -> Case:
    """Limits from zero on, some of the values being on them."""
    module = torch.nn.Softshrink(draw(slopes(0, 2)))
    return _with_values_at(case_of(draw, module, draw(shapes())), module.lambd)


@cases_of(torch.nn.Hardshrink, "hardshrink")
def hardshrink(draw: st.DrawFn) -> Case:
    """Limits of either sign, some of the values being on them."""
    module = torch.nn.Hardshrink(draw(slopes()))
    return _with_values_at(case_of(draw, module, draw(shapes())), module.lambd)


@cases_of(torch.nn.Threshold, "threshold")
def threshold(draw: st.DrawFn) -> Case:
    """A threshold anywhere, some of the values being on it."""
    module = torch.nn.Threshold(draw(slopes()), draw(slopes()))
    return _with_values_at(case_of(draw, module, draw(shapes())), module.threshold)


@cases_of(torch.nn.Hardtanh, "hardtanh")
def hardtanh(draw: st.DrawFn) -> Case:
    """Limits anywhere, the lower below the upper."""
    low = draw(st.just(-1.0) | st.floats(-5, 4, width=32))
    return case_of(draw, torch.nn.Hardtanh(low, low + draw(slopes(0.125, 4))), draw(shapes()))


@cases_of(torch.nn.PReLU, "prelu")
def prelu(draw: st.DrawFn) -> Case:
    """One slope, or one for each channel."""
    shape = draw(shapes())
    return case_of(draw, torch.nn.PReLU(shape[1] if draw(st.booleans()) else 1), shape)


def _along_an_axis(kind: type[torch.nn.Module], name: str) -> None:
    """Cases of a kind that works along any axis, from either end."""

    def drawn(draw: st.DrawFn) -> Case:
        shape = draw(shapes())
        return case_of(draw, kind(dim=draw(st.integers(-len(shape), len(shape) - 1))), shape, FINITE)

    drawn.__name__, drawn.__doc__ = name, f"Cases of torch.nn.{kind.__name__}, along any axis."
    cases_of(kind, name)(drawn)


_along_an_axis(torch.nn.Softmax, "softmax")
_along_an_axis(torch.nn.LogSoftmax, "log_softmax")
_along_an_axis(torch.nn.Softmin, "softmin")


@cases_of(torch.nn.Softmax2d, "softmax2d")
def softmax2d(draw: st.DrawFn) -> Case:
    """Images."""
    return case_of(draw, torch.nn.Softmax2d(), draw(shapes((4, 4))), FINITE)


@cases_of(torch.nn.GLU, "glu")
def glu(draw: st.DrawFn) -> Case:
    """Along any axis but the batch, of an even size."""
    shape = list(draw(shapes()))
    axis = draw(st.integers(1, len(shape) - 1))
    shape[axis] = 2 * draw(st.integers(1, 3))
    return case_of(draw, torch.nn.GLU(draw(st.sampled_from([axis, axis - len(shape)]))), tuple(shape))


def _of_rank(kind: Callable[..., torch.nn.Module], name: str, rank: int) -> None:
    """Cases of a kind of dropout that takes maps of one rank."""

    def drawn(draw: st.DrawFn) -> Case:
        return case_of(draw, kind(draw(slopes(0, 1))), draw(shapes((rank, rank))))

    drawn.__name__, drawn.__doc__ = name, f"Maps of {rank} axes."
    cases_of(kind, name)(drawn)


_of_rank(torch.nn.Dropout1d, "dropout1d", 3)
_of_rank(torch.nn.Dropout2d, "dropout2d", 4)
_of_rank(torch.nn.Dropout3d, "dropout3d", 5)
