"""Which numbers of a trace are constants of the network: those that no batch and no value of an input decides.

A number that is the same on both batches that were run may be so by chance (`n > 8`, `n // 2`): it is computed again
for other batches, and where it is another, or was made of what a tensor holds, the trace stops.
"""

from collections.abc import Sequence
from typing import Any

from parity.building.known import StoppedError
from parity.building.steps import Step, size_of
from parity.building.values import Batch
from parity.frameworks import torch

NUMBERS = (bool, int, float, complex, str, type(None), torch.dtype, torch.device, torch.layout)
"""What a step may make that is no tensor, and is a constant if it is the same for any batch."""
FACTORIES = frozenset({
    "zeros", "ones", "full", "empty", "arange", "eye", "linspace", "zeros_like", "ones_like", "full_like", "empty_like",
    "new_zeros", "new_ones", "new_full", "new_empty",
})  # fmt: skip
"""Functions whose result is made of sizes alone."""
OF_VALUES = frozenset({
    "item", "tolist", "equal", "allclose", "is_nonzero", "nonzero", "argwhere", "unique", "unique_consecutive",
    "masked_select", "bincount", "isin",
})  # fmt: skip
"""Functions that make numbers, or as many values as there are, of what a tensor holds."""
OTHER_BATCHES = (1, 2, 3, 4, 5, 7, 64, 1_000_003)
"""For which of them a number has to be the same that is computed of the batch, and then decides."""


def is_number(step: Step) -> bool:
    """Whether what a step makes is no tensor, but may be a constant."""
    return isinstance(step.values[0], NUMBERS)


def ensure_known(node: Any, step: Step, read: Sequence[Step], number: Any) -> None:
    """Raise StoppedError where a step's number, made of what it has `read`, is the same on both batches by chance."""
    if any(_follows_values(each) for each in (step, *read)):
        raise StoppedError("takes a number of the values of a tensor")
    batches = [each for each in read if is_number(each)]
    if len(batches) == 1 and len(step.values) > 1 and not _is_for_any_batch(node, batches[0], number):
        raise StoppedError("decides, or counts, by the size of the batch")


def _follows_values(step: Step) -> bool:
    """Whether a step makes numbers, or as many values, as the values say of what depends on the network's inputs."""
    name = step.of if isinstance(step.of, str) else getattr(step.of, "__name__", "")
    return name in OF_VALUES and not step.constant


def _is_for_any_batch(node: Any, batch: Step, number: Any) -> bool:
    """Whether a number that is computed of a multiple of the batch is the same whatever the batch is."""
    factor = size_of(batch.values, batch.batch)
    if not isinstance(factor, Batch) or node.op != "call_function":
        return False

    def of_batch(size: int) -> Any:
        args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), lambda _: factor.factor * size)
        return node.target(*args, **kwargs)

    return all(of_batch(size) == number for size in OTHER_BATCHES)
