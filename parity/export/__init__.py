"""Files that ship, made of a pair's port: written whole or not at all, verified before they take their names.

formats.py    what can be written, and how each file is called
serving.py    a model of any form as one TensorFlow function of named tensors
samples.py    what an int8 file is calibrated on
writing.py    such a function as a file of each format
exporting.py  a pair's port as files: written, put through the gate, moved into place
page.py       what came of it, in words
"""

from parity.export.formats import FORMATS, Format, known
from parity.export.serving import Served, served
from parity.export.writing import write

__all__ = ["FORMATS", "Format", "Served", "known", "served", "write"]
