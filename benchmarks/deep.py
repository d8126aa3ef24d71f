"""A pair of 200 weighted layers without a map: seconds to align it, and a verdict's time over its bare forwards.

Fifty residual blocks of two convolutions and two norms each, under names that say nothing. Run with
`python -m benchmarks deep`; answers in JSON.
"""

import json
import statistics
from typing import Any

from benchmarks.measure import forwards, passed, timed
from parity.converters import transfer
from parity.frameworks import keras, torch
from parity.inputs import noise
from parity.pairs import Input, Pair
from parity.tolerance import NoiseFloor, Policy, Tolerance
from parity.verification import Verifier

BLOCKS, CHANNELS, SHAPE, ROUNDS = 50, 64, (4, 64, 56, 56), 5
POLICIES: tuple[Policy, ...] = (NoiseFloor(), Tolerance(rtol=1e-3, atol=1e-3))


class Block(torch.nn.Module):
    """Two convolutions, two norms and a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = (torch.nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1) for _ in range(2))
        self.norm1, self.norm2 = (torch.nn.BatchNorm2d(CHANNELS) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape as `x`, (N, CHANNELS, H, W)."""
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(x + 0.1 * self.norm2(self.conv2(y)))


def pair() -> tuple[Pair, Input]:
    """The pair and its input, with weights from a seed."""
    torch.manual_seed(0)
    reference = torch.nn.Sequential(*(Block() for _ in range(BLOCKS))).eval()
    x = image = keras.Input((*SHAPE[2:], SHAPE[1]))
    layers: dict[str, str] = {}

    def add(layer: Any, value: Any, name: str) -> Any:
        layers[name] = layer.name
        return layer(value)

    for block in range(BLOCKS):
        y = x
        for step in "12":
            y = add(keras.layers.Conv2D(CHANNELS, 3, padding="same"), y, f"{block}.conv{step}")
            y = add(keras.layers.BatchNormalization(epsilon=1e-5), y, f"{block}.norm{step}")
            y = keras.layers.ReLU()(y) if step == "1" else y
        x = keras.layers.ReLU()(keras.layers.Add()([x, keras.layers.Rescaling(0.1)(y)]))
    port = keras.Model(image, x)
    transfer(reference, port, layers)
    return Pair(name="deep", reference=reference, port=port), noise(SHAPE, seed=0, low=-1, high=1)


def main() -> None:
    """Print the seconds of an alignment, and for each mode and policy the ratio of a verdict to the two bare forwards:
    the least, the median and the greatest of the rounds."""
    subject, given = pair()
    verifiers = {str(type(policy).__name__): Verifier(subject, policy) for policy in POLICIES}
    verifier = next(iter(verifiers.values()))
    verifier.reference.taps(given)
    found: dict[str, object] = {"align seconds": round(timed(lambda: _aligned(verifier, given)), 2)}
    for mode in ("eager", "graph"):
        run_torch, run_keras = forwards(subject, given, mode)
        ratios: dict[str, list[float]] = {name: [] for name in verifiers}
        for _ in range(ROUNDS + 1):
            bare = timed(run_torch) + timed(run_keras)
            for name, each in verifiers.items():
                ratios[name].append(timed(lambda each=each, mode=mode: passed(each, given, mode)) / bare)  # type: ignore[misc]
        for name, taken in ratios.items():
            warm = sorted(taken[1:])
            found[f"verdict ratio, {mode}, {name}"] = [
                round(x, 1) for x in (warm[0], statistics.median(warm), warm[-1])
            ]
    print(json.dumps(found))


def _aligned(verifier: Verifier, given: Input) -> None:
    """Align afresh. Raises SystemExit where a layer is left over."""
    coverage = verifier.alignment(given).coverage
    if not coverage.complete or coverage.weighted != 4 * BLOCKS:
        raise SystemExit(f"not aligned: {coverage}")


if __name__ == "__main__":
    main()
