"""One kind under fire: Hypothesis draws its cases, each is tried, and the smallest that fails is what is shown."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from hypothesis import HealthCheck, Phase, given, reject, seed, settings

from parity.errors import BuilderError, ConversionError
from parity.inputs.strategies import Case, cases
from parity.layers.trial import Outcome, Trial

REFUSED_AT_MOST = 0.2
"""The share of a kind's draws that its builder may refuse: what is refused often is not tried."""


AT_ONCE = 9
"""How many cases one run of Hypothesis draws. After ten it makes five out of each by copying parts of it from one place
to another: of 25 cases in one run 13 hardly differ from the one before, and of 200 five in six."""


class DiffersError(AssertionError):
    """The port does not compute what torch does."""


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A case that fails: in which data format and mode, what came of its outputs, or what the port raised instead."""

    case: Case
    data_format: str
    mode: str
    error: BaseException
    trial: Trial | None = None
    outcomes: dict[str, Outcome] = field(default_factory=dict)


@dataclass
class Tally:
    """What came of the cases of one kind in one data format: compared, by mode; refused, by the sentence."""

    compared: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    failed: Failed | None = None
    """The last that failed: once Hypothesis has shrunk it, the smallest."""

    def try_one(self, case: Case, data_format: str, mode: str) -> None:
        """Try a case. Raises DiffersError, or what the port raises; for one that is refused what Hypothesis takes as
        "draw another"."""
        trial, outcomes = None, {}
        try:
            trial = Trial(case, data_format)
            outcomes = trial.outcomes(mode)
            if not outcomes:
                raise DiffersError("torch gives nothing that could be compared")
            off = [name for name, outcome in outcomes.items() if not outcome.passed]
            if off:
                raise DiffersError(f"{', '.join(off)} differs")
        except Exception as error:
            if isinstance(error, ConversionError) and not isinstance(error, BuilderError):
                self.refused[str(error)] += 1
                reject()
            self.failed = Failed(
                case=case, data_format=data_format, mode=mode, error=error, trial=trial, outcomes=outcomes
            )
            raise
        self.compared[mode] += 1

    def complaint(self) -> str:
        """What is wrong with what was tried, where every case that was compared has passed: too little was."""
        refused = sum(self.refused.values())
        drawn = refused + sum(self.compared.values())
        if drawn == refused:
            return f"nothing was compared: {self._refusals() or 'no case was drawn'}"
        if refused > REFUSED_AT_MOST * drawn:
            return f"{refused} of {drawn} cases were refused, which is too many: {self._refusals()}"
        return ""

    def _refusals(self) -> str:
        return "; ".join(f"{sentence} ({count}x)" for sentence, count in self.refused.most_common(3))


def shares(count: int) -> list[int]:
    """How many cases each run draws of so many.

    >>> shares(25), shares(5)
    ([9, 8, 8], [5])
    """
    runs = -(-count // AT_ONCE)
    return [len(range(number, count, runs)) for number in range(runs)]


def under_fire(
    kind: str, data_format: str, mode: str, tally: Tally, *, parent: settings, with_seed: int | str | None, key: str
) -> Callable[[], None]:
    """The property that a kind's port computes what torch does, as a test of Hypothesis without arguments.

    `key` is what its failing examples are kept under in Hypothesis's database. Without a seed Hypothesis has its own.
    """

    def is_exact(case: Case) -> None:
        tally.try_one(case, data_format, mode)

    # As Hypothesis's own plugin does for parametrized tests: the source alone is the same for all kinds.
    is_exact._hypothesis_internal_add_digest = f"{key}-{mode}".encode()  # type: ignore[attr-defined]
    test: Callable[[], None] = given(cases(kind))(is_exact)
    if with_seed is not None:
        test = seed(with_seed)(test)
    # After the seed, which by itself would leave the database out: what has failed is to be tried first all the same.
    usual = settings(parent, deadline=None, report_multiple_bugs=False, suppress_health_check=list(HealthCheck))
    return usual(test)


def phases(parent: settings, *, explain: bool) -> tuple[Phase, ...]:
    """The phases of a run: Hypothesis's explanations are of Python's lines, and cost far more than the cases."""
    return tuple(phase for phase in parent.phases if explain or phase is not Phase.explain)
