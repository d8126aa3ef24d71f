"""Which tap of the port answers to which tap of the reference, and why: one assignment that all evidence decides.

aligning      the steps of one alignment
records       what comes of it
mapping       what the user's map says
fingerprints  which layers' weights are alike, in whatever order and layout
names         which names are alike
graphs        what reads what; the skeleton of layers with weights and of joins; where in it each stands
evidence      all of that as one table of scores
telling       layers that tell by their weights alone who they are
flow          which matches contradict each other's order and neighbours
skeleton      the assignment of layers with weights and of joins
operations    the operations between them
joined        taps that are compared together
packed        a layer of the reference that is several of the port
built_in      activations that a layer of the port has built in
files         a layer map as a YAML file
"""

from parity.alignment.aligning import align, with_map
from parity.alignment.files import map_as_yaml, read_map
from parity.alignment.names import normalised
from parity.alignment.records import Alignment, Match, apart

__all__ = ["Alignment", "Match", "align", "apart", "map_as_yaml", "normalised", "read_map", "with_map"]
