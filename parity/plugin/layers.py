"""`pytest --model layers`: one test for each kind of layer and data format, under cases that Hypothesis draws.

The tests are items of pytest's that have a Hypothesis test as their `obj`, as functions do: so Hypothesis's own plugin
sees them as it sees those, with its seed, profiles, statistics and database.
"""

import secrets
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from parity import __version__
from parity.errors import ParityError, UsageError
from parity.plugin.asked import Asked, chosen, in_place_of_files
from parity.plugin.results import calm
from parity.settings import engine_versions, parse_modes

if TYPE_CHECKING:
    from parity.layers.kinds import Kind

LAYERS = "layers"
"""What `--model` is given for it, and what the ids of its tests begin with."""
EXAMPLES = 25
SHARE, AT_MOST = 5, 20
"""One in so many of the cases, and no more than that, is tried in a mode that compiles: that costs more than a case."""
FORMATS = ("channels_last", "channels_first")
TAKEN = ("examples", "mode", "data_format")
"""The options of parity that have a meaning here."""
SEED = "parity_layers_seed"
"""The key under which workers are told the seed."""
COMPARED, REFUSED = "parity.layers.compared", "parity.layers.refused"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What was asked for: how many cases of each kind, in which modes and data formats; None where nothing was said."""

    examples: int | None = None
    modes: tuple[str, ...] = ()
    formats: tuple[str, ...] = FORMATS

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "Wanted":
        """What the options of parity ask for. Raises UsageError, with the value, where they make no sense."""
        idle = [name for name, value in given.items() if value is not None and name not in TAKEN]
        if idle:
            option = f"--parity-{idle[0].replace('_', '-')}"
            instead = "; give --hypothesis-seed" if idle[0] == "seed" else ""
            raise UsageError(f"{option} has no meaning with --model {LAYERS}, whose cases are drawn{instead}")
        examples, data_format = given["examples"], given["data_format"]
        if examples is not None and examples < 1:
            raise UsageError(f"examples={examples}: at least one case of each kind is needed")
        if data_format is not None and data_format not in FORMATS:
            raise UsageError(f"unknown data format {data_format!r}; the known ones are {', '.join(FORMATS)}")
        return cls(
            examples=examples,
            modes=parse_modes(given["mode"] or ()),
            formats=FORMATS if data_format is None else (data_format,),
        )

    def again(self) -> str:
        """The options that ask for the same, but for the kind and the data format."""
        return f" --parity-examples {self.examples}" if self.examples is not None else ""


ODD_BUT_DRAWN = ("You are using a softmax over axis", "Using padding='same' with even kernel lengths")
"""What Keras and torch warn users of, and cases are drawn to have."""


@dataclass(eq=False)  # pluggy keeps plugins in sets
class LayersSession:
    """The hooks of a session with `--model layers`."""

    config: pytest.Config
    wanted: Wanted
    asked: Asked
    seed: int
    is_worker: bool
    compared: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    tried: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, config: pytest.Config, given: Mapping[str, Any]) -> "LayersSession":
        """The session the options ask for. Raises pytest.UsageError where they make no sense."""
        from parity.switches import allow_channels_first

        allow_channels_first()
        workerinput: Mapping[str, Any] | None = getattr(config, "workerinput", None)
        try:
            wanted = Wanted.of(given)
        except ParityError as error:
            raise pytest.UsageError(str(error)) from None
        asked = Asked(config, LAYERS)
        asked.hide_paths()
        seed = workerinput[SEED] if workerinput else secrets.randbelow(2**32)
        return cls(config=config, wanted=wanted, asked=asked, seed=seed, is_worker=workerinput is not None)

    # -- collection ---------------------------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> None:
        """Leave pytest nothing of its own to collect, whatever folder it is in."""
        self.asked.take()

    @pytest.hookimpl(tryfirst=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> pytest.CollectReport | None:
        """In place of files, the session holds one collector, the kinds."""
        if not isinstance(collector, pytest.Session):
            return None
        return in_place_of_files(collector, partial(self._kinds, collector), is_worker=self.is_worker)

    def _kinds(self, session: pytest.Session) -> "Kinds":
        nodeid: Any = LAYERS
        with calm():
            kinds: Kinds = Kinds.from_parent(session, name=LAYERS, nodeid=nodeid, session_of_layers=self)
        return kinds

    @pytest.hookimpl(tryfirst=True)
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """What stopped a worker from collecting stops the run, with the same sentence as in a single process."""
        if report.failed and not self.is_worker:
            raise pytest.UsageError(report.longreprtext)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell the workers of pytest-xdist the seed."""
        node.workerinput[SEED] = self.seed

    # -- what is said -------------------------------------------------------------------------------------------------

    def pytest_report_header(self) -> list[str]:
        """The settings in force."""
        versions = ", ".join(f"{name} {version}" for name, version in engine_versions().items())
        counts = ", ".join(f"{self.count(mode)} in {mode}" for mode in self.wanted.modes)
        return [
            f"parity {__version__}: layers, cases of each kind: {counts}; {self._seed_in_words()}",
            f"  {', '.join(self.wanted.formats)}; {versions}",
        ]

    def _seed_in_words(self) -> str:
        if self.config.getoption("--hypothesis-seed", None) is not None:
            return f"seed {self.config.getoption('--hypothesis-seed')}"
        return "no seed: the profile derandomizes" if self.seed_or_none() is None else f"seed {self.seed}"

    def count(self, mode: str) -> int:
        """How many cases of each kind: as asked for, or as the profile of Hypothesis that was asked for says; of what
        compiles a share, where it is not all that was asked for."""
        from hypothesis import settings

        profile = self.config.getoption("--hypothesis-profile", None)
        examples = self.wanted.examples or (settings().max_examples if profile else EXAMPLES)
        return examples if mode == "eager" or len(self.wanted.modes) == 1 else min(-(-examples // SHARE), AT_MOST)

    def seed_or_none(self) -> int | None:
        """The run's own seed; None where Hypothesis was given one, or a profile that needs none."""
        from hypothesis import settings

        given = self.config.getoption("--hypothesis-seed", None) is not None
        return None if given or settings().derandomize else self.seed

    def seed_of(self, number: int) -> int | str | None:
        """What a test's run of that number draws by: the first by the seed itself, the others by one made of it."""
        if not number:
            return self.seed_or_none()
        given = self.config.getoption("--hypothesis-seed", None)
        return f"{self.seed_or_none() if given is None else given} {number}"

    def again(self, test: "KindTest") -> str:
        """The command that runs a test on the same cases."""
        keys = f"'{test.kind.name} and {test.data_format}'" if "[" in test.name else test.kind.name
        given = self.config.getoption("--hypothesis-seed", None)
        seed = given if given is not None else self.seed_or_none()
        profile = self.config.getoption("--hypothesis-profile", None)
        options = f" --hypothesis-seed {seed}" if seed is not None else ""
        options += f" --hypothesis-profile {profile}" if profile else ""
        return f"pytest --model {LAYERS} -k {keys}{self.wanted.again()}{options}"

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count what a test has tried, in whatever process it was."""
        if report.when != "call":
            return
        for name, value in report.user_properties:
            for kept, prefix in ((self.compared, COMPARED), (self.refused, REFUSED)):
                if name.startswith(f"{prefix}."):
                    kept[name.removeprefix(f"{prefix}.")] += int(str(value))
        self.tried.add(report.nodeid)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """What was tried."""
        if not self.tried:
            return
        kinds = {nodeid.partition("::")[2].partition("[")[0] for nodeid in self.tried}
        counts = ", ".join(f"{count} in {mode}" for mode, count in self.compared.items()) or "nothing"
        refused = ", ".join(f"{kind} {count}" for kind, count in sorted(self.refused.items()))
        writer = self.config.get_terminal_writer()
        terminalreporter.section("parity")
        writer.line(f"{_counted(len(kinds), 'kind')} in {_counted(len(self.tried), 'test')}")
        writer.line(f"compared: {counts}; refused: {refused or 'nothing'}; {self._seed_in_words()}")


class Kinds(pytest.Collector):
    """All tests of kinds."""

    def __init__(self, *, session_of_layers: LayersSession, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.of = session_of_layers
        self.tests = chosen(self._all(), self.of.asked.of(LAYERS), self.of.asked.listed_by)

    def collect(self) -> Iterator[pytest.Item]:
        """Kind by kind, in the order of their names."""
        yield from self.tests

    def _all(self) -> Iterator["KindTest"]:
        from parity.layers.kinds import every_kind

        for kind in every_kind():
            for data_format in kind.formats:
                if len(kind.formats) > 1 and data_format not in self.of.wanted.formats:
                    continue
                name = f"{kind.name}[{data_format}]" if len(kind.formats) > 1 else kind.name
                nodeid: Any = f"{self.name}::{name}"
                made: KindTest = KindTest.from_parent(
                    self, name=name, nodeid=nodeid, kind=kind, data_format=data_format, of=self.of
                )
                yield made


class KindTest(pytest.Item):
    """One kind in one data format: its property as tests of Hypothesis, some for each mode, one after the other.

    `obj` is the first of them: by that Hypothesis's plugin knows what it has before it.
    """

    __test__ = False

    def __init__(self, *, kind: "Kind", data_format: str, of: LayersSession, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        from parity.layers.fire import Tally

        self.kind = kind
        self.data_format = data_format
        self.of = of
        self.tally: Tally = Tally()
        self.properties = list(self._properties())
        self.obj = self.properties[0]

    def _properties(self) -> Iterator[Callable[[], None]]:
        from hypothesis import settings

        from parity.layers.fire import phases, shares, under_fire

        explain = bool(self.config.getoption("--hypothesis-explain", False))
        modes = [each for each in self.kind.modes if each in self.of.wanted.modes]
        runs = [(each, *run) for each in modes for run in enumerate(shares(self.of.count(each)))]
        for mode, number, count in runs:
            yield under_fire(
                self.kind.name,
                self.data_format,
                mode,
                self.tally,
                parent=settings(max_examples=count, phases=phases(settings(), explain=explain)),
                with_seed=self.of.seed_of(number),
                key=self.nodeid,
            )

    def runtest(self) -> None:
        """Pass, or fail with the smallest case alone: a traceback would lead into parity and Hypothesis."""
        statistics: list[str] = []
        problem = ""
        try:
            for test in self.properties:
                try:
                    with calm():
                        for message in ODD_BUT_DRAWN:
                            warnings.filterwarnings("ignore", message)
                        test()
                finally:
                    statistics.append(getattr(self, "hypothesis_statistics", ""))
            problem = self._complaint()
        except Exception as error:
            problem = self._explained(error)
            if not problem:
                raise
        finally:
            self._keep_figures()
        self.hypothesis_statistics = "\n\n".join(filter(None, statistics))
        if problem:
            pytest.fail(problem, pytrace=False)

    def _explained(self, error: Exception) -> str:
        """What is to be said of what a property has raised; nothing where parity cannot say more than its traceback."""
        from hypothesis.errors import Unsatisfiable

        from parity.layers.words import failure

        # Hypothesis would write a patch of this file, with the case as an example.
        vars(self).pop("_hypothesis_failing_examples", None)
        failed = self.tally.failed
        if failed is not None and failed.error is error:
            with calm():
                return failure(failed, what="smallest case", next_line=f"next: {self.of.again(self)}")
        if isinstance(error, Unsatisfiable):
            return self._complaint() or f"{LAYERS} / {self.name}  nothing was compared: {error}"
        return ""

    def _complaint(self) -> str:
        complaint = self.tally.complaint()
        return f"{LAYERS} / {self.name}  {complaint}" if complaint else ""

    def _keep_figures(self) -> None:
        """What a result file keeps of the test, and the summary counts."""
        self.user_properties += [(f"{COMPARED}.{mode}", count) for mode, count in self.tally.compared.items()]
        if self.tally.refused:
            self.user_properties.append((f"{REFUSED}.{self.kind.name}", sum(self.tally.refused.values())))

    def reportinfo(self) -> tuple[Any, None, str]:
        """Where the test is: nowhere in a file."""
        return self.path, None, self.name


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count != 1 else ''}"
