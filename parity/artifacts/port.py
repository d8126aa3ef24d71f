"""An artifact in the place of a pair's port."""
