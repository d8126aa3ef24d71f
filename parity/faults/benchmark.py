"""The benchmark: faults, damage without a name, and faithful runs, drawn from one seed and put to the verification.

Single faults are stratified: every operator on every model where it applies, at drawn sites and sizes. What a fault
does is measured here, on the reference's values, before the verification is asked; a mutant that is equal in float64,
cannot be built or run, or changes too little to count, is dropped, counted, and drawn again.
"""

import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from parity.axes import Array
from parity.errors import UnknownModelError, UsageError
from parity.faults.baselines import alarms, blamed
from parity.faults.open_set import UNKNOWN
from parity.faults.planting import Generator, Operator, Planted, Site, operators
from parity.faults.scoring import CLEAN, COUNTS_FROM, OPEN, SEVERAL, SINGLE, Benchmark, Fault, Found, Outcome
from parity.faults.subjects import SIZES, Faulty, Subject, UnusableError
from parity.pairs import Input
from parity.repair import repair
from parity.report import PASS, Report, Run
from parity.runners.taps import MODES

Progress = Callable[[str, float], None]

TRIES = 8
"""How many sites are tried for one fault before it is taken not to apply."""
GRAPH = 0.15
"""The part of the faulty runs that are in graph mode; the others are eager."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What to run. `models` and `causes` narrow it down; with `causes` only single faults and the open set are left."""

    seed: int = 0
    models: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()
    quick: bool = False
    repair: bool = True

    def __post_init__(self) -> None:
        """Refuse what is not known. Raises UnknownModelError, UsageError."""
        for model in self.models:
            if model not in SIZES:
                raise UnknownModelError(f"no model of the benchmark is called {model!r}; it has {', '.join(SIZES)}")
        known = sorted({operator.slug for operator in operators().values()})
        for cause in self.causes:
            if cause not in known:
                raise UsageError(f"no operator plants the cause {cause!r}; there are {', '.join(known)}")
        if self.seed < 0:
            raise UsageError(f"seed={self.seed}: a seed must be 0 or more")

    @property
    def chosen_models(self) -> tuple[str, ...]:
        """The models to run on; the largest is left out of a quick run."""
        return self.models or tuple(name for name in SIZES if not (self.quick and name == "flownet"))

    def amounts(self, model: str) -> "Amounts":
        """How much of everything there is for one model."""
        narrowed = bool(self.causes)
        if self.quick:
            found = Amounts(sizes=1, singles=1, several=2, opens=2, inputs=1, every=3)
        elif model == "flownet":
            found = Amounts(sizes=1, singles=1, several=4, opens=4, inputs=16)
        else:
            found = Amounts(sizes=4, singles=2, several=11, opens=8, inputs=3)
        if not narrowed:
            return found
        return replace(found, several=0, inputs=0, every=1, opens=found.opens if UNKNOWN in self.causes else 0)


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """Of one model: sizes, single faults per operator, runs with several, open-set runs, inputs of clean runs per size.

    Only each `every`-th operator is used, another third for each model.
    """

    sizes: int
    singles: int
    several: int
    opens: int
    inputs: int
    every: int = 1


def run(wanted: Wanted, progress: Progress = lambda text, fraction: None) -> Benchmark:
    """Run the benchmark; interrupted, what is done by then is returned and says so."""
    result = Benchmark(seed=wanted.seed)
    began = time.monotonic()
    try:
        for index, model in enumerate(wanted.chosen_models):
            bench = _OfModel(wanted, model, result)

            def show(text: str, fraction: float, index: int = index) -> None:
                progress(text, (index + fraction) / len(wanted.chosen_models))

            bench.run(show)
    except KeyboardInterrupt:
        result.interrupted = True
    result.seconds = time.monotonic() - began
    return result


class _OfModel:
    """The benchmark on one model: size after size, so that one faithful pair is in memory at a time."""

    def __init__(self, wanted: Wanted, model: str, result: Benchmark) -> None:
        self.wanted, self.model, self.result = wanted, model, result
        self.amounts = wanted.amounts(model)
        self.sizes = self._sizes()
        self.waiting = self._assigned()

    def _sizes(self) -> list[tuple[int, ...]]:
        order = self.drawn("sizes").permutation(len(SIZES[self.model]))
        return [SIZES[self.model][int(i)] for i in order][: self.amounts.sizes]

    def _assigned(self) -> list[list[Operator]]:
        """The operators of each size: each of the single faults at another one where there are several."""
        waiting: list[list[Operator]] = [[] for _ in self.sizes]
        named = [each for each in operators().values() if each.slug != UNKNOWN]
        named = [each for each in named if not self.wanted.causes or each.slug in self.wanted.causes]
        start = int(self.drawn("operators").integers(self.amounts.every))
        for operator in named[start :: self.amounts.every]:
            first = int(self.drawn(operator.name).integers(len(self.sizes)))
            for number in range(self.amounts.singles):
                waiting[(first + number) % len(self.sizes)].append(operator)
        return waiting

    def drawn(self, *words: str) -> Generator:
        """A generator for what the words say: what is planted for one cause does not hang on what else is wanted."""
        return np.random.default_rng([self.wanted.seed, *(zlib.crc32(word.encode()) for word in (self.model, *words))])

    def run(self, show: Progress) -> None:
        """Run all that there is for the model."""
        for index, size in enumerate(self.sizes):
            seed = int(self.drawn(f"weights {size}").integers(1 << 20))

            def part(text: str, fraction: float, index: int = index) -> None:
                show(f"{self.model}: {text}", (index + fraction) / len(self.sizes))

            part("the faithful pair", 0.0)
            _AtSize(self, Subject(self.model, seed, size), index).run(part)

    def share(self, number: int, index: int) -> int:
        """What of a number falls to one of the sizes."""
        return len(range(index, number, len(self.sizes)))

    def put_off(self, operator: Operator, index: int) -> None:
        """Try an operator that found no place at one size at the next; after the last it is taken not to apply."""
        if index + 1 < len(self.sizes):
            self.waiting[index + 1].append(operator)


class _AtSize:
    """The benchmark on one model at one size."""

    def __init__(self, model: _OfModel, subject: Subject, index: int) -> None:
        self.model, self.subject, self.index = model, subject, index
        self.wanted, self.result = model.wanted, model.result
        self.sites = list(subject.ground.sites())
        self.used: set[tuple[str, int]] = set()
        self.done = 0

    def run(self, show: Progress) -> None:
        """Clean runs, then single faults, several, and the open set."""
        amounts, share = self.model.amounts, self.model.share
        waiting = self.model.waiting[self.index]
        several, opens = share(amounts.several, self.index), share(amounts.opens, self.index)
        total = amounts.inputs + len(waiting) + several + opens + 1

        def tick(text: str) -> None:
            show(text, min(self.done / total, 1.0))
            self.done += 1

        for given in islice(self.subject.noises(), amounts.inputs):
            tick("clean")
            self._clean(given)
        for operator in waiting:
            tick(operator.name)
            self._single(operator)
        for number in range(several):
            tick("several faults")
            self._several(self._drawn("several", number))
        for number in range(opens):
            tick("open set")
            self._open(self._drawn("open set", number))

    def _drawn(self, what: str, number: int = 0) -> Generator:
        return self.model.drawn(what, str(self.subject.size), str(number))

    # -- faults -------------------------------------------------------------------------------------------------------

    def _single(self, operator: Operator) -> None:
        generator = self._drawn(operator.name)
        for planted in self._planted(operator, generator):
            faulty = self._usable([planted])
            if faulty is not None:
                self._record(SINGLE, [(operator, planted)], faulty, generator)
                return
        self.model.put_off(operator, self.index)

    def _open(self, generator: Generator) -> None:
        unnamed = [each for each in operators().values() if each.slug == UNKNOWN]
        for _ in range(TRIES):
            operator = unnamed[int(generator.integers(len(unnamed)))]
            for planted in islice(self._planted(operator, generator), 1):
                faulty = self._usable([planted])
                if faulty is not None:
                    self._record(OPEN, [(operator, planted)], faulty, generator)
                    return

    def _several(self, generator: Generator) -> None:
        """Two or three faults in different layers."""
        named = [each for each in operators().values() if each.slug != UNKNOWN]
        for _ in range(TRIES):
            count, chosen = int(generator.integers(2, 4)), list[tuple[Operator, Planted]]()
            for operator in (named[int(i)] for i in generator.permutation(len(named))):
                planted = next(self._planted(operator, generator), None)
                if planted is not None and _apart(planted, [each for _, each in chosen]):
                    chosen.append((operator, planted))
                if len(chosen) == count:
                    break
            faulty = self._usable([planted for _, planted in chosen])
            if faulty is not None:
                self._record(SEVERAL, chosen, faulty, generator)
                return

    def _planted(self, operator: Operator, generator: Generator) -> Iterator[Planted]:
        """What the operator plants at one site after another, in a drawn order; no site twice."""
        tried = 0
        for place in (int(i) for i in generator.permutation(len(self.sites))):
            if (operator.name, place) in self.used or tried == TRIES:
                continue
            planted = operator(self.sites[place], self._of(operator, self.sites[place]))
            if planted is not None:
                tried += 1
                self.used.add((operator.name, place))
                yield planted

    def _of(self, operator: Operator, site: Site) -> Generator:
        """The generator of one fault: it depends on the seed and the place alone, so that each can be planted again."""
        words = (self.model.model, operator.name, site.layer, site.name)
        return np.random.default_rng([self.wanted.seed, self.subject.seed, *(zlib.crc32(w.encode()) for w in words)])

    def _usable(self, faults: Sequence[Planted]) -> Faulty | None:
        """The faulty copy; None, and counted, where it is dropped."""
        try:
            faulty = self.subject.faulty(faults)
        except UnusableError as reason:
            self.result.dropped[str(reason)] += 1
            return None
        if not min(faulty.effects) > COUNTS_FROM:
            self.result.dropped["changes ten floors or less"] += 1
            return None
        return faulty

    def _record(
        self, kind: str, planted: Sequence[tuple[Operator, Planted]], faulty: Faulty, generator: Generator
    ) -> None:
        began = time.monotonic()
        mode = "graph" if generator.random() < GRAPH else "eager"
        faults = tuple(
            Fault(operator=operator.name, slug=fault.slug, layers=layers, detail=fault.detail, effect=effect)
            for (operator, fault), layers, effect in zip(planted, faulty.layers, faulty.effects, strict=True)
        )
        outcome = self._outcome(kind, self.subject.given, mode, faults)
        try:
            report = faulty.verifier.report(self.subject.given, (mode,))
        except Exception as error:  # a verification that falls over is a result, and a bad one
            tried = kind == SINGLE and self.wanted.repair
            self._keep(replace(outcome, error=_in_a_line(error), repaired=False if tried else None))
            return
        outcome = self._compared(_told(outcome, report, report.runs[0]), report.runs[0], self.subject.values)
        if kind == SINGLE and self.wanted.repair:
            outcome = self._repaired(outcome, faulty)
        self._keep(replace(outcome, seconds=round(time.monotonic() - began, 2)))

    def _repaired(self, outcome: Outcome, faulty: Faulty) -> Outcome:
        try:
            repaired = repair(faulty.verifier.pair, [self.subject.given], modes=(outcome.mode,))
        except Exception as error:  # as above
            return replace(outcome, repaired=False, left=f"repair ended in {_in_a_line(error)}")
        bad = [layer.layer for run in repaired.report.runs for layer in run.layers if layer.verdict != PASS]
        agrees = bool(repaired.report.runs) and all(run.agrees for run in repaired.report.runs)
        return replace(outcome, repaired=agrees, left=f"{', '.join(bad[:3])} still differ" if bad else "")

    # -- faithful runs ------------------------------------------------------------------------------------------------

    def _clean(self, given: Input) -> None:
        try:
            report = self.subject.verifier.report(given, MODES)
        except Exception as error:  # as above
            for mode in MODES:
                self._keep(replace(self._outcome(CLEAN, given, mode, ()), error=_in_a_line(error)))
            return
        values = self.subject.values_on(given)
        for each in report.runs:
            outcome = _told(self._outcome(CLEAN, given, each.mode, ()), report, each)
            self._keep(self._compared(outcome, each, values))

    def _outcome(self, kind: str, given: Input, mode: str, faults: tuple[Fault, ...]) -> Outcome:
        subject = self.subject
        return Outcome(
            kind=kind,
            model=subject.model,
            seed=subject.seed,
            size=subject.size,
            mode=mode,
            input=given.origin,
            faults=faults,
        )

    def _compared(self, outcome: Outcome, run: Run, values: Mapping[str, Array]) -> Outcome:
        """The outcome with what the baselines would have said."""
        blame = blamed(run, values, self.subject.reads)
        return replace(outcome, blamed=blame, alarms=alarms(run, blame))

    def _keep(self, outcome: Outcome) -> None:
        self.result.outcomes.append(outcome)


def _apart(planted: Planted, others: Sequence[Planted]) -> bool:
    """Whether no layer is at fault twice."""
    return all(not set(planted.layers) & set(other.layers) for other in others)


def _told(outcome: Outcome, report: Report, run: Run) -> Outcome:
    """The outcome with what the verification says of one of its runs, in the reference's order."""
    found = tuple(Found.of(finding) for finding in report.findings if finding.mode == run.mode)
    return replace(outcome, found=found, passed=run.verdict == PASS and not found)


def _in_a_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:160]}"
