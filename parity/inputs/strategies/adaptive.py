"""Cases of adaptive poolings."""
