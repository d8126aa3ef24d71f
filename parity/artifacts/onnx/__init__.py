"""ONNX files: what is in one, as steps in the axes of its inputs, which layers these are, and what runs it."""
