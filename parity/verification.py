"""The one loop: every input of a pair is examined, in every mode, and what came of it is one report."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from parity.alignment import Alignment, with_map
from parity.artifacts.port import ArtifactPort, artifact_port
from parity.artifacts.shipped import Shipped, modes_of
from parity.axes import Array, Axes, in_order, move
from parity.converters import transfer
from parity.diagnosis import Diagnosis
from parity.errors import PairError, RefusedInputError, UsageError
from parity.examination import Examination, Progress, Subject, Witness
from parity.examination.matching import Kept
from parity.explanation import Explanation
from parity.golden.port import RecordedPort
from parity.golden.sides import recorded_port, recorded_reference
from parity.gradients import Differentiation
from parity.layouts import derived_for, in_format_of
from parity.lookup import both
from parity.pairs import Input, Pair
from parity.report import Report, merge
from parity.runners.flattening import flat_name, flattened
from parity.runners.keras_model import KerasModel
from parity.runners.ports import Port
from parity.runners.reference import Reference
from parity.runners.segments import Segment
from parity.runners.taps import MODES
from parity.runners.torch_module import TorchModule
from parity.tolerance import NoiseFloor, Policy

_DEFAULT_POLICY = NoiseFloor()


def verify(
    pair: Pair,
    inputs: Sequence[Input] = (),
    modes: Sequence[str] = MODES,
    *,
    policy: Policy = _DEFAULT_POLICY,
    device: str = "cpu",
    gradients: bool = False,
    progress: Progress = lambda text, fraction: None,
) -> Report:
    """Judge a port against its reference, layer by layer, on every input in every mode.

    Without `inputs` they are the pair's own. The reference runs on `device`, in torch's words ("cpu", "cuda"); the port
    runs where TensorFlow puts it. With `gradients` both are differentiated too, and taken one step in training mode;
    findings say what they are `about`. Raises UsageError for no inputs, an unknown mode, a device that is not there, or
    gradients of a recording; PairError where one side cannot be run as a pair; MapError for a layer map that names what
    does not exist. Values that differ never raise: they are in the report.
    """
    inputs = inputs or (pair.inputs() if callable(pair.inputs) else pair.inputs)
    if not inputs:
        raise UsageError("no inputs given; nothing compared is not a pass")
    verifier = Verifier(pair, policy, device, gradients=gradients)
    reports = []
    for index, given in enumerate(inputs):
        reports.append(verifier.report(given, modes, _share(progress, index, len(inputs), given.name)))
    progress("done", 1.0)
    return merge(reports)


class Verifier:
    """A pair made ready to run, and how it is judged: what all its inputs share (the float64 copy, compiled graphs,
    what answers to what).

    Neither side may change while a verifier of it is in use. Raises PairError where one cannot be run as a pair, and
    UsageError for gradients of a recording.
    """

    def __init__(
        self, pair: Pair, policy: Policy = _DEFAULT_POLICY, device: str = "cpu", *, gradients: bool = False
    ) -> None:
        for name, tolerance in pair.tolerances.items():
            if not tolerance.why:
                raise PairError(f"the tolerance of layer {name!r} has no why; a widened tolerance must say its reason")
        self.pair = pair = with_map(both(pair))
        self.policy = policy
        self.gradients = gradients
        self._apart: dict[str, frozenset[str]] = {}
        self._kept: Kept = {}
        self.reference: Reference = recorded_reference(pair) or TorchModule(pair.reference, device)
        self._port: Port | RecordedPort | ArtifactPort = (
            recorded_port(pair) or artifact_port(pair.port) or Port(_unwrapped(pair.port))
        )
        if isinstance(self._port, Port):
            self.pair = in_format_of(self.pair, self._port.model)
        if gradients and isinstance(self._port, ArtifactPort):
            raise UsageError(f"gradients cannot be compared with {self._port.path}: a file that ships has none")
        if gradients and not (isinstance(self.reference, TorchModule) and isinstance(self._port, Port)):
            raise UsageError("gradients cannot be compared with a recording: both networks have to run for that")

    @property
    def modes(self) -> tuple[str, ...]:
        """The modes in which the port can be run: those of Keras, or that of the file that it is."""
        return (self._port.mode,) if isinstance(self._port, ArtifactPort) else MODES

    @property
    def port(self) -> KerasModel:
        """What runs the port. Raises PairError for one that is opened for the inputs it is given, before the first."""
        return self._port.used

    def filled(self, given: Input) -> Pair:
        """The pair, its port filled with the reference's weights where the pair asks for that; it no longer does then.

        Which layer is filled from which is what the alignment finds on an input, and what `transfer` says beyond it.
        """
        if self.pair.transfer and isinstance(self._port, Port):
            more = self.pair.transfer if isinstance(self.pair.transfer, Mapping) else {}
            subject = self._unfilled(given)
            matched = Examination(subject, given, self.modes, lambda text, fraction: None).alignment.matched
            layers = {tap: subject.port.operation(name) for tap, name in matched.items()}
            transfer(self.reference.module, self._port.model, {**layers, **more})
            self.pair = replace(self.pair, transfer=False)
            self._port = Port(self._port.model)
        return self.pair

    def flat(self, given: Input) -> Pair:
        """The pair with a port that is a flat functional model: its own, or a copy of what it is opened to.

        Raises PairError for a port that Keras cannot copy.
        """
        port = self.subject(given).port
        if self._port.is_flat:
            return replace(self.pair, port=self._port.model)

        def flat(name: str | Sequence[str]) -> str | list[str]:
            return flat_name(port.aliases.get(name, name)) if isinstance(name, str) else [str(flat(n)) for n in name]

        layers: dict[Any, Any] = {key: flat(name) for key, name in (self.pair.layers or {}).items()}
        return replace(self.pair, port=flattened(port.model), layers=layers or None)

    def subject(self, given: Input) -> Subject:
        """What is examined on an input: both sides ready to run, a fresh port filled."""
        self.filled(given)
        return self._unfilled(given)

    def _unfilled(self, given: Input) -> Subject:
        port = self._port.used if self._port.is_flat else self._opened(given)
        return Subject(
            pair=self.pair,
            policy=self.policy,
            reference=self.reference,
            port=port,
            kept=self._kept,
            versions={} if isinstance(self._port, Port) else self._port.versions,
            notes=self._port.notes if isinstance(self._port, ArtifactPort) else (),
        )

    def _opened(self, given: Input) -> KerasModel:
        """What runs the port on inputs of these shapes."""
        axes, arrays = self._moved(given)
        try:
            return self._port.engine(arrays, self.reference.names_of(given), self.pair.input_map)
        except RefusedInputError as error:
            moved = {name: axes.of(name, array.ndim) for name, array in arrays.items()}
            name, (theirs, ours) = next(((n, o) for n, o in moved.items() if o[0] != o[1]), ("", ("", "")))
            if not name:
                raise
            raise PairError(
                f"{error}; it was given {name} as {ours}, which the reference takes as {theirs}: if it takes that "
                f"too, say so with Pair(axes={{{name!r}: ({theirs!r}, {theirs!r})}})"
            ) from error

    def _moved(self, given: Input) -> tuple[Axes, dict[str, Array]]:
        """The axes of the pair on an input, and its arrays in the port's layout."""
        axes = derived_for(self.pair, self.reference, given).axes
        return axes, {name: in_order(move(array, *axes.of(name, array.ndim))) for name, array in given.arrays.items()}

    def port_call(self, given: Input) -> tuple[Any, Input, Mapping[str, str]]:
        """The port's model, filled; the call of it with an input, in its own layout; and what it calls its inputs.

        Raises UsageError for a port that is no model in this process, PairError where it takes no such inputs.
        """
        self.filled(given)
        if not isinstance(self._port, Port):
            raise UsageError(
                f"the port of {self.pair.name} is a file that runs by itself; no model can be taken from it"
            )
        example, names = self._port.call(self._moved(given)[1], self.reference.names_of(given), self.pair.input_map)
        return self._port.model, example, names

    def segments(self, given: Input) -> tuple[Segment, ...]:
        """The port cut at the taps that answer to the reference's on this input. Raises as `verify` does."""
        return Examination(self.subject(given), given, self.modes, lambda text, fraction: None).segments

    def alignment(self, given: Input) -> Alignment:
        """Which tap of the port answers to which of the reference's on this input, and why. Raises as `verify` does."""
        return Examination(self.subject(given), given, self.modes, lambda text, fraction: None).alignment

    def report(
        self, given: Input, modes: Sequence[str] = MODES, progress: Progress = lambda text, fraction: None
    ) -> Report:
        """The report of one input. Raises as `verify` does."""
        return self.examine(given, modes, progress)[0]

    def explain(
        self, given: Input, mode: str, layer: str, progress: Progress = lambda text, fraction: None
    ) -> Explanation:
        """Everything there is to say of one layer, by the name that either side has for it, on one input in one mode.

        Raises UsageError for a name that no layer has, PairError for a layer that could not be compared.
        """
        verification = Examination(self.subject(given), given, self._known((mode,)), progress)
        verification.wanted = verification.matching.layer_called(layer)
        try:
            verification.report()
        finally:
            self._port.restore()
        if verification.explanation is None:
            raise PairError(f"layer {layer!r} could not be compared on {given.name}: what reaches it is not finite")
        return verification.explanation

    def witness(
        self,
        given: Input,
        mode: str,
        see: Witness,
        layer: str = "",
        progress: Progress = lambda text, fraction: None,
    ) -> None:
        """Have `see` look at one layer, by the name that either side has for it; without one, at each that is at fault.

        Raises UsageError for a name that no layer has.
        """
        apart = self._apart.get(given.name, frozenset())
        verification = Examination(self.subject(given), given, self._known((mode,)), progress, apart)
        verification.wanted = verification.matching.layer_called(layer) if layer else ""
        verification.witness = see
        try:
            verification.report()
        finally:
            self._port.restore()

    def examine(
        self, given: Input, modes: Sequence[str] = MODES, progress: Progress = lambda text, fraction: None
    ) -> tuple[Report, Mapping[str, Diagnosis]]:
        """The report of one input, and for each layer at fault its diagnosis in the first mode in which it is."""
        modes, known = self._known(modes), frozenset[str]()
        try:
            verification = Examination(self.subject(given), given, modes, progress)
            report = verification.report()
            while (odd := verification.not_corresponding()) - known:
                known = self._apart[given.name] = known | odd
                verification = Examination(self.subject(given), given, modes, progress, known)
                report = verification.report()
            if self.gradients:
                differentiation = Differentiation(verification, progress)
                runs = differentiation.runs()
                findings = (*report.findings, *differentiation.findings)
                report = replace(report, gradients=runs, findings=findings, verdict="")
        finally:
            self._port.restore()
        found: dict[str, Diagnosis] = {}
        for (layer, _), diagnosis in verification.diagnoses.items():
            found.setdefault(layer, diagnosis)
        return report, found

    def _known(self, modes: Sequence[str]) -> tuple[str, ...]:
        """The modes to run in: those asked for; of a file that ships its only one, unless another is asked for."""
        if isinstance(self._port, ArtifactPort):
            return modes_of(self._port.path, modes)
        unknown = [mode for mode in modes if mode not in MODES]
        if unknown or not modes:
            raise UsageError(
                f"mode {unknown[0]!r} is not known" if unknown else f"no mode given; the modes are {', '.join(MODES)}"
            )
        return tuple(dict.fromkeys(modes))


def _unwrapped(port: Any) -> Any:
    return port.path if isinstance(port, Shipped) else port


def _share(progress: Progress, index: int, count: int, name: str) -> Progress:
    """Progress within one of several inputs, as progress of the whole."""
    return lambda text, fraction: progress(f"{name}: {text}", (index + fraction) / count)
