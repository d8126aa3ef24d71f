"""Cases of resizing: to sizes and by factors, whole and not, up and down, in every mode."""

from typing import Any

from hypothesis import assume
from hypothesis import strategies as st

from parity.axes import CHANNELS_FIRST
from parity.frameworks import torch
from parity.inputs.strategies.cases import Call, Case, case, cases_of

F = torch.nn.functional
MODES = {
    1: ("nearest", "linear", "nearest-exact", "area"),
    2: ("nearest", "bilinear", "nearest-exact", "bicubic", "area"),
    3: ("nearest", "trilinear", "nearest-exact", "area"),
}
FACTORS = st.sampled_from([2.0, 1.0, 3.0, 0.5, 1.5]) | st.floats(0.3, 3.7)


@st.composite
def targets(draw: st.DrawFn, sides: tuple[int, ...]) -> dict[str, Any]:
    """A size or a factor, for all axes or for each; a factor never makes an axis vanish."""
    all_alike = draw(st.booleans())
    if draw(st.booleans()):
        size = draw(st.integers(1, 9)) if all_alike else tuple(draw(st.integers(1, 9)) for _ in sides)
        return {"size": size}
    least = [max(0.3, 1.001 / side) for side in sides]
    factors = [max(draw(FACTORS), small) for small in ([max(least)] if all_alike else least)]
    return {"scale_factor": factors[0] if all_alike else tuple(factors)}


@st.composite
def settings(draw: st.DrawFn, sides: tuple[int, ...]) -> dict[str, Any]:
    """What `interpolate` and Upsample both take."""
    to = draw(targets(sides))
    mode = draw(st.sampled_from(MODES[len(sides)]))
    found = {**to, "mode": mode}
    if "linear" in mode or "cubic" in mode:
        found["align_corners"] = draw(st.sampled_from([None, False, True]))
    if "scale_factor" in to:
        found["recompute_scale_factor"] = draw(st.sampled_from([None, True, True, False]))
    return found


def maps(draw: st.DrawFn, ranks: tuple[int, int] = (3, 5)) -> tuple[int, ...]:
    """The shape of a map (N, c, ...); fewer values along each axis the more there are."""
    rank = draw(st.integers(*ranks))
    most = {3: 9, 4: 7, 5: 4}[rank]
    return (draw(st.integers(1, 2)), draw(st.integers(1, 3)), *(draw(st.integers(1, most)) for _ in range(rank - 2)))


def resized(draw: st.DrawFn, module: torch.nn.Module, shape: tuple[int, ...]) -> Case:
    """A case of a module that resizes a map."""
    return case(draw, module, shape, CHANNELS_FIRST[len(shape)])


@cases_of(torch.nn.Upsample, "upsample")
def upsample(draw: st.DrawFn) -> Case:
    """Maps of one, two and three axes of space."""
    shape = maps(draw)
    return resized(draw, torch.nn.Upsample(**draw(settings(shape[2:]))), shape)


@cases_of(F.interpolate, "interpolate")
def interpolate(draw: st.DrawFn) -> Case:
    """As Upsample, and images with antialias."""
    shape = maps(draw)
    found = draw(settings(shape[2:]))
    if found["mode"] in ("bilinear", "bicubic"):
        found["antialias"] = draw(st.booleans())
        assume(
            not found["antialias"] or F.interpolate(torch.zeros(shape), **found).shape[-1] > 1
        )  # torch is wrong there
    return resized(draw, Call(F.interpolate, **found), shape)


@cases_of(torch.nn.UpsamplingNearest2d, "upsampling_nearest2d")
def upsampling_nearest2d(draw: st.DrawFn) -> Case:
    """Images."""
    shape = maps(draw, (4, 4))
    return resized(draw, torch.nn.UpsamplingNearest2d(**draw(targets(shape[2:]))), shape)


@cases_of(torch.nn.UpsamplingBilinear2d, "upsampling_bilinear2d")
def upsampling_bilinear2d(draw: st.DrawFn) -> Case:
    """Images."""
    shape = maps(draw, (4, 4))
    return resized(draw, torch.nn.UpsamplingBilinear2d(**draw(targets(shape[2:]))), shape)
