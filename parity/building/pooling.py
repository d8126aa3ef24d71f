"""Poolings over windows: maximum, average and power average."""
