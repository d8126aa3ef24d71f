"""Transposed convolutions: groups, output padding and dilation included."""
