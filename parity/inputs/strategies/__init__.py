"""Hypothesis strategies for torch modules and their inputs: each kind's settings, weights and odd sizes.

@given(strategies.cases(torch.nn.Conv2d))
def test_my_converter(case): ...

`tensors` has arrays of any shape and place in memory, layouts and tolerances, for what compares and moves values.
"""

from parity.inputs.strategies import (
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
    tensors,
    transposed,
)
from parity.inputs.strategies.cases import CASES, STYLES, Case, arrays, case, cases, cases_of, seeded

__all__ = [
    "CASES",
    "STYLES",
    "Case",
    "activation",
    "adaptive",
    "arrays",
    "attention",
    "case",
    "cases",
    "cases_of",
    "convolution",
    "dense",
    "normalisation",
    "padding",
    "pooling",
    "recurrent",
    "resizing",
    "sampling",
    "seeded",
    "shapes",
    "similarity",
    "tensors",
    "transposed",
]
