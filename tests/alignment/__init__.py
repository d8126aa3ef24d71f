"""Tests of the parts of alignment, and of what it must see through."""
