"""Resizing of maps: nearest, linear and cubic, by scale and to a size."""
