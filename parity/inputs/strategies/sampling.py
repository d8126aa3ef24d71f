"""Cases of sampling: places inside, on the edge and far outside of a map."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from hypothesis import strategies as st

from parity.axes import CHANNELS_FIRST, Array
from parity.frameworks import torch
from parity.inputs.strategies.cases import STYLES, Call, CallOfTwo, Case, arrays, case, cases_of
from parity.pairs import Input

F = torch.nn.functional
PLACES: Mapping[str, Callable[[np.random.Generator, Sequence[int]], Array]] = {
    "around": lambda generator, shape: generator.uniform(-1.5, 1.5, shape),
    "at the middle": lambda generator, shape: np.zeros(shape),
    "on corners": lambda generator, shape: generator.choice([-1.0, 0.0, 1.0], shape),
    "on quarters": lambda generator, shape: generator.integers(-8, 9, shape) / 4,
    "far": lambda generator, shape: 20 * generator.standard_normal(shape),
}


TELLING = ("around", "on quarters", "on corners")
"""Places that are not the same along every axis, and are not mostly outside."""


@st.composite
def places(draw: st.DrawFn, shape: tuple[int, ...], styles: Sequence[str] = tuple(PLACES)) -> tuple[Array, str]:
    """Coordinates of that shape, and where they are in words."""
    style, seed = draw(st.sampled_from(styles)), draw(st.integers(0, 2**16))
    return np.asarray(PLACES[style](np.random.default_rng(seed), shape), np.float32), f"{style}, seed {seed}"


@cases_of(F.grid_sample, "grid_sample")
def grid_sample(draw: st.DrawFn) -> Case:
    """Images, and maps of three axes of space; as many places as there may be.

    There are not many cases of volumes, so that most of them have to show in which order the axes are read.
    """
    mode = draw(st.sampled_from(["bilinear", "nearest", "bicubic"]))
    rank = 4 if mode == "bicubic" else draw(st.sampled_from([5, 4]))
    module = CallOfTwo(
        F.grid_sample,
        mode=mode,
        padding_mode=draw(st.sampled_from(["zeros", "border", "reflection"])),
        align_corners=draw(st.booleans()),
    )
    batch, channels = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    least, values_of, places_of = 1, tuple(STYLES), (*PLACES, "on quarters", "far")
    if rank == 5:
        least, values_of = draw(st.sampled_from([2, 2, 2, 1])), ("noise", "large", *STYLES)
        places_of = (*TELLING, *PLACES)
    sides, to = (tuple(draw(st.integers(least, 5)) for _ in range(rank - 2)) for _ in range(2))
    values, says = draw(arrays((batch, channels, *sides), values_of))
    at, where = draw(places((batch, *to, rank - 2), places_of))
    given = Input(name=says, args=(values, at), origin=f"{says}, places {where}")
    layouts = {"input[0]": CHANNELS_FIRST[rank], "input[1]": "NABD"[: rank - 1] + "E"}
    return Case(module=module, given=given, layouts=layouts)


@cases_of(F.affine_grid, "affine_grid")
def affine_grid(draw: st.DrawFn) -> Case:
    """Matrices for places of images, and of maps of three axes of space."""
    rank, batch, aligned = draw(st.integers(2, 3)), draw(st.integers(1, 2)), draw(st.booleans())
    least = 2 if aligned else 1  # of corners that are one, torch warns
    size = (batch, draw(st.integers(1, 3)), *(draw(st.integers(least, 6)) for _ in range(rank)))
    module = Call(F.affine_grid, size=size, align_corners=aligned)
    return case(draw, module, (batch, rank, rank + 1), "NAB")
