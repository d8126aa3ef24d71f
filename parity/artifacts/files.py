"""What kind of artifact a file is, found by looking into it, never by trusting its name."""

from pathlib import Path

KERAS, SAVED_MODEL, FROZEN, TFLITE, ONNX = "keras", "saved_model", "pb", "tflite", "onnx"
"""Kinds of artifacts; what they are called in options, reports and as the mode of a run."""
