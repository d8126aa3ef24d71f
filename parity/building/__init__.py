"""What a torch module becomes in Keras: one small function a kind, one registry, and whole networks of them.

A kind's file has its functions; each says what it takes and gives, and refuses what Keras cannot do exactly.
"""

from parity.building import (
    activation,
    adaptive,
    attention,
    convolution,
    dense,
    normalisation,
    padding,
    pooling,
    recurrent,
    resizing,
    sampling,
    shapes,
    similarity,
    transposed,
)

from parity.building import (  # isort: skip: what has no builder by now, in this order
    arithmetic,
    unchanged,
    reshaping,
    joining,
    parts,
    ranking,
    reducing,
    products,
    functional,
)
from parity.building.graph import Built, built
from parity.building.registry import BUILDERS, Builder, build, builds
from parity.building.values import Site, Value

__all__ = [
    "BUILDERS",
    "Builder",
    "Built",
    "Site",
    "Value",
    "activation",
    "adaptive",
    "arithmetic",
    "attention",
    "build",
    "builds",
    "built",
    "convolution",
    "dense",
    "functional",
    "joining",
    "normalisation",
    "padding",
    "parts",
    "pooling",
    "products",
    "ranking",
    "recurrent",
    "reducing",
    "reshaping",
    "resizing",
    "sampling",
    "shapes",
    "similarity",
    "transposed",
    "unchanged",
]
