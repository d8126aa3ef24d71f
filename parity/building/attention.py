"""Attention, and the layers of encoders that are made of it."""
