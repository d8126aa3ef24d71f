"""Gradients and training mode, layer by layer: a port that computes the same may still learn something else.

A detached branch, a frozen layer, a momentum that is not 1 - m do not show in any value; they show when the port is
fine-tuned.
"""

from parity.gradients.examined import Differentiation

__all__ = ["Differentiation"]
