"""Files that ship, run as they are by the engine that will run them, and seen layer by layer.

files.py             what kind of file it is, by looking at it; what is refused before anything is loaded
checks/              how each kind is looked at: its bytes, without any engine's parser
shipped.py           the file in a pair's port: its mode, what is not done with it
program.py           what a file computes: steps, tensors, constants, number grids; what an engine of one can do
frozen.py            frozen graphs (.pb), through a Session            ┐
saved.py             SavedModels, by their signature                   │  one file per format: bytes -> Engine
tflite.py            .tflite                                           │
onnx.py              .onnx                                             ┘
graph_engine.py      how graphs of TensorFlow are watched and cut; graph_reading.py: what is seen of one
lifting.py           a program as a graph of Keras layers, so that it can be aligned and explained
*_rules.py           which layer a format's operations are; names.py: what taps are called
model.py             that graph as a port whose values all come from the artifact's own engine
port.py              an artifact in the place of a pair's port
"""
