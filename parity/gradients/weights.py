"""Which weight of the port carries which of the reference's, entry by entry, so that gradients can be brought back.

A converter says how weights are moved. The gradient with respect to the reference's weight is then the sum of the
port's gradients over the entries that this weight's went to: one for a kernel, both slopes' for a shared PReLU, and the
same one for both of torch's LSTM biases, which Keras adds. What went where is read off the converter itself, by giving
it numbered weights.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parity.axes import Array
from parity.converters import convert
from parity.errors import WeightError
from parity.frameworks import torch


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where the entries of one parameter of the reference went.

    `numbers` has an array for each weight of the port's layer: 0 where an entry takes nothing of the parameter, else
    1 + the flat position of what it takes.
    """

    shape: tuple[int, ...]
    numbers: Sequence[Array]

    def brought_back(self, gradients: Sequence[Array | None]) -> Array | None:
        """The gradient of the parameter, given those of the port's weights; None where none comes through."""
        total, count = None, int(np.prod(self.shape, dtype=np.int64))
        for numbers, gradient in zip(self.numbers, gradients, strict=True):
            if gradient is not None and numbers.any():
                part = np.bincount(numbers.ravel(), weights=gradient.ravel(), minlength=count + 1)[1:]
                total = part if total is None else total + part
        return None if total is None else total.reshape(self.shape)

    def feeds(self) -> list[int]:
        """The indices of the port's weights that take something of the parameter."""
        return [index for index, numbers in enumerate(self.numbers) if numbers.any()]


def origins(module: torch.nn.Module, path: str, layer: Any) -> Mapping[str, Origin]:
    """For each parameter of a torch layer where it goes in the Keras layer. Raises WeightError if that is not known."""
    probe = copy.deepcopy(module).double()
    parameters = dict(probe.named_parameters())
    with torch.no_grad():
        for tensor in (*parameters.values(), *probe.buffers()):
            tensor.zero_()
        nothing = _converted(probe, path, layer)
        return {
            name: _origin(tensor, nothing, lambda: _converted(probe, path, layer))
            for name, tensor in parameters.items()
        }


def _converted(probe: torch.nn.Module, path: str, layer: Any) -> list[Array]:
    arrays = [np.array(array, np.float64) for array in convert(probe, path, layer)]
    shapes = [tuple(weight.shape) for weight in layer.weights]
    if [array.shape for array in arrays] != shapes:
        raise WeightError(f"{path!r} gives shapes {[array.shape for array in arrays]}, the port's layer has {shapes}")
    return arrays


def _origin(tensor: torch.Tensor, nothing: Sequence[Array], converted: Any) -> Origin:
    count = tensor.numel()
    tensor.copy_(torch.arange(1, count + 1).reshape(tensor.shape))
    found = [np.rint(array - zero).astype(np.int64) for array, zero in zip(converted(), nothing, strict=True)]
    values = np.random.default_rng(count).normal(size=count)
    tensor.copy_(torch.from_numpy(values).reshape(tensor.shape))
    for numbers, array, zero in zip(found, converted(), nothing, strict=True):
        if not np.allclose(array - zero, np.concatenate([[0.0], values])[np.clip(numbers, 0, count)], atol=1e-12):
            raise WeightError("its converter does more than move weights")
    tensor.zero_()
    return Origin(shape=tuple(tensor.shape), numbers=found)
