"""What stands for a value while a module's Python runs: of it more is known than torch.fx knows, since it was run.

What Python asks that has one answer for any batch is answered; where it has none, the trace stops.
"""

import builtins
import operator
from collections.abc import Callable
from functools import partialmethod
from typing import Any

from einops._backends import TorchBackend

from parity.frameworks import torch

PROPERTIES = frozenset({"shape", "ndim", "dtype", "device", "is_cuda", "layout", "requires_grad", "is_sparse"})
"""Attributes of tensors that are no tensors."""
TENSORS = frozenset({"T", "mT", "H", "mH", "data"})
"""Attributes of tensors that are tensors: what they are asked for is known at once."""


class StoppedError(Exception):
    """What Python would have to know of a traced value, and cannot."""


class Known(torch.fx.Proxy):
    """A traced value, of which more is known than torch.fx does: it was run."""

    def __getattr__(self, name: str) -> Any:
        if name in PROPERTIES | TENSORS:
            return self.tracer.create_proxy("call_function", builtins.getattr, (self, name), {})
        return super().__getattr__(name)

    def __len__(self) -> int:
        tracer: Any = self.tracer
        size = tracer.length(self)
        return size if isinstance(size, int) else int(self._number("takes its length"))

    def __index__(self) -> int:
        return int(self._number("takes it as a number"))

    __int__ = __index__

    def __setitem__(self, place: Any, value: Any) -> None:
        raise StoppedError("writes into a part of a tensor; write it as a new one, with torch.where or torch.cat")

    def _in_place(self, operation: Callable[..., Any], other: Any) -> Any:
        return self.tracer.create_proxy("call_function", operation, (self, other), {})

    __iadd__ = partialmethod(_in_place, operator.iadd)  # torch.fx by itself would make a new tensor
    __isub__ = partialmethod(_in_place, operator.isub)
    __imul__ = partialmethod(_in_place, operator.imul)
    __itruediv__ = partialmethod(_in_place, operator.itruediv)

    def __float__(self) -> float:
        return float(self._number("takes it as a number"))

    def _number(self, why: str) -> Any:
        raise StoppedError(f"{why}, which follows the size of the batch or the values of a tensor")


class KnownBackend(TorchBackend):
    """What einops calls for a traced value: what it calls for a tensor of torch. It finds the class by itself."""

    framework_name = __name__

    def is_appropriate_type(self, tensor: Any) -> bool:
        """Whether it is a traced value."""
        return isinstance(tensor, Known)
