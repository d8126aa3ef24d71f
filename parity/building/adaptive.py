"""Poolings to a size that is given, whether or not it divides the map."""
