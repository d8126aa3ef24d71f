"""How far an artifact of low precision may be from its reference: what its number formats make of the reference itself.

A file that keeps its numbers in 8 or 16 bits cannot meet a floor of float32 arithmetic, and a constant of so many
decibels would be too little for one layer and too much for the next. So the reference is run as it would be in that
arithmetic without any fault: its own weights rounded to the format that the file stores them in, and each value rounded
to the steps of the file's own grid for it. How far that is from the reference is the noise that the file may have. Each
layer has two: *propagated*, where noise adds up from layer to layer, and *introduced*, where each layer is given the
reference's values as the file holds them.

What could excuse a fault is left out. The grid of a weight is made from the reference's weight, never from the file's.
A value beyond the ends of its grid is not cut off: a range that is too small is a fault of the layer that has it. Only
the greatest difference may be what a cut makes of it, since a few values beyond what an export was calibrated on are
no fault; and a layer is given what the file can hold. Noise as large as the values proves nothing: `proves` says so.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from scipy.special import fdtri

from parity.artifacts.folding import factor_after
from parity.artifacts.program import Grid
from parity.axes import Array
from parity.comparison import noise_of
from parity.errors import PairError
from parity.frameworks import torch
from parity.pairs import Input
from parity.runners.taps import Tap
from parity.runners.torch_module import TorchModule, sampled
from parity.tolerance import UNIT_ROUNDOFF, Limits, Noise

RMSE_RATIO = 1.5
"""How many times the expected noise an error may be (3.5 dB); for faithful exports see docs/precision.md."""
MAX_RATIO = 3.0
"""The same of the greatest difference."""
GAIN_RATIO = 6.0
"""The same of a constant factor: noise is not biased, so what it makes of one is far smaller than itself."""
FACTOR = 2.0**-6
"""What a constant factor may be where the noise says less, at layers without weights: kernels on grids multiply by
factors of as few as 8 bits (XNNPACK's LeakyReLU by 26 / 256 for 0.1)."""
WELL_KNOWN, DRAWS = 0.25, 8
"""Where noise is measured on so few values that more than this share of them would have to be allowed, it is drawn
again, so many times in all."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """How a layer's weights are stored: as whole numbers up to `top`, in steps of their own for each channel of its
    output or not; in float16 where `top` is None. `rounds_input`: what it reads is rounded to 8 bits as it comes.
    `folds`: what multiplies its values afterwards is a part of its weights. `bias_step`: the step of its bias, where
    that is a whole number too."""

    top: int | None = None
    by_channel: bool = False
    rounds_input: bool = False
    folds: bool = False
    bias_step: float = 0.0

    def steps(self, weight: Array, kept: Sequence[int]) -> Array:
        """How far apart the numbers are that each of a weight's values could be stored as; its output channels lie
        along the axes `kept`."""
        if self.top is None:
            return halves_apart(weight)
        others = tuple(axis for axis in range(weight.ndim) if not (self.by_channel and axis in kept))
        least, most = (end(axis=others, keepdims=True).astype(np.float64) for end in (weight.min, weight.max))
        return np.asarray(np.maximum(-least, most) / self.top)

    def rounded(self, weight: Array, kept: Sequence[int], dither: "Dither") -> Array:
        """A weight as it would be stored. One of a large network has tens of millions of numbers, so they are worked
        on in place."""
        if self.top is None and dither is None:
            return nearest_halves(weight)
        step = self.steps(weight, kept)
        if dither is not None:
            noise = dither.random(weight.shape, np.float32)
            noise -= np.float32(0.5)
            return np.asarray(weight + noise * step.astype(np.float32), weight.dtype)
        step[step == 0] = 1.0  # of a channel that has nothing but zeros
        made = weight / step
        np.rint(made, out=made)
        made *= step
        return made.astype(weight.dtype)


Dither = np.random.Generator | None
"""What draws noise in place of the rounding itself, so that it comes out otherwise."""


@dataclass(frozen=True, kw_only=True)
class Formats:
    """An artifact's number formats, by the reference's names of taps and inputs.

    `grids` has the grid of each value that is stored on one, `halves` names those in float16, `weights` has how each
    layer's are stored. `ends` are the taps where the port is cut: the reference's values are given there.
    """

    precision: str
    ends: frozenset[str]
    grids: Mapping[str, Grid] = field(default_factory=dict)
    halves: frozenset[str] = frozenset()
    weights: Mapping[str, Stored] = field(default_factory=dict)

    def held(self, name: str, value: Any, *, clipped: bool, dither: Dither = None) -> Any:
        """A value of a tap or input (a torch tensor) as the file holds it; `clipped` at the ends of its grid."""
        if not value.is_floating_point():
            return value
        if name in self.halves:
            if dither is None:
                return torch.from_numpy(nearest_halves(value.numpy()))
            step = torch.from_numpy(halves_apart(value.numpy()).astype(np.float32))
            some = torch.where(step > 0, step, torch.ones_like(step))
            return torch.where(step > 0, _rounded(value, some, dither), value)
        if name not in self.grids:
            return value
        made = _rounded(value, step_of(self.grids[name]), dither)
        return made.clamp(*ends_of(self.grids[name])) if clipped else made


def halves_apart(values: Array) -> Array:
    """How far apart the numbers of float16 are at values; 0 beyond its range: what it has none for is not rounded."""
    sizes = np.abs(values)
    within = sizes <= np.finfo(np.float16).max
    spacing = np.spacing(np.where(within, sizes, 0).astype(np.float16)).astype(np.float64)
    return np.where(within, np.where(np.isfinite(spacing), spacing, 0.0), 0.0)


def nearest_halves(values: Array) -> Array:
    """Values as float16 has them; those beyond its range as they are."""
    whole = torch.from_numpy(np.ascontiguousarray(values))
    halves = whole.half().to(whole.dtype)
    return np.asarray(torch.where(whole.abs() <= torch.finfo(torch.float16).max, halves, whole).numpy())


def _rounded(value: Any, step: Any, dither: Dither) -> Any:
    if dither is None:
        return torch.round(value / step) * step
    noise = torch.from_numpy(dither.random(tuple(value.shape), np.float32) - np.float32(0.5))
    return value + noise * step


def step_of(grid: Grid) -> float:
    """How far apart the numbers of a grid are."""
    return float(grid.scale.reshape(-1)[0])


def ends_of(grid: Grid) -> tuple[float, float]:
    """The least and the greatest number of a grid."""
    zero = float(grid.zero.reshape(-1)[0])
    return (grid.low - zero) * step_of(grid), (grid.high - zero) * step_of(grid)


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How the file's grid for a tap fits the reference's values there: its `ends`, theirs, the `share` of them beyond;
    `coarse` is how many times its step is the one that these values would need."""

    ends: tuple[float, float]
    values: tuple[float, float]
    share: float
    coarse: float


@dataclass(frozen=True, kw_only=True)
class Inner:
    """The noise at a tap (RMS, in the units of its values) of what the file rounds on the way to it: `values`, and
    `constants` that are no weights of a layer, which may make a constant factor."""

    values: float = 0.0
    constants: float = 0.0


NONE = Inner()


class Expected:
    """The noise that an artifact's formats make of the reference on one input, at each tap, and how its grids fit.

    Raises PairError for a reference that is a recording: it has to be run.
    """

    def __init__(self, reference: Any, given: Input, formats: Formats) -> None:
        if not isinstance(reference, TorchModule):
            raise PairError(
                f"the port's numbers are {formats.precision}, which is judged by running the reference in them; "
                "a recording of the reference cannot be run"
            )
        self.formats = formats
        self.fits: dict[str, Fit] = {}
        self.inner: dict[str, Inner] = {}
        """What the file rounds on the way to a tap, by tap; set before the noise end to end is asked for."""
        self._reference, self._given = reference, given
        self._exact: dict[str, Any] = {}
        self._samples: dict[str, Array] = {}
        self._see_exact()
        self.draws = 1
        self._introduced = self._drawn(anchored=True)
        if not all(self._share(name) < WELL_KNOWN for name in formats.ends if name in self._introduced):
            self.draws = DRAWS
            self._introduced = self._drawn(anchored=True)
        self._exact.clear()

    @cached_property
    def _propagated(self) -> Mapping[str, Noise]:
        return self._drawn(anchored=False)

    def _see_exact(self) -> None:
        def see(tap: Tap, value: Any) -> None:
            self._samples[tap.name] = sampled(value)
            self._see_fit(tap.name, value)
            if tap.name in self.formats.ends:
                self._exact[tap.name] = value.clone()

        for name, array in self._given.arrays.items():
            self._see_fit(name, torch.from_numpy(np.ascontiguousarray(array)))
        TorchModule(self._reference.module).run(self._given, see)

    def _see_fit(self, name: str, value: Any) -> None:
        grid = self.formats.grids.get(name)
        if grid is None or not value.numel():
            return
        step, (low, high) = step_of(grid), ends_of(grid)
        beyond = (value < low - step / 2) | (value > high + step / 2)
        least, most = float(value.min()), float(value.max())
        needed = (max(most, 0.0) - min(least, 0.0)) / (grid.high - grid.low)
        self.fits[name] = Fit(
            ends=(low, high),
            values=(least, most),
            share=float(beyond.double().mean()),
            coarse=step / needed if needed else math.inf,
        )

    def _drawn(self, *, anchored: bool) -> Mapping[str, Noise]:
        """The noise at every tap, of as many runs as it takes to know it; the first rounds as the file does."""
        runs: list[Mapping[str, Noise]] = []
        for number in range(self.draws):
            dither = np.random.default_rng(number) if number else None
            module = _with_rounded_weights(self._reference, self._given, self.formats, dither)
            runs.append(self._run(module, anchored=anchored, clipped=anchored, dither=dither))
            if not number and not anchored and any(fit.share for fit in self.fits.values()):
                cut = self._run(module, anchored=False, clipped=True, dither=None)
                runs[0] = {name: _with_cut(noise, cut[name]) for name, noise in runs[0].items()}
        return {name: _together([run[name] for run in runs]) for name in runs[0]}

    def _run(self, module: Any, *, anchored: bool, clipped: bool, dither: Dither) -> Mapping[str, Noise]:
        """One run of the reference in the file's formats; `anchored` with its own values given at each end."""
        found: dict[str, Noise] = {}
        held = self.formats.held

        def see(tap: Tap, value: Any) -> None:
            if tap.name not in self._samples:
                raise PairError(
                    f"the reference takes another way when its numbers are rounded: it comes to {tap.name!r}"
                )
            made = held(tap.name, value, clipped=clipped and not anchored, dither=dither)
            if not anchored:
                made = self._with_inner(tap.name, made)
            found[tap.name] = noise_of(sampled(made), self._samples[tap.name])
            if not anchored:
                _write(value, made)
            elif tap.name in self.formats.ends:
                found[tap.name] = _with_cut(found[tap.name], self._cut(tap.name, made))
                _write(value, held(tap.name, self._exact[tap.name], clipped=True, dither=dither))

        def start(name: str, array: Array) -> Array:
            value: Array = held(
                name, torch.from_numpy(np.array(array, order="C")), clipped=clipped, dither=dither
            ).numpy()
            return value

        TorchModule(module).run(self._given.changed(start), see)
        return found

    def _cut(self, name: str, made: Any) -> Noise | None:
        """The noise with what lies beyond the ends of the grid cut off, where something does."""
        if name not in self.fits or not self.fits[name].share:
            return None
        cut = made.clamp(*self.fits[name].ends)
        return noise_of(sampled(cut), self._samples[name])

    def _with_inner(self, name: str, value: Any) -> Any:
        """A value with the noise of what the file rounds on the way to it."""
        inner = self.inner.get(name, NONE)
        if inner == NONE:
            return value
        drawn = np.random.default_rng(0).standard_normal(tuple(value.shape), np.float32)
        return value + torch.from_numpy(drawn) * math.hypot(inner.values, inner.constants)

    # -- what follows ---------------------------------------------------------------------------------------------

    def noise(self, layer: str, *, anchored: bool) -> Noise:
        """The noise that the formats make at a layer: of its own, or end to end."""
        if not anchored:
            return self._propagated[layer]
        noise, inner = self._introduced[layer], self.inner.get(layer, NONE)
        if inner == NONE:
            return noise
        factor = inner.constants / noise.expected_rms if noise.expected_rms else 0.0
        return replace(
            noise,
            rmse=math.hypot(noise.rmse, inner.values, inner.constants),
            gain=math.hypot(noise.gain, factor),
            max_abs=noise.max_abs + math.sqrt(3) * inner.values + factor * noise.expected_max,
        )

    def floor(self, layer: str, *, anchored: bool) -> float:
        """The same, relative to the reference's values; 0 where the formats round nothing."""
        noise = self.noise(layer, anchored=anchored)
        return noise.rmse / noise.expected_rms if noise.expected_rms else 0.0

    def widened(self, limits: Limits, layer: str, *, anchored: bool, by_chance: bool = True) -> Limits:
        """`limits` of float32 arithmetic, and the noise of the formats on top of them; of few values what chance may do
        to these, unless what is known of the layer leaves nothing to chance."""
        noise = self.noise(layer, anchored=anchored)
        if not noise.rmse and not noise.max_abs:
            return limits
        spread = spread_of(noise.count, self.draws) if by_chance else 1.0
        if limits.rtol is not None:
            limits = Limits(rmse=UNIT_ROUNDOFF * noise.expected_rms, gain=0.0, max_abs=limits.rtol * noise.expected_max)
        return Limits(
            rmse=limits.rmse + RMSE_RATIO * spread * noise.rmse,
            gain=limits.gain + self._gain(layer, noise, spread) if anchored else math.inf,
            max_abs=limits.max_abs + MAX_RATIO * spread * noise.max_abs,
        )

    def _gain(self, layer: str, noise: Noise, spread: float) -> float:
        """How large a constant factor may be. Noise averages out over the values; what rounded weights add, over these
        only."""
        weights = self._weights.get(layer)
        share = self.floor(layer, anchored=True) / math.sqrt(min(noise.count, weights or noise.count))
        allowed = GAIN_RATIO * spread * max(abs(noise.gain), share)
        return allowed if weights else max(allowed, FACTOR)

    @cached_property
    def _weights(self) -> Mapping[str, int]:
        """How many weights the layers have that the file rounds."""
        calls = self._reference.calls(self._given)
        modules = {name: calls[name].function for name in self.formats.weights if name in calls}
        return {
            name: sum(weight.numel() for weight in module.parameters())
            for name, module in modules.items()
            if isinstance(module, torch.nn.Module)
        }

    def proves(self, layer: str) -> bool:
        """Whether an error as large as the values of a layer would be seen: else nothing is known of it."""
        return self._share(layer) < 1

    def _share(self, layer: str) -> float:
        """How large an error of a layer alone may be, relative to its values."""
        noise = self.noise(layer, anchored=True)
        return RMSE_RATIO * spread_of(noise.count, self.draws) * self.floor(layer, anchored=True)


@lru_cache
def spread_of(count: int, draws: int) -> float:
    """How much larger than its true value an RMSE of `count` values over one of `count * draws` may come out by chance,
    1 in 10 000."""
    return min(100.0, math.sqrt(float(fdtri(count, count * draws, 1 - 1e-4))))


def _with_cut(noise: Noise, cut: Noise | None) -> Noise:
    return noise if cut is None else replace(noise, max_abs=max(noise.max_abs, cut.max_abs))


def _together(noises: Sequence[Noise]) -> Noise:
    """What several draws of a noise say of it."""
    rmse, gain = (
        math.sqrt(float(np.mean(np.square([getattr(noise, name) for noise in noises])))) for name in ("rmse", "gain")
    )
    return replace(noises[0], rmse=rmse, gain=gain, max_abs=max(noise.max_abs for noise in noises))


def _write(value: Any, other: Any) -> None:
    """Put other numbers in a value that the reference has just made, so that it goes on with them.

    Through `data`, which leaves the count of its versions alone: it keeps its name. One whose numbers stand for several
    places each is left as it is; it only repeats what was written already.
    """
    repeats = any(step == 0 and size > 1 for step, size in zip(value.stride(), value.shape, strict=True))
    if other is not value and not repeats:
        value.data.copy_(other)


def _with_rounded_weights(reference: TorchModule, given: Input, formats: Formats, dither: Dither) -> Any:
    """A copy of the reference with its weights as the file would store them."""
    copied = copy.deepcopy(reference.module)
    twins = dict(zip(reference.module.modules(), copied.modules(), strict=True))
    calls = reference.calls(given)
    done: set[int] = set()
    for name, stored in formats.weights.items():
        module = twins.get(calls[name].function) if name in calls else None
        if module is None or id(module) in done:
            continue
        done.add(id(module))
        if stored.rounds_input:
            module.register_forward_pre_hook(lambda module, args: tuple(_in_steps(each, dither) for each in args))
        factor = factor_after(name, calls, formats.ends) if stored.folds else np.ones(())
        for weight in module.parameters():
            if weight.ndim > 1 or stored.top is None:
                made = _stored(stored, module, weight.detach().numpy(), factor, dither)
                weight.data.copy_(torch.from_numpy(made))
    return copied


def _stored(stored: Stored, module: Any, weight: Array, factor: Array, dither: Dither) -> Array:
    """A torch layer's weight as it would be stored, multiplied by a factor for all or for each channel of its output;
    these channels are where a layer of its class has them."""
    transposed = weight.ndim > 1 and getattr(module, "transposed", False)
    split = weight.reshape(module.groups, -1, *weight.shape[1:]) if transposed else weight
    kept: Sequence[int] = (0, 2) if transposed else (0,)
    channels = [size if axis in kept else 1 for axis, size in enumerate(split.shape)]
    if factor.size not in (1, math.prod(channels)):
        return _stored(stored, module, weight, np.ones(()), dither)  # of other channels than the layer's
    if np.all(factor == 1):
        return stored.rounded(split, kept, dither).reshape(weight.shape)
    factor = np.where(factor, factor, 1.0).reshape(channels if factor.size > 1 else ())
    made = stored.rounded(split * factor, kept, dither) / factor
    return made.reshape(weight.shape).astype(weight.dtype)


def _in_steps(value: Any, dither: Dither) -> Any:
    """What a layer is given, each sample rounded to 256 steps from its least to its greatest value, 0 among them."""
    if not torch.is_tensor(value) or not value.is_floating_point():
        return value
    with torch._C.DisableTorchFunction():  # what is done here is no operation of the reference
        axes = tuple(range(1, value.ndim)) or (0,)
        high, low = value.amax(dim=axes, keepdim=True).clamp(min=0), value.amin(dim=axes, keepdim=True).clamp(max=0)
        step = (high - low) / 255
        return torch.where(step > 0, _rounded(value, step.where(step > 0, torch.ones_like(step)), dither), value)
