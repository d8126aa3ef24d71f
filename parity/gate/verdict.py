"""A report, held against a policy: what fails, what is waived, what only follows from something else."""

import difflib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from parity.artifacts.shipped import FALLBACK
from parity.errors import UsageError
from parity.gate.checks import (
    ARTIFACT,
    COVERAGE,
    ENGINE,
    FAIL,
    FOLLOWS,
    LAYER,
    LIMIT,
    OUTPUT,
    PASS,
    PROCESS,
    UNKNOWN,
    WAIVED,
    WATCHING,
    Check,
    Figure,
)
from parity.gate.facts import MEGABYTE, Facts
from parity.gate.policy import KEYS, Policy, names_in
from parity.gate.waivers import Waivers
from parity.numbers import short, times
from parity.render.failures import coverage_failure, died_failure, failure, output_failure, watching_failure
from parity.render.sentences import unmatched_in
from parity.report import (
    DIED,
    INHERITS,
    INTRODUCES,
    NOT_COMPARED,
    Cause,
    Deviation,
    Finding,
    LayerResult,
    Measure,
    Report,
    Run,
)
from parity.report import PASS as AGREES
from parity.tolerance import fits

IN_SIZE = "@"
"""What is between the name of an input and its size, where there are several sizes."""
NO_DELEGATE = "no-delegate"
"""What a policy allows where TFLite's default delegate refuses the file."""
WIDTH = 68
"""Columns of what a check says: the same on every terminal, so that records of one thing are the same; on one of 80
columns they stand under a heading."""
ACCUMULATED = Cause(slug="unknown", detail="no single layer introduces it; it has accumulated on the way here")


def checks_of(
    report: Report, policy: Policy, waivers: Waivers, artifact: Facts, unfinished: str = ""
) -> tuple[list[Check], list[str]]:
    """What is to be said of a report under a policy and its waivers: its checks, and notes.

    Raises UsageError for a policy that speaks of layers or outputs that are not there, or limits what they do not have.
    """
    if not report.deaths and not unfinished:
        _refuse_unknown(report, policy)
        _refuse_flowless(report, policy)
    checks = [*_of_artifact(artifact, policy), *_of_engine(report, policy), *_of_processes(report, unfinished)]
    for run in report.runs:
        checks += _OfRun(report, run, policy, waivers).checks()
    if report.coverage.matched or not report.deaths:
        checks.append(_of_coverage(report, waivers))
    checks += waivers.checks()
    if not report.passed and not report.deaths and all(check.verdict == PASS for check in checks):
        # Nothing that the report does not pass may go out, whatever the reason: nothing compared is not a pass.
        says = f"{report.pair}: {'the report says no more' if report.runs else 'nothing was compared'}"
        checks.append(Check(kind=COVERAGE, name="runs", verdict=FAIL, says=says))
    warnings = dict.fromkeys(f"{run.input}: {warning}" for run in report.runs for warning in run.warnings)
    fallen = _fallback(report)
    return checks, [*([f"{fallen}, which the policy allows"] if fallen and _is_allowed(policy) else []), *warnings]


# -- the whole run ----------------------------------------------------------------------------------------------------


def _of_artifact(artifact: Facts, policy: Policy) -> Iterator[Check]:
    allowed = policy.artifact.size_mb
    if allowed is None:
        return
    figures = {"megabytes": artifact.size / MEGABYTE, "allowed": allowed}
    too_large = artifact.size > allowed * MEGABYTE
    says = f"{artifact.path} has {artifact.size / MEGABYTE:.1f} MB, and {allowed:g} MB are allowed" if too_large else ""
    yield Check(kind=ARTIFACT, name="size", verdict=FAIL if too_large else PASS, says=says, figures=figures)


def _of_engine(report: Report, policy: Policy) -> Iterator[Check]:
    """A failure where the engine as its users start it does not run the file, unless the policy allows that."""
    if (fallen := _fallback(report)) and not _is_allowed(policy):
        says = (
            f"{fallen}; a product that starts the engine as it is cannot run the file. Where yours starts it without "
            f'that delegate, say so in the policy: [artifact] allow = ["{NO_DELEGATE}"]'
        )
        yield Check(kind=ARTIFACT, name=ENGINE, verdict=FAIL, says=says)


def _fallback(report: Report) -> str:
    """The sentence on what was run otherwise than by default; "" where nothing was."""
    seen = report.settings.get("seen", "").split("; ")
    return next((note for note in seen if note.endswith(FALLBACK)), "")


def _is_allowed(policy: Policy) -> bool:
    return NO_DELEGATE in policy.artifact.allow


def _of_processes(report: Report, unfinished: str) -> Iterator[Check]:
    if report.deaths:
        yield Check(kind=PROCESS, name="end", verdict=UNKNOWN, says=died_failure(report, width=WIDTH))
    elif unfinished:
        yield Check(kind=PROCESS, name="end", verdict=UNKNOWN, says=unfinished)


def _of_coverage(report: Report, waivers: Waivers) -> Check:
    """Whether everything was compared, but for what the pair or a waiver leaves out by name."""
    coverage = report.coverage
    left = [name for _, names in unmatched_in(coverage) for name in names]
    waived = [name for name in left if waivers.of(name)]
    known = replace(report, verdict="", coverage=replace(coverage, waived=(*coverage.waived, *waived)))
    figures: dict[str, Figure] = {
        "matched": len(coverage.matched),
        "weighted": coverage.weighted,
        "unmatched": len(left),
        "fused": ", ".join(f"{name} into {layer}" for name, layer in coverage.fused.items()),
    }
    if not known.coverage.complete:
        says = coverage_failure(known, width=WIDTH)
        return Check(kind=COVERAGE, name="layers", verdict=FAIL, says=says, figures=figures)
    says = f"not compared, and waived: {', '.join(waived)}" if waived else ""
    return Check(kind=COVERAGE, name="layers", verdict=WAIVED if waived else PASS, says=says, figures=figures)


def _refuse_unknown(report: Report, policy: Policy) -> None:
    """Raise UsageError where the policy names what is not there: a misspelt exception would except nothing."""
    coverage = report.coverage
    layers = [name for run in report.runs for each in run.layers for name in (each.layer, *each.inside)]
    ports = [each.port_layer for run in report.runs for each in run.layers]
    left = [*coverage.unmatched_reference, *coverage.unmatched_port, *coverage.waived, *coverage.inside]
    outputs = [name for run in report.runs for name in run.deviations]
    known = {
        "tolerances": [*layers, *coverage.matched],
        "waivers": [*layers, *ports, *left, *outputs, *coverage.matched],
        "limits.outputs": outputs,
    }
    for table, patterns in names_in(policy).items():
        for pattern in patterns:
            if not any(fits(pattern, name) for name in known[table]):
                what = "output" if table == "limits.outputs" else "layer"
                near = difflib.get_close_matches(pattern, known[table], n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise UsageError(
                    f"the policy's {table} speak of {pattern!r}, and {report.pair} has no such {what}{hint}"
                )


def _refuse_flowless(report: Report, policy: Policy) -> None:
    """Raise UsageError where an end-point error is limited of something that has none."""
    flows = {name for run in report.runs for name, found in run.deviations.items() if found.epe_mean is not None}
    outputs = {name for run in report.runs for name in run.deviations}
    asked = [name for name, limit in policy.limits.outputs.items() if limit.end_point_error.bounds()]
    without = [name for name in asked if name not in flows]
    if policy.limits.end_point_error.bounds() and not flows:
        without = sorted(outputs)
    if without:
        raise UsageError(
            f"the policy limits the end-point error of {without[0]}, which is no map of two channels in {report.pair}"
        )


# -- one input in one mode --------------------------------------------------------------------------------------------


@dataclass
class _OfRun:
    """The checks of one run. `guilty` is the first layer at fault that nobody waives, `waived` one that is."""

    report: Report
    run: Run
    policy: Policy
    waivers: Waivers
    guilty: str = ""
    waived: str = ""

    def checks(self) -> list[Check]:
        """Layers, outputs, what watching changed, and the task's limits."""
        found = [self._layer(layer) for layer in self.run.layers]
        if self.run.verdict == DIED:
            return found
        for name, measure in (self.run.outputs or self._only_output()).items():
            found.append(self._output(name, measure))
        found += self._watching()
        found += self._limits()
        if self.run.verdict != AGREES and all(check.verdict == PASS for check in found):
            # No run that the report calls diverged may pass, whatever the reason.
            says = f"{self.report.pair} diverges on {self.run.input} ({self.run.mode}); the report says no more"
            found.append(self._check(OUTPUT, "all", FAIL, says))
        return found

    def _only_output(self) -> dict[str, Measure]:
        return {next(iter(self.run.deviations), "output"): self.run.output}

    def _check(
        self, kind: str, name: str, verdict: str, says: str = "", figures: Mapping[str, Figure] | None = None
    ) -> Check:
        return Check(
            kind=kind,
            name=name,
            verdict=verdict,
            input=self.run.input,
            mode=self.run.mode,
            says=says,
            figures=figures or {},
        )

    def _layer(self, layer: LayerResult) -> Check:
        verdict, says = self._of_layer(layer)
        return self._check(LAYER, layer.layer, verdict, says, _figures(layer))

    def _of_layer(self, layer: LayerResult) -> tuple[str, str]:
        """What came of a layer. The layers before it have been looked at."""
        if layer.verdict == AGREES:
            return PASS, ""
        measure = layer.introduced if layer.verdict == INTRODUCES else layer.propagated
        floors = measure.floors if measure else 0.0
        names = (layer.layer, layer.port_layer, *layer.inside)
        if layer.verdict != INTRODUCES and self.guilty:
            return FOLLOWS, f"what reaches it is at fault since {self.guilty}"
        if layer.verdict != INTRODUCES and self.waived:
            return WAIVED, f"what reaches it is at fault since {self.waived}, which is waived"
        waiver = self.waivers.of(*names, floors=floors)
        if waiver:
            self.waived = self.waived or layer.layer
            return WAIVED, f"{_off_by(floors)}; waived until {waiver.expires}: {waiver.why}"
        self.guilty = self.guilty or layer.layer
        return FAIL, self._failure(layer)

    def _failure(self, layer: LayerResult) -> str:
        findings = [each for each in self.report.findings if self._is_of(each, layer)]
        if layer.verdict == INHERITS and layer.propagated:
            findings = [_accumulated(layer, self.run)]
        if findings:
            report, run = self._as_asked()
            found = [replace(each, input=run.input) for each in findings]
            return "\n".join(failure(report, each, width=WIDTH) for each in found)
        where = f"input {self.run.input}, mode {self.run.mode}"
        why = layer.reason or "what reaches it is not finite"
        what = f"was not compared: {why}" if layer.verdict == NOT_COMPARED else "is at fault"
        return f"{self.report.pair} / {layer.layer}  {what}\n  {where}"

    def _as_asked(self) -> tuple[Report, Run]:
        """The report and the run as one command asks for them: of several sizes, the input's name and that size."""
        name, _, size = self.run.input.rpartition(IN_SIZE)
        command = self.report.settings.get("command", "")
        if not name or "--size " not in command:
            return self.report, self.run
        run = replace(self.run, input=name)
        settings = {**self.report.settings, "command": re.sub(r"--size \S+", f"--size {size}", command)}
        return replace(self.report, runs=(run,), settings=settings, verdict=""), run

    def _is_of(self, finding: Finding, layer: LayerResult) -> bool:
        here = (finding.input, finding.mode) == (self.run.input, self.run.mode)
        return here and finding.layer in (layer.layer, *layer.inside)

    def _output(self, name: str, measure: Measure) -> Check:
        figures: dict[str, Figure] = {
            "error": _number(measure),
            "allowed": measure.allowed,
            "floors": measure.floors,
            "compared": measure.compared,
        }
        if precision := next((layer.precision for layer in self.run.layers if layer.precision), ""):
            figures["precision"] = precision
        deviation = self.run.deviations.get(name)
        figures |= _units(deviation) if deviation else {}
        if measure.passed:
            return self._check(OUTPUT, name, PASS, figures=figures)
        waiver = None if self.guilty else self.waivers.of(name, floors=measure.floors)
        if waiver:
            says = f"{_off_by(measure.floors)}; waived until {waiver.expires}: {waiver.why}"
            return self._check(OUTPUT, name, WAIVED, says, figures)
        if self.waived and not self.guilty:
            says = f"what reaches it is at fault since {self.waived}, which is waived"
            return self._check(OUTPUT, name, WAIVED, says, figures)
        report, run = self._as_asked()
        says = output_failure(report, replace(run, output=measure), width=WIDTH)
        return self._check(OUTPUT, name, FAIL, says, figures)

    def _watching(self) -> Iterator[Check]:
        watching = self.run.watching
        says = "" if watching.within else watching_failure(*self._as_asked(), width=WIDTH)
        figures: dict[str, Figure] = {"changes": watching.relative}
        yield self._check(WATCHING, "outputs", PASS if watching.within else FAIL, says, figures)

    def _limits(self) -> Iterator[Check]:
        """The task's limits, of each output that has the figure. A waiver does not widen them."""
        for output, deviation in self.run.deviations.items():
            for figure, allowed in self.policy.limits.of(output).items():
                value: float | None = getattr(deviation, figure)
                if value is None:
                    continue
                name = f"{output}.{KEYS[figure]}"
                unit = " pixels" if figure.startswith("epe") else ""
                within = value <= allowed  # a NaN is not
                says = f"{name} is {short(value)}{unit}, and {short(allowed)} is allowed" if not within else ""
                yield self._check(LIMIT, name, PASS if within else FAIL, says, {"value": value, "allowed": allowed})


def _figures(layer: LayerResult) -> dict[str, Figure]:
    """A layer in numbers, as the record of a release keeps them."""
    figures: dict[str, Figure] = {"floor": layer.floor, "judged": layer.policy}
    if layer.precision:
        figures["precision"] = layer.precision
    if layer.verdict == NOT_COMPARED:  # whatever was measured says nothing
        return figures
    for name, measure in (("introduced", layer.introduced), ("propagated", layer.propagated)):
        if measure:
            figures |= {
                name: _number(measure),
                f"{name}_allowed": measure.allowed,
                f"{name}_floors": measure.floors,
                f"{name}_max_abs": measure.max_abs,
            }
            if layer.precision:
                figures |= {f"{name}_sqnr_db": measure.sqnr, f"{name}_sqnr_allowed_db": measure.sqnr_allowed}
    return figures


def _off_by(floors: float) -> str:
    return f"off by {times(floors)} the floor" if math.isfinite(floors) else "no number to compare"


def _number(measure: Measure) -> float:
    """An error; NaN where the measure is no number to compare, whatever its finite values are off by."""
    return math.nan if measure.note else measure.relative


def _units(deviation: Deviation) -> dict[str, Figure]:
    """An output in its own units."""
    found = {name: getattr(deviation, name) for name in ("rmse", "max_abs", "rms", "epe_mean", "epe_max")}
    return {name: value for name, value in found.items() if value is not None}


def _accumulated(layer: LayerResult, run: Run) -> Finding:
    """The first layer of a run that leaves its limits although none introduces anything."""
    return Finding(
        layer=layer.layer,
        port_layer=layer.port_layer,
        input=run.input,
        mode=run.mode,
        error=layer.propagated.relative if layer.propagated else float("nan"),
        floor=layer.floor,
        cause=ACCUMULATED,
        introduced=False,
    )
