"""What is written for one layer: its script, the script's data, and a README of a few lines."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from parity.diagnosis.evidence import Evidence
from parity.examination import environment
from parity.numbers import short
from parity.report import Cause, Measure
from parity.repro.script import DATA, MODEL, SCRIPT, TEMPLATES, Script, script_of

README = "README.md"
FILES = (SCRIPT, DATA, MODEL, README)
LARGE = 200 << 20
"""A file of more bytes is hard to send."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One layer in one run, as it was judged: `measure` and `floor` are those of the report."""

    pair: str
    input: str
    evidence: Evidence
    measure: Measure
    floor: float
    cause: Cause | None = None
    command: str = ""


@dataclass(frozen=True, kw_only=True)
class Repro:
    """What was written. `shown` is the error that the script finds, None for one that is no number; `size` in bytes.

    `reproduces` says whether the layer, run on its own as the script does, is as right or wrong as in the report.
    """

    folder: Path
    layer: str
    port_layer: str
    lines: int
    size: int
    error: float
    shown: float | None
    passed: bool
    reproduces: bool
    notes: tuple[str, ...] = ()


def write_repro(case: Case, folder: Path) -> Repro:
    """Write the script of a layer, its data and a README into `folder`, which is made.

    Raises PairError for a layer that no script can show without the port's own code: a layer class of its own.
    """
    script = script_of(case.evidence, case.floor)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL).unlink(missing_ok=True)
    np.savez(folder / DATA, **dict(script.arrays))  # type: ignore[arg-type]
    (folder / SCRIPT).write_text(script.text, encoding="utf-8")
    if script.model is not None:
        script.model.save(folder / MODEL)
    (folder / README).write_text(_readme(case, script), encoding="utf-8")
    size = sum((folder / name).stat().st_size for name in FILES if (folder / name).exists())
    passed = script.found is not None and script.found.passed
    reproduces = passed == case.measure.passed
    return Repro(
        folder=folder,
        layer=case.evidence.segment.layer,
        port_layer=case.evidence.segment.tap.name,
        lines=len(script.text.splitlines()),
        size=size,
        error=case.measure.relative,
        shown=script.found.relative if script.found is not None else None,
        passed=case.measure.passed,
        reproduces=reproduces,
        notes=tuple(_notes(script, size, reproduces)),
    )


def _notes(script: Script, size: int, reproduces: bool) -> list[str]:
    notes = [script.reference_note] if script.reference_note else []
    if not reproduces:
        notes.append("the layer alone does not show it: in this mode it depends on the layers compiled with it")
    if size > LARGE:
        notes.append(f"the files have {size >> 20} MiB, which is much to attach; a smaller input makes them smaller")
    return notes


def _readme(case: Case, script: Script) -> str:
    cause, measure, around = case.cause, case.measure, environment()
    shown = "no number: it does not run, or makes another shape"
    if script.found is not None:
        shown = f"{short(script.found.relative)}, {'agrees' if script.found.passed else 'diverges'}"
    files = [SCRIPT, f"{DATA} (inputs, weights, expected output)", *([MODEL] if script.model is not None else [])]
    return TEMPLATES.get_template("README.md.jinja").render(
        layer=case.evidence.segment.layer,
        port_layer=case.evidence.segment.tap.name,
        pair=case.pair,
        input=case.input,
        mode=case.evidence.mode,
        error=measure.note or short(measure.relative),
        floor=short(case.floor),
        shown=shown,
        cause=f"{cause.slug} ({cause.detail})" if cause else "none: this layer is right",
        change=cause.change if cause else "",
        versions=", ".join(f"{name} {around[name]}" for name in ("torch", "tensorflow", "keras", "numpy")),
        files=", ".join(files),
        command=case.command,
    )
