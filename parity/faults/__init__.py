"""Plants known faults in faithful ports, and scores what the diagnosis makes of them.

    Ground ──► sites × operators ──► Planted ──► plant() ──► a faulty copy ──► verified, diagnosed, repaired ──► scores

The operators know nothing of how a diagnosis works, and half of what they do is
drawn from a seed, so that no diagnosis can be fitted to them. Not planted: `execution-mode` (see `environment`);
`unknown` is what the open set is to be called.
"""

from parity.faults import activations, environment, geometry, inputs, norms, open_set, weights, wiring
from parity.faults.planting import Ground, Operator, Planted, Site, operators, plant

__all__ = [
    "Ground",
    "Operator",
    "Planted",
    "Site",
    "activations",
    "environment",
    "geometry",
    "inputs",
    "norms",
    "open_set",
    "operators",
    "plant",
    "weights",
    "wiring",
]
