"""Cases of what only changes shapes."""
