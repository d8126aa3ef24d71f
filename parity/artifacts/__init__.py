"""Files that ship, run as they are by the engine that will run them, and seen layer by layer.

    a file ──► files, checks/ ──► an Engine and its Program ──► lifting ──► model ──► the pair's port
    (bytes)    (may it be opened)  (tensorflow/ tflite/ onnx/)   (a graph)   (values from the engine)

files.py      what kind of file it is, by looking at it; what is refused before anything is loaded
checks/       how each kind is looked at: its bytes, without any engine's parser
shipped.py    the file in a pair's port: its mode, what is not done with it
program.py    what a file computes: steps, tensors, constants, number grids; what an engine of one can do
tensorflow/   frozen graphs, through a Session, and SavedModels, by their signature  ┐
tflite/       .tflite, by the interpreter                                            │  a folder per engine:
onnx/         .onnx, by ONNX Runtime                                                 ┘  engine, rules, reading
lifting.py    a program as a graph of Keras layers, so that it can be aligned and explained
norms.py      layer norms that a file has in parts
merging.py    steps that can only be had together; biases.py: where a file has them; names.py: what taps are called
formats.py    which number formats a file has; precision.py: what they make of the reference
model.py      that graph as a port whose values all come from the artifact's own engine
port.py       an artifact in the place of a pair's port
"""
