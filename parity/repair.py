"""Makes a copy of a port in which the faults that were proven are undone, and verifies it.

    examine     every layer at fault, its cause, and the edit that was proven to undo it
    edit        a copy of the port with all of these edits (runners/edits.py)
    verify      the copy against the reference; an edit whose layer is no better for it is taken back

That is done again on the copy, until nothing is left that can be repaired: a fault may have hidden another one. The
original is never touched.
"""

import os
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from parity.artifacts.shipped import refuse_shipped
from parity.axes import Array
from parity.diagnosis import Diagnosis
from parity.errors import RepairError, UsageError
from parity.examination import Progress
from parity.files import place_of, write_whole
from parity.numbers import short
from parity.pairs import Input, Pair
from parity.report import Cause, Finding, Report, merge
from parity.runners.edits import Edit, edited_copy
from parity.verification import Verifier

ROUNDS = 3
"""How many times the copy is examined again: faults one behind the other are rare."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """What was changed in one layer of the port, and why."""

    layer: str
    port_layer: str
    cause: Cause


@dataclass(frozen=True, kw_only=True)
class Repaired:
    """The repaired copy: `model` (a `keras.Model`), what was changed, what is `left` at fault, its verification."""

    model: Any
    changes: tuple[Change, ...]
    left: tuple[Finding, ...]
    report: Report
    before: Report

    @property
    def whole(self) -> bool:
        """Whether every layer of the copy passes."""
        return self.report.passed


def repair(
    pair: Pair,
    inputs: Sequence[Input],
    modes: Sequence[str] = ("eager",),
    *,
    progress: Progress = lambda text, fraction: None,
) -> Repaired:
    """Undo every proven fault of the pair's port in a copy, and verify the copy on the same inputs in the same modes.

    The copy of a port that had to be opened is a flat functional model. Raises as `verify` does, UsageError for a port
    that is a file with an engine of its own, and PairError for one that Keras cannot copy. What has no proven remedy is
    in `left`.
    """
    if not inputs:
        raise UsageError("no inputs given; nothing can be repaired that nothing shows")
    refuse_shipped(pair.port, "repaired")
    current = pair = Verifier(pair).flat(inputs[0])
    before, faults = _examine(current, inputs, modes, progress, "examining the port", 0.0)
    inputs = [*inputs, _another(inputs[0])]
    report, changes, refused = before, dict[str, Change](), set[str]()
    for number in range(ROUNDS):
        usable = {layer: fault for layer, fault in faults.items() if fault.edit is not None and layer not in refused}
        if report.passed or not usable:
            break
        share = (number + 1) / (ROUNDS + 1)
        made, report, faults, failed = _improved(current, usable, inputs, modes, progress, share)
        refused |= failed
        ports = report.coverage.matched
        for layer in usable:
            if layer not in failed and layer not in changes:
                changes[layer] = Change(layer=layer, port_layer=ports.get(layer, layer), cause=usable[layer].cause)
        current = replace(pair, port=made)
    return Repaired(
        model=current.port, changes=tuple(changes.values()), left=_left(report), report=report, before=before
    )


def _another(given: Input) -> Input:
    """The input turned round: what a copy was given must hold for it as well, and not for one picture."""

    def turned(name: str, array: Array) -> Array:
        array = np.ascontiguousarray(array[..., ::-1])
        # Where a function is not straight, it shows on values of another size.
        return (array * np.float32(2.5)).astype(array.dtype) if array.dtype.kind == "f" else array

    return given.changed(turned, name=f"{given.name}, turned round", origin=f"{given.name}, to check the repair on")


def _improved(
    pair: Pair,
    usable: Mapping[str, Diagnosis],
    inputs: Sequence[Input],
    modes: Sequence[str],
    progress: Progress,
    share: float,
) -> tuple[Any, Report, Mapping[str, Diagnosis], set[str]]:
    """A copy with the edits that help: all of them; without those whose layers are still at fault with them."""
    chosen, failed = dict(usable), set[str]()
    while True:
        made = _edited(pair.port, chosen, failed)
        report, faults = _examine(replace(pair, port=made), inputs, modes, progress, "verifying the copy", share)
        worse = {layer for layer in chosen if layer in faults and _no_better(faults[layer], chosen[layer])}
        if not worse or not chosen:
            return made, report, faults, failed
        failed |= worse
        chosen = {layer: fault for layer, fault in chosen.items() if layer not in worse}


def _edited(port: Any, chosen: dict[str, Diagnosis], failed: set[str]) -> Any:
    """The copy under all edits; if they cannot be made together, under those that can be made one after the other."""
    edits = [fault.edit for fault in chosen.values() if fault.edit is not None]
    try:
        return edited_copy(port, reduce(Edit.__or__, edits, Edit()))
    except Exception:  # one of the edits does not fit: find out which, by adding them one by one
        merged = Edit()
        for layer, fault in list(chosen.items()):
            assert fault.edit is not None
            try:
                edited_copy(port, merged | fault.edit)
            except Exception:  # this one does not: its layer is left as it is, and said to be
                failed.add(layer)
                del chosen[layer]
            else:
                merged = merged | fault.edit
        return edited_copy(port, merged)


def _no_better(now: Diagnosis, was: Diagnosis) -> bool:
    """Whether a layer at fault is at least as far off as it was before."""
    before, after = was.cause.residual_before, now.cause.residual_before
    return before is None or after is None or after >= before


def _examine(
    pair: Pair, inputs: Sequence[Input], modes: Sequence[str], progress: Progress, what: str, share: float
) -> tuple[Report, Mapping[str, Diagnosis]]:
    """The report on all inputs, and each layer's first diagnosis."""
    verifier, reports, found = Verifier(pair), [], dict[str, Diagnosis]()
    for given in inputs:
        show: Callable[[str, float], None] = lambda text, fraction: progress(  # noqa: E731
            f"{what}: {text}", share + fraction / (ROUNDS + 1) / len(inputs)
        )
        report, faults = verifier.examine(given, modes, show)
        reports.append(report)
        for layer, fault in faults.items():
            found.setdefault(layer, fault)
    return merge(reports), found


def _left(report: Report) -> tuple[Finding, ...]:
    """What is still at fault, each layer once."""
    return tuple({finding.layer: finding for finding in reversed(report.findings)}.values())[::-1]


def save(repaired: Repaired, path: Path, pair: Pair, inputs: Sequence[Input], modes: Sequence[str]) -> Report:
    """Write the copy as a `.keras` file, whole or not at all, with the list of changes beside it.

    The file is loaded and verified before it takes its place; its report is returned. Raises RepairError where it
    cannot be written, or is not what was verified.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            written = Path(folder) / "copy.keras"
            report = _written(repaired, written, path, pair, inputs, modes)
            write_whole(path.with_suffix(".changes.md"), changes_in_words(repaired, pair.name, path.name))
            os.replace(written, place_of(path))
    except OSError as error:
        raise RepairError(f"cannot write {path}: {error.strerror or error}") from error
    return report


def _written(
    repaired: Repaired, written: Path, path: Path, pair: Pair, inputs: Sequence[Input], modes: Sequence[str]
) -> Report:
    """Save the copy, load it again and verify it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras's own, about NumPy
            repaired.model.save(written)
        report = merge([Verifier(replace(pair, port=written)).report(given, modes) for given in inputs])
    except OSError:
        raise
    except Exception as error:
        reason = str(error).splitlines()[0].replace(str(written), str(path))
        raise RepairError(f"the repaired copy cannot be saved as {path}: {reason}") from error
    if report.passed != repaired.report.passed:
        raise RepairError(f"the repaired copy is another one after saving and loading it; {path} is not written")
    return report


def changes_in_words(repaired: Repaired, pair: str, file: str) -> str:
    """The list of changes as Markdown."""
    lines = [f"# {file}: the port of {pair}, repaired", ""]
    for change in repaired.changes:
        cause = change.cause
        lines += [f"## {change.layer} (`{change.port_layer}`): {cause.slug}", "", f"{cause.detail}.", ""]
        lines += [f"- change: {cause.change}"] if cause.change else []
        lines += [
            f"- error of the layer: {_number(cause.residual_before)} before, {_number(cause.residual_after)} after"
        ]
        lines += [""]
    if not repaired.changes:
        lines += ["Nothing was changed.", ""]
    if repaired.left:
        lines += ["## Left as it is", ""]
        lines += [
            f"- {finding.layer} (`{finding.port_layer}`): {finding.cause.slug}, {finding.cause.detail}"
            for finding in repaired.left
        ]
        lines += [""]
    passed = "every layer passes" if repaired.whole else "not every layer passes"
    return "\n".join([*lines, f"Verified: {passed}.", ""])


def _number(value: float | None) -> str:
    return "unknown" if value is None else short(value)
