"""What a pair is run on: seeded noise, probes made to expose one kind of mistake each, and real image pairs.

Everything here is NumPy in the reference's layout, so making an input loads no framework.
"""

from parity.inputs.images import image_pair, motorcycle
from parity.inputs.synthetic import PROBES, noise, probe

__all__ = ["PROBES", "image_pair", "motorcycle", "noise", "probe"]
