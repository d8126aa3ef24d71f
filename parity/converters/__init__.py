"""Turns a torch layer's weights into its Keras layer's: one small function per layer kind, one registry.

Shapes never decide here: a converter names the axes of the kind it was written for, and anything it was not
written for is refused. `transfer` fills a whole port, every weight exactly once.
"""

from parity.converters import activation, attention, convolution, dense, normalisation, recurrent
from parity.converters.registry import Converter, convert, register
from parity.converters.transfer import transfer

__all__ = [
    "Converter",
    "activation",
    "attention",
    "convert",
    "convolution",
    "dense",
    "normalisation",
    "recurrent",
    "register",
    "transfer",
]
