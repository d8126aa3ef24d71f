"""A gradient that one side stops is found at the layer that stops it, or lacks the stop."""

import numpy as np
import pytest
from learners import Gated, differentiated, gated, image, pair_of, told

from parity.frameworks import keras, torch
from parity.pairs import Pair

stop = keras.ops.stop_gradient


def detached(x: torch.Tensor) -> torch.Tensor:
    """As a reference stops a gradient."""
    return x.detach()


def test_a_faithful_port_passes() -> None:
    """Nothing is found, and every gradient of every layer was compared: to what it reads, and of its weights."""
    report = differentiated(pair_of(Gated(), gated()))
    assert report.passed
    (run,) = report.gradients
    by_layer = {layer.layer: layer for layer in run.layers}
    assert set(by_layer) == {"first", "gate", "sigmoid", "mul", "second"}
    assert set(by_layer["mul"].to) == {"first", "sigmoid"}
    assert set(by_layer["first"].to) == {"input"}
    assert set(by_layer["second"].weights) == {"weight", "bias"}
    assert set(run.inputs) == {"input"}
    assert all(layer.arriving for layer in run.layers)


def test_without_being_asked_nothing_is_differentiated() -> None:
    """A report of values alone has no gradients, and a stop in the port is no finding."""
    from parity.verification import verify

    report = verify(pair_of(Gated(), gated(entering=stop)), [image()], ("eager",))
    assert report.passed
    assert report.gradients == ()


@pytest.mark.parametrize(
    ("where", "layer"), [("entering", "gate"), ("leaving", "mul"), ("before", "second")], ids=["in", "out", "whole"]
)
@pytest.mark.parametrize("side", ["reference", "port"])
def test_a_stop_on_one_side(where: str, layer: str, side: str) -> None:
    """It is found where it is, and nowhere else; undoing it, or putting one in, leaves nothing of the error."""
    reference = Gated(**({where: detached} if side == "reference" else {}))
    port = gated(**({where: stop} if side == "port" else {}))
    report = differentiated(pair_of(reference, port))
    slug = "gradient-missing-stop" if side == "reference" else "gradient-stopped"
    assert told(report) == [(layer, "gradients", slug)]
    cause = report.findings[0].cause
    assert cause.residual_before is not None
    assert cause.residual_after is not None
    assert cause.residual_before > 0.1 > 1e-5 > cause.residual_after
    assert "stop_gradient" in cause.change
    assert ("detach" in cause.detail) == (side == "reference")
    assert all(run.verdict == "pass" for run in report.runs)
    assert not report.passed


@pytest.mark.parametrize(("theirs", "ours"), [("entering", "leaving"), ("leaving", "entering")])
def test_the_gate_detached_at_another_place_differs_only_in_its_weights(theirs: str, ours: str) -> None:
    """A gate whose weights learn and one whose weights do not are two networks, wherever they are cut from the rest."""
    report = differentiated(pair_of(Gated(**{theirs: detached}), gated(**{ours: stop})))
    assert not report.passed
    assert {found.layer for found in report.findings} <= {"gate", "mul", "sigmoid"}


def test_the_same_stop_on_both_sides_passes() -> None:
    """A detach that was ported as stop_gradient is right."""
    for where in ("entering", "leaving", "before"):
        assert differentiated(pair_of(Gated(**{where: detached}), gated(**{where: stop}))).passed


class Soft(torch.nn.Module):
    """A convolution times a gate without weights; `where` the gate is detached."""

    def __init__(self, where: str) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first, self._where = torch.nn.Conv2d(3, 5, 3), where
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        gate = torch.sigmoid(x.detach() if self._where == "before" else x)
        return x * (gate.detach() if self._where == "after" else gate)


@pytest.mark.parametrize("theirs", ["before", "after"])
@pytest.mark.parametrize("ours", ["before", "after"])
def test_a_stop_at_another_place_of_the_same_effect_is_right(theirs: str, ours: str) -> None:
    """Before or after an operation without weights, a stop cuts off the same."""
    start = keras.Input((7, 5, 3))
    x = keras.layers.Conv2D(5, 3, name="first")(start)
    gate = keras.ops.sigmoid(stop(x) if ours == "before" else x)
    port = keras.Model(start, x * (stop(gate) if ours == "after" else gate))
    assert differentiated(pair_of(Soft(theirs), port, {"first": "first"})).passed
    free = keras.Model(start, x * keras.ops.sigmoid(x))
    assert len(differentiated(pair_of(Soft(theirs), free, {"first": "first"})).findings) == 1


def test_in_graph_and_xla_too() -> None:
    """A stop is found in every mode that is asked for."""
    report = differentiated(pair_of(Gated(), gated(leaving=stop)), modes=("graph", "xla"))
    assert [(found.layer, found.mode) for found in report.findings] == [("mul", "graph"), ("mul", "xla")]


def test_a_gradient_that_is_rounded_away() -> None:
    """An operation that hands on no gradient at all is told, although there is no stop to leave out."""
    reference = Gated(leaving=lambda gate: gate + (torch.round(gate) - gate).detach())
    port = gated(leaving=keras.ops.round)
    report = differentiated(pair_of(reference, port))
    assert told(report) == [("mul", "gradients", "gradient-stopped")]
    assert "no gradient comes through" in report.findings[0].cause.detail


def test_a_value_fault_stays_one_finding() -> None:
    """A wrong layer is found by its values; neither it nor any other layer is found by its gradients as well."""
    port = gated(before=lambda x: keras.ops.relu(x) * 1.0)
    pair = pair_of(Gated(before=torch.nn.functional.leaky_relu), port)
    report = differentiated(pair)
    assert {found.about for found in report.findings} == {"values"}
    assert [layer.layer for layer in report.gradients[0].layers if layer.verdict == "introduces"] == []


class Table(torch.nn.Module):
    """An embedding, of which row 2 is padding or not."""

    def __init__(self, padding: int | None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.out = torch.nn.Embedding(7, 5, padding_idx=padding), torch.nn.Linear(5, 3)
        self.eval()

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.out(self.table(tokens))


@pytest.mark.parametrize("padding", [None, 2])
def test_the_padding_row_of_a_table(padding: int | None) -> None:
    """Torch never trains the row padding_idx; Keras trains all of them."""
    from parity.axes import CHANNELS_LAST, Axes
    from parity.pairs import Input

    start = keras.Input((5,), dtype="int64")
    port = keras.Model(start, keras.layers.Dense(3, name="out")(keras.layers.Embedding(7, 5, name="table")(start)))
    made = pair_of(Table(padding), port, {"table": "table", "out": "out"})
    axes = Axes(reference=CHANNELS_LAST, port=CHANNELS_LAST)
    pair = Pair(name="table", reference=made.reference, port=port, layers=made.layers, axes=axes)
    tokens = Input(name="tokens", array=np.array([[0, 1, 2, 3, 2], [2, 6, 5, 4, 2]]))
    report = differentiated(pair, tokens)
    wanted = [] if padding is None else [("table", "gradients", "gradient-missing-stop")]
    assert told(report) == wanted
    assert all("row 2" in found.cause.detail for found in report.findings)


def test_a_gradient_that_is_no_number() -> None:
    """A logarithm of zero that is never chosen leaves values as they are: its NaN is a finding, of infinite error."""
    report = differentiated(pair_of(Gated(), gated(leaving=lambda x: keras.ops.where(x < 9, x, keras.ops.log(0 * x)))))
    assert {run.output.passed for run in report.runs} == {True}
    assert [(finding.layer, finding.error) for finding in report.findings] == [("mul", float("inf"))]
