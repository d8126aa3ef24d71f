"""Recurrent layers: of several layers, of both directions, with the batch first or second."""
