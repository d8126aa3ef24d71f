"""Records one side of a pair, and puts a recording in the place of that side."""

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from parity.errors import RecordingError
from parity.golden import REFERENCE
from parity.golden.file import written
from parity.golden.reference import RecordedReference, Recording, ReferenceHeader
from parity.pair import Input, Pair
from parity.runners.torch_module import TorchModule

__all__ = ["REFERENCE", "RecordedReference", "record_reference", "recorded_reference"]

ENDING = ".safetensors"
"""A side of a pair that is the path of such a file is a recording."""

Show = Callable[[str, float], None]


def recorded_reference(pair: Pair) -> RecordedReference | None:
    """The recording that a pair has for its reference, if it is one. Raises RecordingError for one of another pair."""
    side = pair.reference
    recording = RecordedReference(Path(side)) if isinstance(side, (str, Path)) and _names_one(side) else side
    if not isinstance(recording, RecordedReference):
        return None
    if recording.header.pair != pair.name:
        raise RecordingError(f"{recording.path} is a recording of {recording.header.pair}, not of {pair.name}")
    return recording


def _names_one(path: str | Path) -> bool:
    return Path(path).suffix == ENDING


def record_reference(
    pair: Pair,
    inputs: Sequence[Input],
    path: Path,
    *,
    settings: Mapping[str, Any] | None = None,
    command: str = "",
    show: Show = lambda text, fraction: None,
) -> ReferenceHeader:
    """Run the reference of a pair on inputs and record it in `path`, whole or not at all; what the file says.

    `settings` and `command` say how it was asked for. Raises PairError for a reference that cannot be run or that gives
    other values each time, RecordingError where the file cannot be written.
    """
    with written(path) as (writer, text):
        recording = Recording(reference=TorchModule(pair.reference), pair=pair, writer=writer)
        modules = recording.network()
        runs = []
        for number, given in enumerate(inputs):
            share = lambda words, done, n=number: show(words, (n + done) / len(inputs))  # noqa: E731
            runs.append(recording.run(number, given, share))
        header = ReferenceHeader(
            side=REFERENCE,
            pair=pair.name,
            parity=version("parity"),
            versions={name: version(name) for name in ("torch", "numpy")},
            settings=dict(settings or {}),
            command=command,
            weights=recording.weights,
            sums=writer.sums,
            modules=tuple(modules),
            functions=recording.functions,
            runs=tuple(runs),
        )
        text.append(header.model_dump_json(by_alias=True))
    return header
