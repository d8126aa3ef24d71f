"""Cases of attention and of encoder layers."""
