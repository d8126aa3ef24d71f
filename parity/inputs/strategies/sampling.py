"""Cases of sampling."""
