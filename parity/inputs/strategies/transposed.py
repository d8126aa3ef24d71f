"""Cases of transposed convolutions."""
