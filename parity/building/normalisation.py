"""Normalisations over batches, layers, groups, instances and channels."""
