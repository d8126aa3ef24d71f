"""One input, in every mode: both sides run, every layer is judged, and what is wrong is explained.

derived     which axes every tensor of this run has, where the pair does not declare them
aligned     which tap of the port answers to which of the reference; the port is cut into segments there
judge       the reference in float64: what noise is, at every tap
anchored    the reference in float32, once; each segment on its values, in each mode (introduced error)
end to end  for each mode, the port sampled at every tap (propagated error), and run unwatched (its output); in one run
            where that can be looked into without a change
judged      both errors of each layer against the noise of the float32 reference

known       what is known so far, by layer and mode
alone       the anchored pass; end_to_end the other; unseen what neither can show on this input
examining   the steps in their order
findings    what is said of layers that differ; coverage which layers were compared; pictures and outputs of the ends
matching    both sides ready to run, and matched; lowered a port of low precision
"""

from parity.examination.examining import Examination
from parity.examination.findings import environment
from parity.examination.known import Progress, Witness
from parity.examination.matching import Subject

__all__ = ["Examination", "Progress", "Subject", "Witness", "environment"]
