"""Cases of poolings over windows."""
