"""A program as a graph of operations that parity knows: Keras layers where a step is one, opaque operations elsewhere.

What is lifted is never where a value comes from: it says which layer a step is, with which weights and settings, and
what the layer would give if something in it were otherwise.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from parity.runners.graphs import Graph


@dataclass(frozen=True, kw_only=True)
class Lifted:
    """A program's graph. `tensors` has the file's tensor of each symbolic one, by its id; `orders` for a tensor that
    the file keeps in other axes than the graph the permutation from the file's to the graph's; `fused` what was made
    part of another step, by name, and the name of the tap that it is in."""

    graph: Graph
    tensors: Mapping[int, str]
    orders: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    fused: Mapping[str, str] = field(default_factory=dict)
