"""Cases of convolutions."""

from hypothesis import strategies as st

from parity.frameworks import torch
from parity.inputs.strategies.cases import Case, case, cases_of


@cases_of(torch.nn.Conv2d, "conv2d")
def conv2d(draw: st.DrawFn) -> Case:
    """SKETCH."""
    groups = draw(st.integers(1, 3))
    i, o = (groups * draw(st.integers(1, 3)) for _ in range(2))
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    padding = draw(st.tuples(st.integers(0, 3), st.integers(0, 3)))
    size = tuple(draw(st.integers(max(1, k - 2 * p), 9)) for k, p in zip(kernel, padding, strict=True))
    module = torch.nn.Conv2d(i, o, kernel, stride=draw(st.integers(1, 3)), padding=padding, groups=groups)
    return case(draw, module, (draw(st.integers(1, 3)), i, *size), "NCHW")
