"""Golden traces: one side of a pair run once, where its engine is, and recorded, for where only the other engine is.

recording.py    records a side; puts a recording in the place of one
reference.py    the runs of a reference, and what stands for it when a port is verified against the file
network.py      its modules and weights
port.py         the runs of a port, and what stands for it
header.py       what the file says of itself; words.py, how calls and settings are written
file.py         the file

Importing this loads no engine: which one a recording makes needless is asked before any is loaded.
"""

from pathlib import Path

from parity.golden.file import File

REFERENCE, PORT = "reference", "port"
ENGINES = {REFERENCE: "torch", PORT: "tensorflow"}
"""The sides of a pair, and the engine that each needs."""


def side_of(path: Path) -> str:
    """Which side a recording is of, REFERENCE or PORT. Raises RecordingError for a file that is none."""
    return File(path).side
