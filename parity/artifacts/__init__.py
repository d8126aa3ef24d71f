"""Files that ship, run as they are by the engine that will run them, and seen layer by layer.

    files.py     what kind of file it is, by looking at it; what is refused before anything is loaded
    program.py   what a file computes: steps, tensors, constants, number grids; and what an engine of one can do
    frozen.py    frozen graphs (.pb), through a Session            ┐
    saved.py     SavedModels                                       │  one file per format: bytes -> Engine
    tflite.py    .tflite                                           │
    onnx.py      .onnx                                             ┘
    lifting.py   a program as a graph of Keras layers, so that it can be aligned, explained and mended
    model.py     that graph as a port whose values all come from the artifact's own engine
    port.py      an artifact in the place of a pair's port
"""
