"""Cases of fully connected layers and tables."""

import numpy as np
from hypothesis import strategies as st

from parity.frameworks import torch
from parity.inputs.strategies.cases import Case, arrays, case, cases_of, seeded
from parity.pairs import INPUT, Input

LAYOUTS = {1: "N", 2: "NC", 3: "NLC", 4: "NHWC", 5: "NTHWC"}
"""The features last, as fully connected layers want them, whatever the rank."""


@cases_of(torch.nn.Linear, "linear")
def linear(draw: st.DrawFn) -> Case:
    """Vectors, sequences and maps of up to 7 features."""
    i, o = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    shape = (*draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)), i)
    return case(draw, torch.nn.Linear(i, o, bias=draw(st.booleans())), shape, LAYOUTS[len(shape)])


@cases_of(torch.nn.Bilinear, "bilinear")
def bilinear(draw: st.DrawFn) -> Case:
    """Two tensors of the same shape but for their features."""
    i, j, o = (draw(st.integers(1, 5)) for _ in range(3))
    before = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    module = seeded(torch.nn.Bilinear(i, j, o, bias=draw(st.booleans())), draw(st.integers(0, 2**16)))
    (x, says_x), (y, says_y) = draw(arrays((*before, i))), draw(arrays((*before, j)))
    says, layout = f"{says_x}; {says_y}", LAYOUTS[len(before) + 1]
    given = Input(name=says, args=(x, y), origin=says)
    return Case(module=module, given=given, layouts={"input[0]": layout, "input[1]": layout})


@cases_of(torch.nn.Embedding, "embedding")
def embedding(draw: st.DrawFn) -> Case:
    """Whole numbers of either width in a tensor of any rank, the padding's among them."""
    entries, features = draw(st.integers(1, 9)), draw(st.integers(1, 5))
    unused = draw(st.one_of(st.none(), st.integers(-entries, entries - 1)))
    module = seeded(torch.nn.Embedding(entries, features, padding_idx=unused), draw(st.integers(0, 2**16)))
    shape, seed = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)), draw(st.integers(0, 2**16))
    kind = draw(st.sampled_from((np.int64, np.int32)))
    array = np.random.default_rng(seed).integers(0, entries, shape).astype(kind)
    says = f"whole numbers, seed {seed}"
    given = Input(name=says, array=array, origin=says)
    return Case(module=module, given=given, layouts={INPUT: {1: "N", 2: "NL", 3: "NHW"}[len(shape)]})
