"""Cases of resizing."""
