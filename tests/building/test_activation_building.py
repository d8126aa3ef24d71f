"""Activations as Keras layers: modules and functions alike, along any axis, at the ends of float32, and refusals.

Cases that Hypothesis draws are tried by `pytest --model layers`.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.special
from layers_on_trial import build, kinds, on_noise, outcome
from reloading import same_when_loaded

from parity.errors import ConversionError
from parity.frameworks import keras, torch
from parity.inputs.strategies import Case
from parity.inputs.strategies.activation import BENDS
from parity.inputs.strategies.cases import Call
from parity.pairs import INPUT, Input

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras, as it saves
nn, F = torch.nn, torch.nn.functional
FORMATS = ("channels_last", "channels_first")
SHAPE = (2, 4, 5, 3)


class Sloped(nn.Module):
    """A module that calls `prelu` with a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.slopes = nn.Parameter(torch.tensor([0.1, 0.2, 0.3, 0.4]))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Each channel by its slope."""
        return F.prelu(input, self.slopes)


MODULES: dict[str, torch.nn.Module] = {
    "relu": nn.ReLU(),
    "relu6": nn.ReLU6(),
    "leaky relu": nn.LeakyReLU(0.3),
    "leaky relu, negative": nn.LeakyReLU(-0.3),
    "rrelu": nn.RReLU(0.1, 0.5),
    "prelu, one slope": nn.PReLU(),
    "prelu": nn.PReLU(4),
    "elu": nn.ELU(-0.7),
    "selu": nn.SELU(),
    "celu": nn.CELU(0.6),
    "gelu": nn.GELU(),
    "gelu, tanh": nn.GELU("tanh"),
    "silu": nn.SiLU(),
    "mish": nn.Mish(),
    "hardswish": nn.Hardswish(),
    "hardsigmoid": nn.Hardsigmoid(),
    "hardtanh": nn.Hardtanh(-0.3, 0.8),
    "sigmoid": nn.Sigmoid(),
    "logsigmoid": nn.LogSigmoid(),
    "tanh": nn.Tanh(),
    "tanhshrink": nn.Tanhshrink(),
    "softshrink": nn.Softshrink(0.2),
    "hardshrink": nn.Hardshrink(0.2),
    "softsign": nn.Softsign(),
    "softplus": nn.Softplus(3.0, 0.5),
    "threshold": nn.Threshold(0.2, -3.0),
    "softmax": nn.Softmax(1),
    "softmax, from the end": nn.Softmax(-1),
    "softmax, over the batch": nn.Softmax(0),
    "softmax2d": nn.Softmax2d(),
    "softmin": nn.Softmin(2),
    "log softmax": nn.LogSoftmax(1),
    "glu": nn.GLU(1),
    "identity": nn.Identity(),
    "dropout": nn.Dropout(0.9),
    "dropout2d": nn.Dropout2d(0.9),
    "alpha dropout": nn.AlphaDropout(0.9),
}
CALLS: dict[str, torch.nn.Module] = {
    "relu": Call(torch.relu),
    "leaky_relu": Call(F.leaky_relu, negative_slope=0.3),
    "prelu": Sloped(),
    "elu": Call(F.elu, alpha=0.7),
    "gelu": Call(F.gelu, approximate="tanh"),
    "silu": Call(F.silu),
    "hardtanh": Call(F.hardtanh, min_val=-0.3, max_val=0.8),
    "sigmoid": Call(torch.sigmoid),
    "tanh": Call(torch.tanh),
    "logsigmoid": Call(F.logsigmoid),
    "softplus": Call(F.softplus, beta=3.0),
    "threshold": Call(F.threshold, threshold=0.2, value=-3.0),
    "softmax": Call(F.softmax, dim=1),
    "torch.softmax": Call(torch.softmax, dim=-1, dtype=torch.float32),
    "log_softmax": Call(torch.log_softmax, dim=1),
    "softmin": Call(F.softmin, dim=1),
    "glu": Call(F.glu, dim=1),
    "dropout": Call(F.dropout, p=0.5, training=False),
}


def on_bends(module: torch.nn.Module) -> Case:
    """A case on the places where activations bend, or where exponentials end."""
    array = np.asarray(BENDS, np.float32)[:16].reshape(2, 4, 2, 1)
    return Case(module=module.eval(), given=Input(name="bends", array=array), layouts={INPUT: "NCHW"})


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("name", MODULES)
def test_an_activation_is_torchs(name: str, data_format: str) -> None:
    """Every kind gives torch's values on noise, in both data formats."""
    assert outcome(on_noise(MODULES[name], SHAPE), data_format).passed


@pytest.mark.parametrize("name", MODULES)
def test_at_its_bends_too(name: str) -> None:
    """Where a function bends, and where e^x overflows, it is torch's as well."""
    assert outcome(on_bends(MODULES[name])).passed


@pytest.mark.parametrize("name", ["relu", "hardtanh", "softshrink", "hardshrink", "threshold", "softplus", "mish"])
def test_nan_stays_nan(name: str) -> None:
    """What compares with NaN finds it false, so that it must not ask whether a value is one of those to be kept."""
    array = np.asarray([[np.nan, 0.25, -3.0]], np.float32)
    case = Case(module=MODULES[name], given=Input(name="NaN", array=array), layouts={INPUT: "NC"})
    assert outcome(case).passed
    assert np.isnan(outcome(case).actual).tolist() == [[True, False, False]]


@pytest.mark.parametrize("kind", ["hardshrink", "softshrink"])
def test_what_is_on_the_limit_is_shrunk(kind: str) -> None:
    """A limit is one of the values that become 0, on either side; to be beside it by a rounding is no excuse."""
    array = np.asarray([[0.2, -0.2, 0.0, 3.0]], np.float32)
    case = Case(module=MODULES[kind], given=Input(name="on it", array=array), layouts={INPUT: "NC"})
    found = outcome(case)
    assert found.passed
    assert (found.actual[0, :3] == 0).all()
    assert found.actual[0, 3] > 2.7


def test_whole_numbers_become_others() -> None:
    """Torch makes float32 of them, where TensorFlow has no such operation."""
    given = Input(name="whole", array=np.asarray([[-2, 0, 5]]))
    assert outcome(Case(module=nn.Sigmoid(), given=given, layouts={INPUT: "NC"})).passed


@pytest.mark.parametrize("mode", ["graph", "xla"])
@pytest.mark.parametrize("name", ["elu", "selu", "mish", "gelu", "gelu, tanh", "tanhshrink", "softplus", "softmax"])
def test_in_graphs_too(name: str, mode: str) -> None:
    """Graphs and XLA have exponentials of their own, and optimisers; what is composed holds there."""
    assert outcome(on_noise(MODULES[name], SHAPE), mode=mode).passed
    assert outcome(on_noise(MODULES[name], SHAPE, offset=-20.0), mode=mode).passed


@pytest.mark.parametrize("name", CALLS)
def test_a_function_is_built_as_its_module(name: str) -> None:
    """Functions of torch are traced, and give torch's values."""
    assert outcome(on_noise(CALLS[name], SHAPE), "channels_last").passed


def test_every_function_leads_to_a_builder() -> None:
    """What torch has under several names has one builder under each."""
    from parity.building import BUILDERS

    for one, other in ((F.relu, torch.relu), (F.sigmoid, torch.sigmoid), (F.tanh, "tanh"), (F.softmax, "softmax")):
        assert BUILDERS[one].function is BUILDERS[other].function


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("name", MODULES)
def test_an_activation_is_read_from_a_file(name: str, data_format: str, tmp_path: Path) -> None:
    """Plain layers and operations only: it computes the same once saved and loaded."""
    assert same_when_loaded(on_noise(MODULES[name], SHAPE), data_format, tmp_path)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 5), (2, 3, 5, 1), (2, 3, 1, 5, 2)])
@pytest.mark.parametrize("data_format", FORMATS)
def test_slopes_follow_the_channels(shape: tuple[int, ...], data_format: str) -> None:
    """One slope for each channel, or one for all, on maps of every rank."""
    for count in (1, 3):
        found = outcome(on_noise(nn.PReLU(count), shape, offset=-1.0), data_format)
        assert found.passed


def test_small_values_are_not_rounded_away() -> None:
    """At -1e-6 ELU is -1e-6, where Keras's own gives 1.3 % more."""
    case = on_noise(nn.Sequential(nn.Hardtanh(-1e-6, -1e-7), nn.ELU()), SHAPE)
    assert outcome(case).passed
    assert "Elu" not in kinds(build(on_noise(nn.ELU(), SHAPE)))


def test_a_softmax_of_one_value_is_one_without_a_warning() -> None:
    """Keras warns of it, and would in every run."""
    found = outcome(on_noise(nn.Softmax(1), (2, 1, 3)))
    assert found.passed
    assert (found.actual == 1).all()


@pytest.mark.parametrize(("name", "built_of"), [("relu", ["ReLU"]), ("tanh", ["Activation"]), ("prelu", ["PReLU"])])
def test_what_keras_has_is_one_layer(name: str, built_of: list[str]) -> None:
    """Where Keras has the same it is that, by the module's name."""
    assert kinds(build(on_noise(MODULES[name], SHAPE))) == built_of


@pytest.mark.parametrize(
    ("module", "why"),
    [
        (nn.GLU(0), "GLU halves dim 0, the batch"),
        (Call(F.softmax, dim=1, dtype=torch.float64), "first makes its input torch.float64"),
        (Call(torch.softmax, dim=1, dtype=torch.float16), "first makes its input torch.float16"),
        (Call(F.rrelu, training=True), "rrelu with training=True draws other slopes"),
        (Call(F.dropout, p=0.25), "dropout with p=0.25 and training=True draws other numbers"),
    ],
)
def test_what_is_refused(module: Any, why: str) -> None:
    """What cannot be exact is refused with a sentence."""
    with pytest.raises(ConversionError, match=why):
        build(on_noise(module, SHAPE))


@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
@pytest.mark.parametrize("scale", [1e-3, 1e-2, 0.1, 0.5, 2.0])
def test_what_tanh_leaves_is_no_error_of_tanh(scale: float, mode: str) -> None:
    """XLA's tanh errs to one side, by little; of what is left of a small value, that would be much."""
    array = np.abs(np.random.default_rng(0).standard_normal((4, 4, 16, 16)) * scale).astype(np.float32)
    case = Case(module=nn.Tanhshrink(), given=Input(name="small", array=array), layouts={INPUT: "NCHW"})
    assert outcome(case, mode=mode).passed


def test_gelu_far_below_zero_is_the_true_value() -> None:
    """Torch adds 1 to an erf of almost -1 and has nothing left, in float64 as well; the port's erfc has every digit."""
    x = np.asarray([[-9.0, -10.0, -12.0]], np.float32)
    true = x / 2 * scipy.special.erfc(-x.astype(np.float64) / np.sqrt(2))
    torchs = torch.nn.functional.gelu(torch.from_numpy(x.astype(np.float64))).numpy()
    assert not torchs.any()
    assert keras.ops.gelu(x, approximate=False).numpy() == pytest.approx(true, rel=1e-4, abs=0)
