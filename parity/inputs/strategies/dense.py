"""Cases of fully connected layers and tables."""

from hypothesis import strategies as st

from parity.frameworks import torch
from parity.inputs.strategies.cases import Case, case, cases_of


@cases_of(torch.nn.Linear, "linear")
def linear(draw: st.DrawFn) -> Case:
    """SKETCH."""
    i, o = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    return case(draw, torch.nn.Linear(i, o, bias=draw(st.booleans())), (draw(st.integers(1, 4)), i), "NC")
