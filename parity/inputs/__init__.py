"""What a pair is run on: seeded noise, tokens, probes made to expose one kind of mistake each, real images, files.

Everything here is NumPy in the reference's layout, so making an input loads no framework.
"""

from parity.inputs.files import arrays_from, folder, image
from parity.inputs.images import image_pair, motorcycle, picture
from parity.inputs.signature import Slot, from_signature, tokens
from parity.inputs.synthetic import PROBES, noise, probe

__all__ = [
    "PROBES",
    "Slot",
    "arrays_from",
    "folder",
    "from_signature",
    "image",
    "image_pair",
    "motorcycle",
    "noise",
    "picture",
    "probe",
    "tokens",
]
