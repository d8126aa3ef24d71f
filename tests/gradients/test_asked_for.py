"""Gradients as they are asked for: by a command, by pytest; what a page says of them, and what a file keeps."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from learners import NORMED, Gated, Normed, differentiated, gated, normed, pair_of

from parity.frameworks import keras
from parity.models.small import NETWORKS
from parity.plugin.verdicts import gradient_failure, input_gradient_failure, layer_failure, network_failure
from parity.render.failures import failure
from parity.render.terminal import summary, verdict
from parity.report import Report
from parity.settings import Options, RunSettings
from parity.verification import verify

LAYERS = ("first", "gate", "second")


@pytest.fixture(scope="module")
def stopped() -> Report:
    """The report of a port whose gate lets no gradient in."""
    return differentiated(pair_of(Gated(), gated(entering=keras.ops.stop_gradient)))


def test_a_report_with_gradients_is_read_back(stopped: Report, tmp_path: Path) -> None:
    """What is written is what was there; a file from before there were gradients is still read, with none."""
    assert Report.load(stopped.save(tmp_path / "report.json")) == stopped
    data = json.loads(stopped.to_json())
    assert data["gradients"][0]["verdict"] == "diverged"
    data["findings"], data["verdict"] = [], ""
    del data["gradients"]
    (tmp_path / "old.json").write_text(json.dumps(data))
    old = Report.load(tmp_path / "old.json")
    assert old.gradients == ()
    assert old.passed


def test_diverging_gradients_make_a_report_diverge(stopped: Report) -> None:
    """Even without a finding, and even where no layer was differentiated."""
    assert not replace(stopped, findings=(), verdict="").passed
    (run,) = stopped.gradients
    empty = replace(run, layers=(), verdict="pass")
    assert not replace(stopped, findings=(), gradients=(empty,), verdict="").passed


def test_the_page_says_what_differs(stopped: Report) -> None:
    """How many gradients agree, where they do not, why, what to change; the verdict is about more than values."""
    page = " ".join(summary(stopped, width=100).split())
    assert "gradients agree in 0 of 1 runs:" in page
    assert "gate gives other gradients, off by 1.0e0" in page
    assert "cause: gradient-stopped" in page
    assert "leave out keras.ops.stop_gradient" in page
    assert verdict(stopped).endswith(
        "agrees in 1 of 1 runs, and not in its gradients or in training mode; first at gate"
    )
    message = failure(stopped, stopped.findings[0], width=100)
    assert "gives other gradients" in message
    assert "greatest difference" not in message


def test_which_test_fails_for_a_stop(stopped: Report) -> None:
    """The test of the layer's gradients does; those of its values, and of the other layers' gradients, pass."""
    assert "gradient-stopped" in (gradient_failure(stopped, LAYERS, "gate") or "")
    for layer in LAYERS:
        assert layer_failure(stopped, LAYERS, layer) is None
    for layer in ("first", "second"):
        assert gradient_failure(stopped, LAYERS, layer) is None
    assert network_failure(stopped, LAYERS, "noise", "eager") is None
    assert "input" in (input_gradient_failure(stopped, LAYERS, "noise") or "")


def test_a_layer_that_was_not_differentiated_fails(stopped: Report) -> None:
    """Nothing compared is not a pass, for a layer and for an input."""
    none = replace(stopped, gradients=(), verdict="")
    assert "not compared" in (gradient_failure(none, LAYERS, "first") or "")
    assert "not compared" in (input_gradient_failure(replace(none, findings=(), verdict=""), LAYERS, "noise") or "")
    (run,) = stopped.gradients
    less = replace(run, layers=tuple(layer for layer in run.layers if layer.layer != "first"))
    assert "not compared" in (gradient_failure(replace(stopped, gradients=(less,)), LAYERS, "first") or "")


def test_a_momentum_on_the_page() -> None:
    """What differs in training mode is called that."""
    report = differentiated(pair_of(Normed(), normed(momentum=0.1), NORMED))
    page = " ".join(summary(report, width=100).split())
    assert "norm differs in training mode by" in page
    assert "momentum=0.9" in page


def test_the_command_asks_for_the_same() -> None:
    """The option is among the settings of a run, and in the command that a report gives."""
    settings = RunSettings.of("unet", Options(grad=True))
    assert settings.gradients
    assert settings.command() == "parity verify unet --grad"
    assert "--grad" not in RunSettings.of("unet", Options()).command()


@pytest.mark.parametrize(("name", "seed"), [*((name, 0) for name in NETWORKS), ("mlp", 1), ("unet", 2)])
def test_faithful_ports_raise_no_alarm(name: str, seed: int) -> None:
    """Every small network passes with gradients, and each of its weights is compared."""
    size = min(NETWORKS[name].sizes, key=lambda size: size[0] * size[-1])
    pair, inputs = NETWORKS[name].pair(seed, size)
    report = verify(pair, inputs, ("eager",), gradients=True)
    assert report.passed
    compared = sum(len(layer.weights) for layer in report.gradients[0].layers)
    assert compared == len(list(pair.reference.parameters()))


def test_pytest_has_a_test_more_for_each_layer_and_input(pytester: pytest.Pytester) -> None:
    """With --parity-grad there is one for each, and each passes on a faithful port."""
    options = ("--parity-grad", "--parity-mode", "eager", "--parity-size", "14x22")
    done = pytester.runpytest_subprocess("--model", "mlp", *options, "-v", "-k", "gradient")
    names = re.findall(r"gradient\[(\S+)\] PASSED", done.stdout.str())
    assert names == ["conv", "hidden", "narrow", "head", "input-noise-14x22"]
