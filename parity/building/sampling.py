"""Sampling of maps at places that are given."""
