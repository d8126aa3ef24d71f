"""Every converted kind of layer under property-based fire: cases drawn by hypothesis, tried in every data format."""

from parity.layers.trial import tried

__all__ = ["tried"]
