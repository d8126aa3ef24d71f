"""Random networks as lists of taps, with weights: what small networks alone would not show.

Blocks are residual (with or without a convolution in the shortcut), parallel branches of equal shapes that are
concatenated, attention-like products, repeated layers, or plain chains; many neighbours have equal shapes.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from parity.runners.taps import Tap

HEIGHT, WIDTH = 5, 7


class Network:
    """Taps as they are added, with weights drawn from `generator`."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator
        self.taps: list[Tap] = []
        self.channels = {"input": 3}

    def add(self, kind: str, reads: Sequence[str], channels: int, *shapes: tuple[int, ...]) -> str:
        """One tap more; its name."""
        name = f"{kind}_at_{len(self.taps)}"
        arrays = [self.generator.normal(size=shape).astype(np.float32) for shape in shapes]
        arrays[3:] = [np.abs(variance) for variance in arrays[3:]]
        self.taps.append(
            Tap(
                name=name,
                kind=kind,
                shape=(2, channels, HEIGHT, WIDTH),
                weighted=bool(shapes),
                reads=tuple(reads),
                weights=lambda: arrays,
            )
        )
        self.channels[name] = channels
        return name

    def conv(self, read: str, channels: int, *, norm: bool = True, size: int = 3) -> str:
        """A convolution, perhaps a norm, and an activation."""
        x = self.add("conv2d", [read], channels, (channels, self.channels[read], size, size), (channels,))
        if norm:
            x = self.add("batchnorm", [x], channels, *[(channels,)] * 4)
        return self.add("relu", [x], channels)

    def residual(self, x: str, channels: int, *, norm: bool) -> str:
        """Two convolutions beside a shortcut."""
        y = self.conv(self.conv(x, channels, norm=norm), channels, norm=norm)
        shortcut = x if self.channels[x] == channels else self.conv(x, channels, norm=norm, size=1)
        return self.add("add", [y, shortcut], channels)

    def inception(self, x: str, channels: int, branches: int, *, norm: bool) -> str:
        """Branches of equal shapes, concatenated."""
        ends = [self.conv(self.conv(x, channels, norm=norm), channels, norm=norm) for _ in range(branches)]
        return self.add("cat", ends, channels * branches)

    def gate(self, x: str, *, norm: bool) -> str:
        """A product of two convolutions."""
        channels = self.channels[x]
        return self.add("scale", [self.conv(x, channels, norm=norm), self.conv(x, channels, norm=norm)], channels)


def network(seed: int, blocks: int, *, norm: bool = True, symmetric: bool = True) -> list[Tap]:
    """A random network. Without `symmetric`, no two of its branches have the same form."""
    generator = np.random.default_rng(seed)
    made = Network(generator)
    x = made.conv("input", 6, norm=norm)
    for _ in range(blocks):
        channels = int(generator.choice([6, 8]))
        kind = generator.integers(4 if symmetric else 2)
        if kind == 0:
            x = made.conv(x, channels, norm=norm)
        elif kind == 1:
            x = made.residual(x, channels, norm=norm)
        elif kind == 2:
            x = made.conv(made.inception(x, channels, 3, norm=norm), channels, norm=norm)
        else:
            x = made.gate(x, norm=norm)
    made.add("conv2d", [x], 2, (2, made.channels[x], 1, 1), (2,))
    return made.taps


def ported(taps: Sequence[Tap]) -> list[Tap]:
    """The taps as a port has them: channels last, the batch open, kernels in the port's layout, a pad before each
    convolution."""
    found, renamed = [], {}
    for tap in taps:
        reads = tuple(renamed.get(name, name) for name in tap.reads)
        _, channels, height, width = tap.shape
        shape = (None, height, width, channels)
        if tap.kind == "conv2d":
            found.append(Tap(name=f"{tap.name}_pad", kind="pad", shape=(None, 9, 11, 3), reads=reads))
            reads = (found[-1].name,)
        arrays = [a.transpose(2, 3, 1, 0) if a.ndim == 4 else a for a in tap.weights()]
        renamed[tap.name] = tap.name
        found.append(replace(tap, shape=shape, reads=reads, weights=lambda arrays=arrays: arrays))
    return found


def without(taps: Sequence[Tap], name: str) -> list[Tap]:
    """The taps without one of a single argument: what read it reads that argument."""
    gone = next(tap for tap in taps if tap.name == name)
    instead = {name: gone.reads[0]}
    return [
        replace(tap, reads=tuple(instead.get(read, read) for read in tap.reads)) for tap in taps if tap.name != name
    ]
