"""Small pairs for the tests of causes: a torch network of a few layers, and the Keras port somebody wrote of it.

A port is written out in each test as its author would have written it, wrong; nothing here plants a fault.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from parity.axes import Array
from parity.converters import convert
from parity.errors import WeightError
from parity.frameworks import keras, torch
from parity.inputs import noise
from parity.pairs import Input, Pair
from parity.report import Cause, Finding, Report
from parity.verification import verify

nn = torch.nn
functional = torch.nn.functional
layers = keras.layers
ops = keras.ops

ALLOWED = 8
"""How many noise floors of error a replay may leave, and a faithful layer may have."""
FAR = 3
"""How many times its limit a planted fault's error is at least: no test hangs on a value near it."""


def image(height: int = 8, width: int = 6, channels: int = 3, batch: int = 1) -> Input:
    """Noise of both signs."""
    return noise((batch, channels, height, width), seed=4, low=-1, high=1)


def steps(length: int = 9, features: int = 3, batch: int = 2) -> Input:
    """A sequence of noise of both signs, in torch's (N, C, L)."""
    return noise((batch, features, length), seed=4, low=-1, high=1)


class Reference(nn.Module):
    """A network of some named layers and a forward over them; normalisations have statistics as after training."""

    def __init__(self, forward: Callable[[Any, torch.Tensor], torch.Tensor], seed: int = 0, **modules: Any) -> None:
        super().__init__()
        self._forward = forward
        for name, module in modules.items():
            setattr(self, name, module)
        fill(self, seed)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._forward(self, x)


def chain(seed: int = 0, **modules: Any) -> nn.Sequential:
    """Named layers one after the other."""
    return fill(nn.Sequential(OrderedDict(modules)), seed)


def fill(module: nn.Module, seed: int) -> nn.Module:
    """Weights drawn from the seed, the statistics of normalisations too, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    for child in module.modules():
        for name, weight in child.named_parameters(recurse=False):
            fan = max(weight[0].numel(), 1) if weight.ndim > 1 else 4
            nn.init.normal_(weight, std=fan**-0.5, generator=generator)
            if "Norm" in type(child).__name__ and name == "weight":
                nn.init.uniform_(weight, 0.5, 2.0, generator=generator)
        if isinstance(child, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.normal_(child.running_mean, std=0.3, generator=generator)
            nn.init.uniform_(child.running_var, 0.2, 2.0, generator=generator)
    return module.eval()


def port_of(
    reference: nn.Module, shape: Sequence[int | None], build: Callable[[Any], Any], *, dtype: str = "float32"
) -> Any:
    """The Keras model that `build` makes of its input; layers named as torch's are loaded with their weights."""
    start = keras.Input(tuple(shape), dtype=dtype)
    model = keras.Model(start, build(start))
    load(model, reference)
    return model


def load(model: Any, reference: nn.Module) -> None:
    """Give each layer that is named as a torch layer its weights, where they have its shapes."""
    modules = dict(reference.named_modules())
    for layer in model.layers:
        if layer.weights and layer.name in modules:
            try:
                found = convert(modules[layer.name], layer.name, layer)[: len(layer.weights)]
            except WeightError:
                continue
            if [np.shape(each) for each in found] == [tuple(each.shape) for each in layer.weights]:
                layer.set_weights(found)


def set_weights(model: Any, name: str, *weights: Any) -> Any:
    """The model, one of its layers loaded with these."""
    model.get_layer(name).set_weights([np.ascontiguousarray(weight, np.float32) for weight in weights])
    return model


def torch_weights(module: Any) -> list[Array]:
    """A torch layer's parameters, as they are."""
    return [weight.detach().numpy().copy() for weight in module.parameters(recurse=False)]


def reweighted(model: Any, name: str, change: Callable[..., Sequence[Array]]) -> Any:
    """The model, a layer's weights (in Keras order) changed."""
    return set_weights(model, name, *change(*model.get_layer(name).get_weights()))


def judged(
    reference: Any,
    port: Any,
    given: Input | None = None,
    modes: Sequence[str] = ("eager",),
    *,
    layers: Mapping[str, str] | None = None,
    unmapped: Collection[str] = (),
    **more: Any,
) -> Report:
    """The report of a pair; layers of equal names are mapped to each other, but for those `unmapped`."""
    names = {
        name
        for name, child in reference.named_modules()
        if name and name not in unmapped and not list(child.children()) and not isinstance(child, nn.RNNBase)
    }
    same = {name: name for name in names & {layer.name for layer in port.layers}}
    pair = Pair(name="small", reference=reference, port=port, layers={**same, **(layers or {})}, **more)
    return verify(pair, [given if given is not None else image()], modes)


def slugs(report: Report) -> dict[str, str]:
    """The findings: reference layer -> cause."""
    return {finding.layer: finding.cause.slug for finding in report.findings}


def right(reference: Any, port: Any, given: Input | None = None, **more: Any) -> Report:
    """A report that passes, and gives no layer a cause."""
    report = judged(reference, port, given, **more)
    assert slugs(report) == {}
    assert report.passed, (report.coverage, report.runs[0].output)
    return report


def proven(
    reference: Any,
    port: Any,
    layer: str,
    slug: str,
    given: Input | None = None,
    *,
    says: str = "",
    change: str = "",
    **more: Any,
) -> Cause:
    """The cause of the only finding: at that layer, of that name, no tie, and proven by a replay within the limit.

    `says` is in its detail, `change` in what it says to change.
    """
    report = judged(reference, port, given, **more)
    assert slugs(report) == {layer: slug}, [(f.layer, f.cause.slug, f.cause.detail) for f in report.findings]
    (finding,) = report.findings
    assert_proven(report, finding)
    assert says in finding.cause.detail, finding.cause.detail
    assert finding.cause.change
    assert change in finding.cause.change, finding.cause.change
    assert not report.passed
    return finding.cause


def assert_proven(report: Report, finding: Finding) -> None:
    """The finding's cause is the only one, and its replay brought an error far above the layer's limit below it."""
    cause = finding.cause
    assert cause.tied == (), (cause.tied, cause.detail)
    assert cause.residual_before is not None
    assert cause.residual_after is not None
    limit = limit_of(report, finding)
    assert cause.residual_after <= limit
    assert cause.residual_before > FAR * limit


def limit_of(report: Report, finding: Finding) -> float:
    """The relative error that the finding's layer is allowed."""
    (run,) = [run for run in report.runs if (run.input, run.mode) == (finding.input, finding.mode)]
    (result,) = [result for result in run.layers if result.layer == finding.layer]
    return result.introduced.allowed if result.introduced is not None else ALLOWED * finding.floor
