"""Cases of pads."""
