"""What an input and a network's weights are, as SHA-256 sums: what a record of a run can be audited by."""

import hashlib
from typing import Any

import numpy as np

from parity.axes import Array
from parity.isolation.journal import Described
from parity.pairs import Input
from parity.settings import size_of


def described(given: Input, *, audited: bool = False) -> Described:
    """An input as it is listed; with the sum of its arrays where it is to be audited."""
    if not audited:
        return Described(name=given.name, size=size_of(given))
    sums = hashlib.sha256()
    for name, array in given.arrays.items():
        _add(sums, name, array)
    return Described(name=given.name, size=size_of(given), digest=sums.hexdigest(), origin=given.origin)


def digest_of_weights(reference: Any) -> str:
    """SHA-256 of a network's weights and buffers: their names, types, shapes and values, in order of registration.

    A recording has that of the network it was made of. "" for what has neither.
    """
    header = getattr(reference, "header", None)
    if header is not None:
        return str(header.weights)
    if not hasattr(reference, "state_dict"):
        return ""
    sums = hashlib.sha256()
    for name, tensor in reference.state_dict().items():
        if hasattr(tensor, "detach"):
            _add(sums, name, tensor.detach().cpu().contiguous())
    return sums.hexdigest()


def _add(sums: Any, name: str, values: Any) -> None:
    """Add a name and an array, or a tensor of a type that NumPy need not know."""
    sums.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
    if not isinstance(values, np.ndarray):
        from parity.frameworks import torch

        values = values.reshape(-1).view(torch.uint8).numpy()
    flat: Array = np.ascontiguousarray(values).reshape(-1)
    sums.update(flat.view(np.uint8).data if flat.size else b"")
