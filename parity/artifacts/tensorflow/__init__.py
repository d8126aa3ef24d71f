"""Graphs of TensorFlow, of frozen graphs and SavedModels: what is seen of one, its layers, what runs it."""
