"""Pads of all modes, zero, constant, reflect, replicate and circular: they move values only."""
