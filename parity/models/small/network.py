"""What the small networks have in common: a reference, a port and a layer map become a pair, at a size, from a seed."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from parity import inputs
from parity.axes import CHANNELS_LAST, Axes
from parity.converters import transfer
from parity.errors import InputError, UsageError
from parity.frameworks import torch
from parity.inputs.words import seeded as drawn
from parity.lookup import both
from parity.models import MODELS, Settings
from parity.models.small.weights import seeded
from parity.pairs import Input, Pair

Size = tuple[int, ...]
"""(width, height) in pixels for images, as in Settings; (length,) for sequences."""


@dataclass(frozen=True, kw_only=True)
class Network(ABC):
    """A small network, from which pairs are made.

    `reference` and `port` take (height, width) or (length,); `layers` maps every tap of the reference that the port has
    to its port layer. `sizes` are some that it accepts, the first its default. `batch` is the number of images or
    sequences in an input. `gains` multiplies the weights of single modules, `shifts` is added to their biases.
    `weights` maps modules to the port layers that take their weights, where these are others than the ones that give
    their values; such port layers are `waived`.
    """

    name: str
    reference: Callable[..., torch.nn.Module]
    port: Callable[..., Any]
    layers: Mapping[str, str]
    sizes: tuple[Size, ...]
    axes: Axes = field(default_factory=Axes)
    batch: int = 1
    gains: Mapping[str, float] = field(default_factory=dict)
    shifts: Mapping[str, float] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    waived: frozenset[str] = frozenset()

    @property
    def description(self) -> str:
        """What it is, in one line."""
        return MODELS[self.name].description

    def pair(self, seed: int = 0, size: Size | None = None) -> tuple[Pair, list[Input]]:
        """The pair with weights drawn from the seed, and noise from the seed. Raises InputError for a size it lacks."""
        size = size or self.sizes[0]
        self.check_size(size)
        return self._pair(seed, size), [self.input("noise", size, seed)]

    def build(self, settings: Settings) -> tuple[Pair, list[Input]]:
        """The pair and the inputs that the settings ask for: noise by default.

        Raises UsageError for a checkpoint, pictures or channels_first, InputError for a size or an input it lacks.
        """
        self._refuse(settings)
        size = settings.size or self.sizes[0]
        self.check_size(size)
        names = settings.inputs or ("noise",)
        self._check_names(names)
        given = settings.recorded or [self._input(name, size, settings.seed) for name in names]
        return self._fresh(settings.seed, size), list(given)

    def _input(self, name: str, size: Size, seed: int) -> Input:
        """The input that a name asks for, called so."""
        kind, seed = drawn(name, seed)
        return replace(self.input(kind, size, seed), name=name)

    @property
    @abstractmethod
    def known_inputs(self) -> tuple[str, ...]:
        """The names of the inputs that can be made for it."""

    @abstractmethod
    def check_size(self, size: Size) -> None:
        """Raise InputError for a size it does not take."""

    @abstractmethod
    def input(self, name: str, size: Size, seed: int) -> Input:
        """One of the known inputs."""

    def _pair(self, seed: int, size: Size) -> Pair:
        pair = both(self._fresh(seed, size))
        transfer(pair.reference, pair.port, {**self.layers, **self.weights})
        return replace(pair, transfer=False)

    def _fresh(self, seed: int, size: Size) -> Pair:
        """The pair with sides that are built when they are needed, and a port that is then filled."""
        extent = size[::-1]
        return Pair(
            name=self.name,
            reference=lambda: seeded(lambda: self.reference(*extent), seed, self.gains, self.shifts),
            port=lambda: self.port(*extent),
            layers=self.layers,
            axes=self.axes,
            waived=self.waived,
            transfer=self.weights or True,
        )

    def _refuse(self, settings: Settings) -> None:
        """Say what a small network cannot honour, rather than pass over it."""
        if settings.checkpoint is not None:
            raise UsageError(f"{self.name} has no checkpoints ({settings.checkpoint}): its weights come from the seed")
        if settings.images is not None:
            raise UsageError(f"{self.name} takes no pictures; its inputs are {', '.join(self.known_inputs)}")
        if settings.data_format != "channels_last":
            raise UsageError(f"the port of {self.name} is channels_last, and {settings.data_format!r} was asked for")

    def _check_names(self, names: tuple[str, ...]) -> None:
        for name in names:
            if drawn(name, 0)[0] not in self.known_inputs:
                raise InputError(
                    f"{self.name} has no input {name!r}; the known inputs are {', '.join(self.known_inputs)}"
                )
            if names.count(name) > 1:
                raise InputError(f"input {name!r} is named {names.count(name)} times; once is enough")


@dataclass(frozen=True, kw_only=True)
class ImageNetwork(Network):
    """A network of RGB images, (batch, 3, H, W) with values from `low` to `high`.

    Height and width are multiples of `multiple`, and at least `smallest`.
    """

    low: float = -1.0
    high: float = 1.0
    multiple: int = 1
    smallest: int = 8

    @property
    def known_inputs(self) -> tuple[str, ...]:
        """Noise and the probes."""
        return ("noise", *inputs.PROBES)

    def check_size(self, size: Size) -> None:
        """Raise InputError for other than a width and a height that it takes."""
        if len(size) != 2:
            raise InputError(f"{self.name} takes a width and a height, and the size is {size}")
        if min(size) < self.smallest or any(side % self.multiple for side in size):
            steps = f", multiples of {self.multiple}" if self.multiple > 1 else ""
            raise InputError(
                f"{self.name} takes widths and heights of {self.smallest} pixels or more{steps}; "
                f"the size is {size[0]}x{size[1]}"
            )

    def input(self, name: str, size: Size, seed: int) -> Input:
        """Noise, or a probe, in the network's range."""
        shape = (self.batch, 3, *size[::-1])
        if name == "noise":
            return inputs.noise(shape, seed=seed, low=self.low, high=self.high)
        return inputs.probe(name, shape, low=self.low, high=self.high)


@dataclass(frozen=True, kw_only=True)
class SequenceNetwork(Network):
    """A network of sequences: of (batch, L) tokens below `vocabulary`, or of (batch, L, features) floats in [-1, 1].

    Torch and Keras keep these in the same order, so nothing is moved between the two.
    """

    axes: Axes = field(default_factory=lambda: Axes(reference=CHANNELS_LAST, port=CHANNELS_LAST))
    vocabulary: int = 0
    features: int = 0

    @property
    def known_inputs(self) -> tuple[str, ...]:
        """Noise alone: the probes are pictures."""
        return ("noise",)

    def check_size(self, size: Size) -> None:
        """Raise InputError for other than one length; of one step alone a softmax over steps says nothing."""
        if len(size) != 1 or size[0] < 2:
            raise InputError(f"{self.name} takes sequences, with one length of 2 or more; the size is {size}")

    def input(self, name: str, size: Size, seed: int) -> Input:
        """Tokens or floats drawn from the seed."""
        shape = (self.batch, *size)
        if not self.vocabulary:
            return inputs.noise((*shape, self.features), seed=seed, low=-1.0, high=1.0)
        tokens = np.random.Generator(np.random.PCG64(seed)).integers(self.vocabulary, size=shape, dtype=np.int64)
        return Input(name=name, array=tokens, origin=f"tokens below {self.vocabulary}, PCG64 seed {seed}")
