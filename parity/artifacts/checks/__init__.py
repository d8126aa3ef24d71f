"""What is looked at in a file before an engine opens it: is it whole, does it ask for more than to compute.

    wire.py          protobuf messages, read as bytes: frozen graphs, SavedModels and ONNX models are made of them
    operations.py    the TensorFlow operations that only compute
    graphs.py        frozen graphs, SavedModels
    archives.py      .keras archives
    looks.py         what a file looks like that is of no accepted kind
    flatbuffers.py   buffers of tables: .tflite files are made of them
    tflite.py        .tflite
    onnx.py          .onnx, with the files beside it that have its weights

Nothing here imports an engine: an engine's own parser is part of what a file could attack.
"""
