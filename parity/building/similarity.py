"""How alike two tensors are."""
