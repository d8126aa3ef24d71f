"""Every converted kind of layer under property-based fire: cases drawn by Hypothesis, tried in every data format.

@given(parity.inputs.strategies.cases("conv2d"))
def test_my_converter(case):
    parity.layers.check(case, builder=my_converter)
"""

from parity.layers.checking import check
from parity.layers.kinds import Kind, every_kind, kind_called
from parity.layers.trial import Outcome, Trial, tried

__all__ = ["Kind", "Outcome", "Trial", "check", "every_kind", "kind_called", "tried"]
