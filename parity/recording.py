"""Records one side of a pair in a file, where its engine is: a golden trace for where only the other engine is."""

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from parity.artifacts.shipped import refuse_shipped
from parity.axes import Array, in_order, move
from parity.ends import all_paired
from parity.errors import PairError, UsageError
from parity.examination import Examination, Progress
from parity.frameworks import is_loaded
from parity.golden import ENGINES, REFERENCE
from parity.golden.file import Writer, written
from parity.golden.header import Header
from parity.golden.port import PortHeader, PortRecording
from parity.golden.reference import Recording, ReferenceHeader
from parity.golden.sides import recorded_reference
from parity.lookup import resolved
from parity.pairs import Input, Pair
from parity.runners.keras_model import KerasModel
from parity.runners.ports import Port
from parity.runners.taps import MODES
from parity.runners.torch_module import TorchModule
from parity.verification import Verifier


def record(
    pair: Pair,
    inputs: Sequence[Input],
    path: str | Path,
    *,
    side: str = REFERENCE,
    modes: Sequence[str] = MODES,
    settings: Mapping[str, Any] | None = None,
    command: str = "",
    show: Progress = lambda text, fraction: None,
) -> Header:
    """Run one side of a pair on inputs and record it in a file, whole or not at all; what the file says of itself.

    `side` is "reference" or "port"; a port is run in each of `modes`. `settings` and `command` say how it was asked
    for. Raises UsageError for no inputs or an unknown side, PairError for a side that cannot be run or that gives other
    values each time, RecordingError where the file cannot be written.
    """
    if not inputs or side not in ENGINES:
        raise UsageError("no inputs given; nothing can be recorded" if not inputs else f"side {side!r} is not known")
    said = {"side": side, "pair": pair.name, "settings": dict(settings or {}), "command": command}
    with written(Path(path)) as (writer, text):
        if side == REFERENCE:
            header: Header = _reference(pair, inputs, writer, show, said)
        else:
            refuse_shipped(pair.port, "recorded")
            header = _port(pair, inputs, writer, modes, show, said)
        text.append(header.model_dump_json(by_alias=True))
    return type(header).model_validate_json(text[0])


def summary(header: Header) -> str:
    """What was recorded, in a line."""
    runs: Sequence[Any] = getattr(header, "runs", ())
    names = ", ".join(run.given.name for run in runs)
    modes = f" in {', '.join(runs[0].modes)}" if isinstance(header, PortHeader) else ""
    taps = header.graphs[0].taps if isinstance(header, PortHeader) else runs[0].taps
    return f"recorded: the {header.side} of {header.pair}, {len(taps)} values, on {names}{modes}"


def _reference(
    pair: Pair, inputs: Sequence[Input], writer: Writer, show: Progress, said: Mapping[str, Any]
) -> ReferenceHeader:
    reference = TorchModule(resolved(pair.reference, f"the reference of {pair.name}"))
    recording = Recording(reference=reference, pair=pair, writer=writer)
    modules = recording.network()
    runs = [recording.run(number, given, _part(show, number, len(inputs))) for number, given in enumerate(inputs)]
    return ReferenceHeader(
        **said,
        **_versions("torch"),
        weights=recording.weights,
        sums=writer.sums,
        modules=tuple(modules),
        functions=recording.functions,
        runs=tuple(runs),
    )


def _port(
    pair: Pair,
    inputs: Sequence[Input],
    writer: Writer,
    modes: Sequence[str],
    show: Progress,
    said: Mapping[str, Any],
) -> PortHeader:
    recording = PortRecording(writer=writer)
    runs = []
    for number, (given, port, arrays) in enumerate(_engines(pair, inputs)):
        runs.append(recording.run(number, given, port, arrays, modes, _part(show, number, len(inputs))))
        port.restore()
    return PortHeader(
        **said,
        **_versions("tensorflow", "keras"),
        weights=recording.weights,
        sums=writer.sums,
        same=recording.same,
        graphs=tuple(recording.graphs),
        runs=tuple(runs),
    )


def _engines(pair: Pair, inputs: Sequence[Input]) -> Iterator[tuple[Input, KerasModel, Mapping[str, Array]]]:
    """For each input what runs the port on it, and the port's arrays.

    Where the reference can be asked, it says which axes an input has and which of the port's it goes to; else the
    pair's declarations and the order do. Raises PairError for a port that a reference is to fill which is not there.
    """
    if is_loaded("torch") or recorded_reference(pair) is not None:
        verifier = Verifier(pair)
        for given in inputs:
            examination = Examination(verifier.subject(given), given, MODES, lambda text, fraction: None)
            yield given, examination.subject.port, examination.inputs_of_port()
        return
    if pair.transfer:
        raise PairError(
            f"the port of {pair.name} starts with fresh weights and is filled with the reference's, which needs torch; "
            "give the recording of the reference with --against"
        )
    port = Port(resolved(pair.port, f"the port of {pair.name}"))
    for given in inputs:
        arrays = {name: in_order(move(array, *pair.axes.of(name, array.ndim))) for name, array in given.arrays.items()}
        names = dict.fromkeys(arrays, "")
        engine = port.engine(arrays, names, pair.input_map)
        others = {name: engine.other_names(name) for name in engine.inputs}
        engine.feeds = all_paired(names, others, pair.input_map, "input")
        yield given, engine, arrays


def _part(show: Progress, number: int, count: int) -> Progress:
    return lambda text, fraction: show(text, (number + fraction) / count)


def _versions(*engines: str) -> dict[str, Any]:
    found = {}
    for name in ("parity", "numpy", *engines):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return {"parity": found.pop("parity"), "versions": found}
