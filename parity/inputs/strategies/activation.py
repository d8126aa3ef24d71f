"""Cases of activations."""

from hypothesis import strategies as st

from parity.frameworks import torch
from parity.inputs.strategies.cases import Case, case, cases_of


@cases_of(torch.nn.LeakyReLU, "leaky_relu")
def leaky_relu(draw: st.DrawFn) -> Case:
    """SKETCH."""
    return case(draw, torch.nn.LeakyReLU(draw(st.floats(0, 2, width=32))), (2, 3, 5), "NCL")
