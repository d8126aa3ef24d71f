"""One layer of a port in a folder of its own: a short script, its data, and a few words, to send to whoever can help.

The script needs numpy, keras with tensorflow, and torch where it is there; nothing of parity.
"""

import re
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path

from parity.diagnosis.evidence import Evidence
from parity.errors import PairError
from parity.pairs import Input
from parity.report import Cause, Measure
from parity.repro.folder import Case, Repro, write_repro
from parity.verification import Verifier

__all__ = ["Case", "Command", "Repro", "of_findings", "of_layer", "write_repro"]

Progress = Callable[[str, float], None]
Command = Callable[[str, str, str], str]
"""The command that writes a layer again, given its name, the input's and the mode."""


def of_layer(
    verifier: Verifier, given: Input, mode: str, layer: str, folder: Path, progress: Progress, command: str = ""
) -> Repro:
    """Write one layer, by the name that either side has for it, on one input in one mode, into `folder`.

    Raises UsageError for a name that no layer has, PairError for a layer that could not be compared, or that no script
    can show without the port's own code.
    """
    written: list[Repro] = []

    def see(evidence: Evidence, measure: Measure, floor: float, cause: Cause | None) -> None:
        case = Case(
            pair=verifier.pair.name,
            input=given.name,
            evidence=evidence,
            measure=measure,
            floor=floor,
            cause=cause,
            command=command,
        )
        written.append(write_repro(case, folder))

    verifier.witness(given, mode, see, layer, progress)
    if not written:
        raise PairError(f"layer {layer!r} could not be compared on {given.name}: what reaches it is not finite")
    return written[-1]


def of_findings(
    verifier: Verifier,
    inputs: Sequence[Input],
    modes: Sequence[str],
    folder: Path,
    progress: Progress,
    command: Command = lambda layer, given, mode: "",
) -> tuple[list[Repro], list[str]]:
    """Write every layer at fault into a folder of its name, in the first input and mode in which it is.

    Gives what was written, and a sentence on each that no script can show.
    """
    writer = _Writer(verifier.pair.name, folder, command)
    for given in inputs:
        report = verifier.report(given, modes, progress)
        for mode in modes:
            found = {finding.port_layer for finding in report.findings if finding.mode == mode}
            if found:
                verifier.witness(given, mode, partial(writer.see, given.name, found), progress=progress)
    return list(writer.written.values()), list(writer.refused.values())


class _Writer:
    """Writes each layer once, as it is seen."""

    def __init__(self, pair: str, folder: Path, command: Command) -> None:
        self._pair = pair
        self._folder = folder
        self._command = command
        self.written: dict[str, Repro] = {}
        self.refused: dict[str, str] = {}

    def see(
        self,
        given: str,
        found: Collection[str],
        evidence: Evidence,
        measure: Measure,
        floor: float,
        cause: Cause | None,
    ) -> None:
        """Write a layer on the input called `given`, where it is among those `found`, the port's taps at fault."""
        layer = evidence.segment.layer
        if evidence.segment.tap.name not in found or layer in {*self.written, *self.refused}:
            return
        case = Case(
            pair=self._pair,
            input=given,
            evidence=evidence,
            measure=measure,
            floor=floor,
            cause=cause,
            command=self._command(layer, given, evidence.mode),
        )
        try:
            self.written[layer] = write_repro(case, self._folder / folder_name(layer))
        except PairError as reason:
            self.refused[layer] = str(reason)


def folder_name(layer: str) -> str:
    """A layer's name as that of a folder.

    >>> folder_name("attention.view#2")
    'attention.view_2'
    """
    return re.sub(r"[^\w.-]+", "_", layer)
