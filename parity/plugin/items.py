"""The tests of a model: one per weighted layer, one per input and mode; with gradients one more per layer and input.

Their names are known before any run.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from parity.errors import ParityError
from parity.isolation import Source
from parity.isolation.journal import Described
from parity.plugin.asked import chosen
from parity.plugin.figures import figures_of
from parity.plugin.gated import Gate, Outcome
from parity.plugin.results import Results
from parity.plugin.verdicts import gradient_failure, input_gradient_failure, is_waived, layer_failure, network_failure
from parity.settings import RunSettings


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What there is to test: the weighted layers in order of registration, the inputs, the modes; gradients or not; and
    where an artifact is to go out, the gate that it has to pass."""

    layers: tuple[str, ...]
    inputs: tuple[Described, ...]
    modes: tuple[str, ...]
    gradients: bool = False
    gate: Gate | None = None

    @classmethod
    def of(cls, source: Source, settings: RunSettings, gate: Gate | None = None) -> "Plan":
        """The plan for a pair."""
        return cls(
            layers=tuple(source.weighted),
            inputs=tuple(source.inputs),
            modes=tuple(source.modes),
            gradients=settings.gradients,
            gate=gate,
        )

    def all_places(self) -> tuple[tuple[str, str], ...]:
        """Every (input, mode)."""
        return tuple((given.name, mode) for given in self.inputs for mode in self.modes)


def nodeid_of(pair: str) -> str:
    """What the ids of a pair's tests begin with: its name, without what pytest takes for a path or a part of an id.

    >>> nodeid_of("team/net::v2")
    'team_net_v2'
    """
    return re.sub(r"[^\w.+-]+", "_", pair)


class Model(pytest.Collector):
    """All tests of one model; `selected` are the ids asked for on the command line, empty for all; `listed_by` the
    command that lists what there is.

    Raises UsageError where one of them is no test's.
    """

    def __init__(
        self, *, plan: Plan, results: Results, selected: Sequence[str] = (), listed_by: str, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.plan = plan
        self.results = results
        self.tests = chosen(self._all(), selected, listed_by)

    def collect(self) -> Iterator[pytest.Item]:
        """The layers' tests, then the network's."""
        yield from self.tests

    def _all(self) -> Iterator["Test"]:
        for layer in self.plan.layers:
            yield self._item(Layer, f"layer[{layer}]", layer=layer)
        for given in self.plan.inputs:
            for mode in self.plan.modes:
                name = f"network[{given.name}-{given.size}-{mode}]"
                yield self._item(Network, name, input_name=given.name, mode=mode)
        yield from self._of_gate()
        if self.plan.gradients:
            for layer in self.plan.layers:
                yield self._item(LayerGradient, f"gradient[{layer}]", layer=layer)
            for given in self.plan.inputs:
                yield self._item(InputGradient, f"gradient[input-{given.name}-{given.size}]", input_name=given.name)

    def _of_gate(self) -> Iterator["Test"]:
        gate = self.plan.gate
        if gate is None:
            return
        for key in gate.limits():
            for given in self.plan.inputs:
                for mode in self.plan.modes:
                    name = f"limit[{key}-{given.name}-{given.size}-{mode}]"
                    yield self._item(TaskLimit, name, key=key, input_name=given.name, mode=mode)
        for kind, name in gate.conditions():
            yield self._item(Condition, f"{kind}[{name}]", looks_at=kind, condition=name)

    def _item(self, kind: "type[Test]", name: str, **about: str) -> "Test":
        # The id is given whole: pytest would take the brackets for a part of the name, and not find it again.
        nodeid: Any = f"{self.name}::{name}"
        made: Test = kind.from_parent(self, name=name, nodeid=nodeid, **about)
        return made


class Test(pytest.Item):
    """A test that looks at the reports of some inputs; they are verified when it is set up, if none did before."""

    __test__ = False

    def __init__(self, *, parent: Model, **kwargs: Any) -> None:
        super().__init__(parent=parent, **kwargs)
        self.plan = parent.plan
        self.results = parent.results

    def places(self) -> tuple[tuple[str, str], ...]:
        """The (input, mode) this test looks at."""
        raise NotImplementedError

    def problem(self) -> str | None:
        """What is wrong, in the words of a report; None where nothing is."""
        raise NotImplementedError

    def figures(self) -> list[tuple[str, object]]:
        """What a result file (`--junitxml`) keeps of the test beside its outcome: names and figures."""
        try:
            return [*figures_of(self.results.report(self.names()), self.layers(), self.places())]
        except ParityError:
            return []

    def layers(self) -> tuple[str, ...] | None:
        """The layers this test is about; None for the whole network."""
        return None

    def names(self) -> list[str]:
        """The inputs this test looks at."""
        return list(dict.fromkeys(name for name, _ in self.places()))

    def setup(self) -> None:
        """Verify what has not been."""
        self.results.obtain(self.names())

    def runtest(self) -> None:
        """Pass, or fail with the message alone: a traceback would lead into parity, not to the fault."""
        self.user_properties += self.figures()
        try:
            problem = self.problem()
        except ParityError as error:
            problem = str(error)
        if problem:
            pytest.fail(problem, pytrace=False)

    def reportinfo(self) -> tuple[Any, None, str]:
        """Where the test is: nowhere in a file."""
        return self.path, None, self.name


class Layer(Test):
    """One weighted layer, and the operations that belong to it, on every input in every mode."""

    def __init__(self, *, layer: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layer = layer

    def places(self) -> tuple[tuple[str, str], ...]:
        """All of them."""
        return self.plan.all_places()

    def layers(self) -> tuple[str, ...]:
        """Its own."""
        return (self.layer,)

    def problem(self) -> str | None:
        """A layer that introduces error, or was not compared; one that was waived by name is skipped."""
        report = self.results.report(self.names())
        if self.plan.gate:
            return _told(self.plan.gate.layer(report, self.plan.layers, self.layer))
        if is_waived(report, self.layer):
            pytest.skip(f"{self.layer} is waived by name")
        return layer_failure(report, self.plan.layers, self.layer)


class Network(Test):
    """The whole network on one input in one mode: its output, what was compared, and what no layer answers for."""

    def __init__(self, *, input_name: str, mode: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.input_name = input_name
        self.mode = mode

    def places(self) -> tuple[tuple[str, str], ...]:
        """Its own."""
        return ((self.input_name, self.mode),)

    def problem(self) -> str | None:
        """An output beyond its limits, incomplete coverage, or a fault outside of the weighted layers."""
        report = self.results.report(self.names())
        if self.plan.gate:
            return _told(self.plan.gate.network(report, self.plan.layers, self.input_name, self.mode))
        return network_failure(report, self.plan.layers, self.input_name, self.mode)


class TaskLimit(Network):
    """A limit of the task, from the gate's policy, on one input in one mode."""

    def __init__(self, *, key: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.key = key

    def problem(self) -> str | None:
        """An output that is off by more than the task allows."""
        assert self.plan.gate
        report = self.results.report(self.names())
        return _told(self.plan.gate.limit(report, self.key, self.input_name, self.mode))


class Condition(Test):
    """Something that the gate's policy asks for whatever the inputs: the artifact's size, a waiver that is in force."""

    def __init__(self, *, looks_at: str, condition: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.looks_at = looks_at
        self.condition = condition

    def places(self) -> tuple[tuple[str, str], ...]:
        """All of them."""
        return self.plan.all_places()

    def problem(self) -> str | None:
        """An artifact that is too large, a waiver that has expired."""
        assert self.plan.gate
        return _told(self.plan.gate.condition(self.results.report(self.names()), self.looks_at, self.condition))


def _told(outcome: Outcome) -> str | None:
    """Why a test fails, None where it passes; one that is skipped says so by itself."""
    if not outcome.fails and outcome.skips:
        pytest.skip(outcome.skips)
    return outcome.fails or None


class LayerGradient(Layer):
    """The gradients of one weighted layer, what it does in training mode, and whether it is trained at all."""

    def problem(self) -> str | None:
        """A gradient of its own that differs, or was not compared; one that was waived by name is skipped."""
        report = self.results.report(self.names())
        if is_waived(report, self.layer):
            pytest.skip(f"{self.layer} is waived by name")
        return gradient_failure(report, self.plan.layers, self.layer)


class InputGradient(Test):
    """The gradients on one input in every mode: what arrives at the input, and what no layer answers for."""

    def __init__(self, *, input_name: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.input_name = input_name

    def places(self) -> tuple[tuple[str, str], ...]:
        """Its input in every mode."""
        return tuple((self.input_name, mode) for mode in self.plan.modes)

    def problem(self) -> str | None:
        """A gradient that arrives changed, or a fault outside of the weighted layers."""
        report = self.results.report(self.names())
        return input_gradient_failure(report, self.plan.layers, self.input_name)
