"""What every engine speaks in: taps with kinds from one vocabulary, and where large maps are sampled."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from parity.axes import Array, flat_positions

OUTPUT = "output"
"""The name of a network's only output; of several, each has its way into the returned value behind it."""

MODES = ("eager", "graph", "xla")
"""The ways a Keras model is run: call by call, as a graph, compiled."""

SAMPLE = 1 << 15
"""Values looked at per tap in an end-to-end comparison. An RMSE of that many is known to 0.4 %."""

SYNONYMS: Mapping[str, str] = {
    "averagepooling1d": "avgpool1d",
    "averagepooling2d": "avgpool2d",
    "averagepooling3d": "avgpool3d",
    "batchnorm1d": "batchnorm",
    "batchnorm2d": "batchnorm",
    "batchnorm3d": "batchnorm",
    "batchnormalization": "batchnorm",
    "concat": "cat",
    "concatenate": "cat",
    "conv1dtranspose": "convtranspose1d",
    "conv2dtranspose": "convtranspose2d",
    "conv3dtranspose": "convtranspose3d",
    "dense": "linear",
    "div": "scale",
    "iadd": "add",
    "idiv": "scale",
    "imul": "scale",
    "isub": "sub",
    "hardsilu": "hardswish",
    "itruediv": "scale",
    "radd": "add",
    "rmul": "scale",
    "divide": "scale",
    "interpolate": "resize",
    "layernormalization": "layernorm",
    "maxpooling1d": "maxpool1d",
    "maxpooling2d": "maxpool2d",
    "maxpooling3d": "maxpool3d",
    "mul": "scale",
    "multiply": "scale",
    "rescaling": "scale",
    "resizing": "resize",
    "sub": "sub",
    "subtract": "sub",
    "swish": "silu",
    "truediv": "scale",
    "truedivide": "scale",
    "upsample": "resize",
    "upsampling2d": "resize",
    "zeropad2d": "pad",
    "zeropadding2d": "pad",
}

# fmt: off
MOVES_ONLY = frozenset({
    "getitem", "cat", "stack", "view", "reshape", "permute", "transpose", "flatten", "unflatten", "squeeze",
    "unsqueeze", "chunk", "split", "unbind", "movedim", "expand", "repeat", "roll", "flip", "narrow", "select",
    "pad", "pixelshuffle", "pixelunshuffle", "maxpool1d", "maxpool2d", "relu",
})
"""Kinds whose values are copies of their input's: they cannot round."""
# fmt: on

# fmt: off
ACTIVATIONS = frozenset({
    "clamp", "elu", "exp", "exponential", "gelu", "hardsigmoid", "hardswish", "hardtanh", "leakyrelu", "logsigmoid",
    "logsoftmax", "mish", "prelu", "relu", "relu6", "selu", "sigmoid", "silu", "softmax", "softplus", "softsign",
    "tanh",
})
"""Kinds of functions that networks apply to a layer's values."""
# fmt: on

SIGN_MATTERS = frozenset({"leakyrelu", "prelu", "relu", "elu", "relu6", "selu"})
"""Kinds whose slope on one side shows only where their input has values of that sign."""


def kind_of(name: str) -> str:
    """One vocabulary for both frameworks: `Conv2DTranspose` and `conv_transpose2d` are both `convtranspose2d`."""
    plain = name.lower().replace("_", "")
    return SYNONYMS.get(plain, plain)


@dataclass(frozen=True, kw_only=True)
class Tap:
    """A named point where a network's values can be read.

    `shape` is in the engine's own layout, None where it is not known before the run. `moves_only` says that the
    operation computes nothing (a copy, a concatenation, padding), so that its output is exact. `reads` names the taps
    and inputs that its value is made of, in order; `weights` gives the arrays it is computed with, in the engine's own
    layout. `applies` is the kind of the activation that is a part of the operation, where neither its value before that
    nor the activation is a tap of its own.
    """

    name: str
    kind: str
    shape: tuple[int | None, ...]
    weighted: bool = False
    moves_only: bool = False
    reads: tuple[str, ...] = ()
    applies: str = ""
    weights: Callable[[], Sequence[Array]] = field(default=tuple, compare=False, repr=False)


@dataclass
class Trace:
    """One run: its taps in order of execution, a sample of each one's values, other names for them, and the outputs.

    `outputs` has each output whole, by its name (OUTPUT, or the way to it: `output.flow`); `output_taps` the name of
    the tap that it is.
    """

    taps: list[Tap] = field(default_factory=list)
    samples: dict[str, Array] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, Array] = field(default_factory=dict)
    output_taps: dict[str, str] = field(default_factory=dict)


PARAMETRISED = "parametrizations"
"""The child in which torch keeps what makes a layer's weights of others."""


def weighted_layers(reference: Any) -> tuple[str, ...]:
    """The modules of a torch module that hold parameters and no other layers, in order of registration."""
    return tuple(
        name
        for name, module in reference.named_modules()
        if PARAMETRISED not in name.split(".")
        and not any(child != PARAMETRISED for child, _ in module.named_children())
        and (hasattr(module, PARAMETRISED) or any(True for _ in module.parameters(recurse=False)))
    )


class Numbering:
    """Names for things that occur more than once: `cat`, `cat#2`, `cat#3`."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def __call__(self, name: str) -> str:
        """The next name for `name`."""
        self._seen[name] = self._seen.get(name, 0) + 1
        return name if self._seen[name] == 1 else f"{name}#{self._seen[name]}"


Positions = npt.NDArray[np.int64]
Sampler = Callable[[tuple[int, ...]], Positions]


@lru_cache(maxsize=256)
def positions(shape: tuple[int, ...]) -> Positions:
    """Flat positions to sample in a tensor of `shape`: all of a small one, else SAMPLE drawn uniformly, the same each
    time.

    Random rather than strided: convolutions and vector units leave regular patterns that a stride would hit or miss.
    """
    size = int(np.prod(shape, dtype=np.int64))
    if size <= SAMPLE:
        return np.arange(size, dtype=np.int64)
    generator = np.random.default_rng(zlib.crc32(repr(shape).encode()))
    return np.sort(generator.integers(size, size=SAMPLE, dtype=np.int64))


@lru_cache(maxsize=256)
def positions_in(shape: tuple[int, ...], source: str, target: str) -> Positions:
    """The `positions` of a tensor of `shape` in `source` layout, as flat positions in its `target` layout."""
    return flat_positions(positions(shape), shape, source, target)


def sample(value: Array, places: Positions) -> Array:
    """The values at flat places; of a value of another shape than expected, which is reported as such, any."""
    flat = value.reshape(-1)
    taken: Array = flat.take(places, mode="clip") if flat.size else flat
    return taken
