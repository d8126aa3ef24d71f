"""What is said of layers that differ, and of the machine on which they did."""

import os
import platform
from collections.abc import Collection, Iterable, Mapping, Set
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from parity.diagnosis import Diagnosis
from parity.judge import Judge
from parity.pairs import INPUT, Input
from parity.report import INHERITS, INTRODUCES, Cause, Finding, LayerResult, Measure, Run
from parity.switches import thread_count


class Findings:
    """The findings of one input, from what is known of it so far.

    `poisoned` names taps and inputs with values that are not finite, `unmatched` the taps without a counterpart;
    `diagnoses` has what is at fault in a layer, by layer and mode.
    """

    def __init__(
        self,
        given: Input,
        modes: tuple[str, ...],
        judge: Judge,
        poisoned: Set[str],
        unmatched: Collection[str],
        diagnoses: Mapping[tuple[str, str], Diagnosis],
    ) -> None:
        self._given = given
        self._modes = modes
        self._judge = judge
        self._poisoned = poisoned
        self._unmatched = unmatched
        self._diagnoses = diagnoses

    def findings(self, runs: Iterable[Run]) -> Iterable[Finding]:
        """Every layer that introduces error, in every run; an input that is not finite, before them."""
        for run in runs:
            if self._input_is_poisoned():
                yield self._input_not_finite(run.mode)
            for layer in run.layers:
                if layer.verdict == INTRODUCES and layer.introduced:
                    yield self.finding(layer, run.mode, layer.introduced, introduced=True)

    def first_divergence(self, runs: Iterable[Run]) -> Finding | None:
        """The first layer, in the reference's order, that leaves its limits end to end."""
        if self._input_is_poisoned():
            return self._input_not_finite(self._modes[0])
        order = {name: index for index, name in enumerate(self._judge.taps)}
        left = [
            (order[layer.layer], index, layer, run.mode)
            for index, run in enumerate(runs)
            for layer in run.layers
            if layer.verdict in (INTRODUCES, INHERITS)
        ]
        if not left:
            return None
        _, _, layer, mode = min(left, key=lambda item: item[:2])
        measure = layer.introduced if layer.verdict == INTRODUCES else layer.propagated
        assert measure is not None
        return self.finding(layer, mode, measure, introduced=layer.verdict == INTRODUCES)

    def finding(self, layer: LayerResult, mode: str, measure: Measure, *, introduced: bool) -> Finding:
        """A finding at a layer; if its segment holds an operation that the map names and the port lacks, at that."""
        missing = [name for name in layer.inside if name in self._unmatched]
        no_cause = Cause(slug="unknown", detail="no single layer introduces it; it has accumulated on the way here")
        return Finding(
            layer=missing[-1] if missing and introduced else layer.layer,
            port_layer=layer.port_layer,
            input=self._given.name,
            mode=mode,
            error=float("inf") if "not finite" in measure.note else measure.relative,
            floor=layer.floor,
            cause=diagnosis.cause if (diagnosis := self._diagnoses.get((layer.layer, mode))) else no_cause,
            introduced=introduced,
        )

    def _input_not_finite(self, mode: str) -> Finding:
        name, array = next((n, a) for n, a in self._given.arrays.items() if n in self._poisoned)
        bad = np.argwhere(~np.isfinite(array))
        where = tuple(int(i) for i in bad[0])
        what = "the input" if name == INPUT else name
        detail = f"{len(bad)} of {array.size} values of {what} are NaN or infinite, the first at {where}"
        return Finding(
            layer=name, port_layer=name, input=self._given.name, mode=mode, error=float("inf"), floor=1.0,
            cause=Cause(slug="non-finite", detail=detail),
        )  # fmt: skip

    def _input_is_poisoned(self) -> bool:
        return not self._poisoned.isdisjoint(self._given.arrays)


def environment(recorded: Mapping[str, str] | None = None) -> dict[str, str]:
    """Versions and the machine, for the record; `recorded` has those of engines that ran elsewhere."""
    return {
        "python": platform.python_version(),
        **{name: _version(name) for name in ("torch", "tensorflow", "keras", "numpy")},
        **(recorded or {}),
        "machine": platform.machine(),
        "threads": str(thread_count()),
        "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "default"),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
