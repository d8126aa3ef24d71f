"""A reference's runs in a file: all that judging and explaining ask of a reference, without torch.

For each input the file has the whole float32 value of every tap, a sample of each in float64, and how each was made. So
a port is verified against it as against the network itself; only a call cannot be made again, on other values.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from parity.axes import Array
from parity.converters.registry import numpy
from parity.errors import PairError, RecordingError
from parity.golden import REFERENCE
from parity.golden.file import File, Writer
from parity.golden.header import (
    SCHEMA,
    CallRecord,
    FunctionRecord,
    Header,
    InputRecord,
    RecordedFunction,
    TapRecord,
    digest,
    signature,
    signature_of,
)
from parity.golden.network import ModuleRecord, Record, modules, recorded, weights
from parity.golden.words import decoded, encoded
from parity.judge import centre_of
from parity.layouts import derived_for
from parity.pairs import Input, Pair
from parity.runners.calls import Call
from parity.runners.recorder import Sink
from parity.runners.taps import Tap, Trace
from parity.runners.torch_module import Ran, TorchModule, sampled

Show = Callable[[str, float], None]


class RunRecord(Record):
    """A run on an input: what its arrays are passed as, its taps in order, how they were made, its outputs' taps.

    `centre` is the digest of the centre on which the noise was measured, "" where it was on the whole input.
    """

    given: InputRecord
    names: dict[str, str]
    taps: tuple[TapRecord, ...]
    calls: dict[str, CallRecord]
    aliases: dict[str, str]
    output_taps: dict[str, str]
    centre: str


class ReferenceHeader(Header):
    """The metadata of a recorded reference."""

    modules: tuple[ModuleRecord, ...]
    functions: tuple[FunctionRecord, ...]
    runs: tuple[RunRecord, ...]


# -- written ----------------------------------------------------------------------------------------------------------


@dataclass
class Recording:
    """Records the runs of a reference with a Writer; weights and constants are written once each."""

    reference: TorchModule
    pair: Pair
    writer: Writer
    _functions: dict[int, int] = field(default_factory=dict)
    _called: list[Any] = field(default_factory=list)
    _records: list[FunctionRecord] = field(default_factory=list)
    _kept: dict[int, tuple[Any, str]] = field(default_factory=dict)
    """By identity the tensors that were written; they are held, so that no other can have their identity."""
    _sum: Any = field(default_factory=hashlib.sha256)

    def network(self) -> list[ModuleRecord]:
        """Write the weights; the modules."""
        module = self.reference.module
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            self._weight(name, tensor)
        return recorded(module, self._constant)

    @property
    def weights(self) -> str:
        """SHA-256 of all weights, their names, types and shapes."""
        return str(self._sum.hexdigest())

    @property
    def functions(self) -> tuple[FunctionRecord, ...]:
        """All that was called in the runs so far."""
        return tuple(self._records)

    def run(self, number: int, given: Input, show: Show) -> RunRecord:
        """Write the runs on an input, in float32 and float64."""
        at = f"runs/{number}"
        trace, calls = self.reference.taps(given), self.reference.calls(given)
        kept = {tap.name for tap in trace.taps}
        centre = centre_of(given, derived_for(self.pair, self.reference, given))
        show(f"{given.name}: in float64", 0.0)
        self._samples(f"{at}/exact", centre or given, float64=True)
        if centre is not None:
            self._samples(f"{at}/rounded", centre, float64=False)
        seen: dict[str, Array] = {}

        def keep(tap: Tap, value: Any) -> None:
            if tap.name in kept:
                show(f"{given.name}: {tap.name}", 0.5 + 0.5 * len(seen) / len(kept))
                self.writer.put(f"{at}/values/{tap.name}", value.numpy())
                seen[tap.name] = sampled(value)

        self.reference.run(given, keep)
        again = self.reference.sample(given).samples
        for name, sample in seen.items():
            if not np.array_equal(sample, again[name], equal_nan=True):
                raise PairError(f"the reference gives other values at {name!r} each time; nothing can be recorded")
        return RunRecord(
            given=InputRecord.of(given, self._constant),
            names=self.reference.names_of(given),
            taps=tuple(TapRecord.of(tap) for tap in trace.taps),
            calls={name: self._call(call) for name, call in calls.items()},
            aliases=trace.aliases,
            output_taps=trace.output_taps,
            centre=digest(centre.arrays) if centre is not None else "",
        )

    def _samples(self, at: str, given: Input, *, float64: bool) -> None:
        trace = self.reference.sample(given, float64=float64)
        for name, sample in trace.samples.items():
            self.writer.put(f"{at}/{name}", sample)
        for name, output in trace.outputs.items():
            self.writer.put(f"{at}-outputs/{name}", output)

    def _call(self, call: Call) -> CallRecord:
        return CallRecord(
            function=self._function(call.function),
            args=encoded(call.args, self._constant),
            kwargs=encoded(dict(call.kwargs), self._constant),
            reads=call.reads,
            part=call.part,
        )

    def _function(self, function: Any) -> int:
        if id(function) not in self._functions:
            self._functions[id(function)] = len(self._called)
            self._called.append(function)
            self._records.append(self._described(function))
        return self._functions[id(function)]

    def _described(self, function: Any) -> FunctionRecord:
        for number, module in enumerate(self.reference.module.modules()):
            if module is function:
                return FunctionRecord(module=number)
        name = getattr(function, "__name__", type(function).__name__)
        return FunctionRecord(name=name, signature=signature_of(function, self._constant))

    def _weight(self, name: str, tensor: Any) -> None:
        array = _plain(tensor)
        self._sum.update(f"{name} {array.dtype.str} {array.shape}\n".encode() + array.tobytes())
        self._kept[id(tensor)] = tensor, self.writer.put(f"weights/{name}", array)

    def _constant(self, tensor: Any) -> str:
        """The name of a tensor or an array in the file; one that is not there yet is written."""
        if id(tensor) not in self._kept:
            self._kept[id(tensor)] = tensor, self.writer.put(f"constants/{len(self._kept)}", _plain(tensor))
        return self._kept[id(tensor)][1]


def _plain(tensor: Any) -> Array:
    """A tensor's values in a type that NumPy has."""
    narrow = not isinstance(tensor, np.ndarray) and str(tensor.dtype) in ("torch.bfloat16", "torch.float8_e4m3fn")
    return numpy(tensor.float() if narrow else tensor)


# -- read -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class RecordedCall(Call):
    """How a tap was made, by the file."""

    read: tuple[str, ...]

    @cached_property
    def reads(self) -> tuple[str, ...]:
        """The taps it reads, in the order of its arguments."""
        return self.read

    @property
    def repeatable(self) -> bool:
        """It cannot be made again."""
        return False

    def again(self, values: Mapping[str, Any]) -> Any:
        """Nothing: it raises PairError."""
        raise PairError("the reference is a recording; a call of it cannot be made again on other values")


class RecordedReference:
    """A reference that was recorded: it has the values of the inputs it was recorded on, and no others.

    Raises RecordingError for a file that is not a whole recording of a reference.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = File(path)
        self.header = self._file.header(ReferenceHeader, SCHEMA, REFERENCE)
        self._file.sums = self.header.sums
        self._runs = {run.given.digest: (f"runs/{number}", run) for number, run in enumerate(self.header.runs)}
        self._centres = {run.centre: name for name, run in self._runs.values() if run.centre}
        self._calls: dict[str, Mapping[str, Call]] = {}

    @property
    def versions(self) -> Mapping[str, str]:
        """The versions of what the reference ran with."""
        return {"torch": f"{self.header.versions['torch']} (recorded)"}

    @property
    def inputs(self) -> list[Input]:
        """The inputs it was recorded on."""
        return [run.given.input(self._file.array) for run in self.header.runs]

    @property
    def module(self) -> Any:
        """The network as it was recorded, with its weights."""
        return self._modules[0]

    def named_modules(self) -> Iterator[tuple[str, Any]]:
        """The modules by their paths, as those of a torch module."""
        yield from self.module.named_modules()

    def names_of(self, given: Input) -> dict[str, str]:
        """The names of an input's arrays, and for each the parameter of `forward` that it was passed as."""
        return dict(self._run(given)[1].names)

    def taps(self, given: Input) -> Trace:
        """The taps of the run on an input, without samples."""
        return self._trace(self._run(given)[1])

    def calls(self, given: Input) -> Mapping[str, Call]:
        """How each tap was made in the run on an input."""
        at, run = self._run(given)
        if at not in self._calls:
            self._calls[at] = {name: self._call(record) for name, record in run.calls.items()}
        return self._calls[at]

    def run(self, given: Input, sink: Sink) -> Ran:
        """Show each tap's value to `sink` as it was made in float32."""
        at, run = self._run(given)
        outputs: dict[str, Any] = {}
        for tap in self._trace(run).taps:
            value: Any = self._file.array(f"{at}/values/{tap.name}")
            sink(tap, value)
            outputs |= {name: value for name, of in run.output_taps.items() if of == tap.name}
        return Ran(outputs=outputs, output_taps=run.output_taps, aliases=run.aliases, calls=self.calls(given))

    def values(self, given: Input, names: Collection[str]) -> dict[str, Array]:
        """The whole values of some taps in the run on an input, or of the input's own arrays."""
        at, run = self._run(given)
        own = {name: array for name, array in given.arrays.items() if name in names}
        return own | {t.name: self._file.array(f"{at}/values/{t.name}") for t in run.taps if t.name in names}

    def sample(self, given: Input, *, float64: bool = False) -> Trace:
        """A sample of each tap in the run on an input or on its centre, and the whole outputs."""
        key = digest(given.arrays)
        if key in self._centres:
            return self._sampled(self._centres[key], "exact" if float64 else "rounded")
        at, run = self._run(given)
        if float64 and run.centre:
            raise RecordingError(f"{self._file.path} has no float64 run of the whole of {given.name}; record it again")
        if float64:
            return self._sampled(at, "exact")
        trace = self._trace(run)
        ran = self.run(given, lambda tap, value: trace.samples.update({tap.name: sampled(value)}))
        return replace(trace, outputs=dict[str, Any](ran.outputs))

    def _sampled(self, at: str, which: str) -> Trace:
        trace = self._trace(self._at(at))
        samples = {tap.name: self._file.array(f"{at}/{which}/{tap.name}") for tap in trace.taps}
        outputs = {name: self._file.array(f"{at}/{which}-outputs/{name}") for name in trace.output_taps}
        return replace(trace, samples=samples, outputs=outputs)

    def _at(self, at: str) -> RunRecord:
        return next(run for name, run in self._runs.values() if name == at)

    def _run(self, given: Input) -> tuple[str, RunRecord]:
        found = self._runs.get(digest(given.arrays))
        if found is None:
            names = ", ".join(run.given.name for run in self.header.runs)
            raise RecordingError(f"{self._file.path} has no run on these values of {given.name!r}; it has {names}")
        return found

    def _trace(self, run: RunRecord) -> Trace:
        return Trace(
            taps=[tap.tap(self._weights(run.calls[tap.name])) for tap in run.taps],
            aliases=dict(run.aliases),
            output_taps=dict(run.output_taps),
        )

    def _weights(self, call: CallRecord) -> Callable[[], Sequence[Array]]:
        number = self.header.functions[call.function].module
        return tuple if number is None else lambda: weights(self._modules[number])

    def _call(self, record: CallRecord) -> RecordedCall:
        return RecordedCall(
            function=self._functions[record.function],
            args=decoded(record.args, self._file.array),
            kwargs=decoded(record.kwargs, self._file.array),
            part=record.part,
            read=record.reads,
        )

    @cached_property
    def _modules(self) -> list[Any]:
        return modules(self.header.modules, self._file.array)

    @cached_property
    def _functions(self) -> list[Any]:
        return list(self._each_function())

    def _each_function(self) -> Iterator[Any]:
        for each in self.header.functions:
            if each.module is not None:
                yield self._modules[each.module]
            else:
                known = signature(each.signature, self._file.array) if each.signature is not None else None
                yield RecordedFunction(each.name, known)
