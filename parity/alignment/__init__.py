"""How taps of two networks are matched: what speaks for a match, and the one assignment that all of it decides.

mapping       what the user's map says
fingerprints  which layers' weights are alike, in whatever order and layout
names         which names are alike
graphs        what reads what; the skeleton of layers with weights and of joins; where in it each stands
evidence      all of that as one table of scores
skeleton      the assignment of layers with weights and of joins
operations    the operations between them
joined        taps that are compared together
built_in      activations that a layer of the port has built in
files         a layer map as a YAML file
"""

from parity.alignment.files import map_as_yaml, read_map

__all__ = ["map_as_yaml", "read_map"]
