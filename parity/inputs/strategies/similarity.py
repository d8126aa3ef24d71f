"""Cases of similarities."""
