"""Faults in activations: the slope, the function, one too few, one too many.

A function that is linear on either side of zero stays one: a LeakyReLU made a ReLU has another slope, not another kind.
An extra activation goes on values that no activation has made, since two slopes one after the other are one slope.
"""

import numpy as np

from parity.faults.planting import ACTIVATIONS, LINEAR, NORMS, Generator, Planted, Site, operator, remade
from parity.faults.tensors import FUNCTIONS, chosen, log_uniform, on_first
from parity.frameworks import keras
from parity.runners.edits import Edit

BENT = frozenset({"relu", "leakyrelu", "prelu"})
"""Kinds that are linear on either side of zero."""
_NEAR = {
    "gelu": ("gelu of tanh", "quick gelu"),
    "hard_swish": ("hard swish of 0.2", "silu"),
    "silu": ("hard swish", "quick gelu"),
    "sigmoid": ("hard sigmoid of 0.2", "hard sigmoid of 1/6"),
    "log_softmax": ("softmax", "log of sigmoid"),
}
"""What a function is most often mistaken for; any other is drawn as well."""


@operator("activation-slope")
def activation_slope(site: Site, generator: Generator) -> Planted | None:
    """Another slope below zero: a framework's default, or one near the right one."""
    if site.kind == "leakyrelu":
        own = float(site.operation.negative_slope)
        near = own * (1 + log_uniform(generator, 1e-3, 1.0))
        slope = chosen(generator, [each for each in (0.3, 0.2, 0.01, near, near) if each != own])
        return site.replaced("activation-slope", f"{slope:.5g} for {own:g}", site.remade(negative_slope=slope))
    if site.kind != "prelu":
        return None
    alpha = site.weights["alpha"]
    factor = 1 + log_uniform(generator, 1e-2, 1.0)
    options = [("default of 0.25", np.full_like(alpha, 0.25)), (f"slopes times {factor:.4f}", alpha * factor)]
    if alpha.size > 1:
        options.append(("one slope for all channels", np.full_like(alpha, alpha.mean())))
    said, wrong = chosen(generator, options)
    return site.reweighted("activation-slope", said, {"alpha": wrong})


@operator("activation-kind")
def activation_kind(site: Site, generator: Generator) -> Planted | None:
    """Another function: a variant of the right one, or any."""
    own = _function(site)
    if own is None:
        return None
    bent = site.kind in BENT
    same = {own, own.replace("_", " ")} | ({"relu"} if bent else set())
    others = [name for name in FUNCTIONS if name not in same and not name.startswith(("softmax", "log"))]
    near = [name for name in _NEAR.get(own, ()) if name not in same]
    name = chosen(generator, near if near and (own == "log_softmax" or generator.integers(2)) else others)
    return site.replaced("activation-kind", f"{name} for {own}", on_first(FUNCTIONS[name]))


def _function(site: Site) -> str | None:
    """What the site computes, by a plain name; None where it is no activation."""
    if site.kind == "activation":
        name = str(site.operation.activation.__name__)
        return {"hard_silu": "hard_swish", "swish": "silu"}.get(name, name)
    if site.kind == "relu":
        return "relu6" if getattr(site.operation, "max_value", None) else "relu"
    if site.kind == "logsoftmax":
        return "log_softmax"
    return site.kind if site.kind in ACTIVATIONS else None


@operator("activation-missing")
def activation_missing(site: Site, generator: Generator) -> Planted | None:
    """The activation is not there at all, or there and linear."""
    if site.kind not in ACTIVATIONS:
        return None
    value = site.node.outputs[0]
    if generator.integers(2) or value is site.ground.port.model.outputs[0] or not site.makes_value:
        return site.replaced("activation-missing", "made linear", remade(keras.layers.Activation("linear"), []))
    edges = dict.fromkeys(site.ground.readers(value), site.source)
    return site.edited("activation-missing", "left out", Edit(rerouted=edges), also=[site.layer])


@operator("activation-extra")
def activation_extra(site: Site, generator: Generator) -> Planted | None:
    """One more activation, behind an operation whose value no activation has made."""
    if site.kind not in LINEAR | NORMS | {"add"} or not site.makes_value:
        return None
    slope = log_uniform(generator, 1e-2, 0.5)
    leaky = (f"leaky relu of {slope:.3f}", lambda x: keras.ops.leaky_relu(x, negative_slope=slope))
    name, function = chosen(generator, [leaky, leaky, *list(FUNCTIONS.items())[:10]])
    return site.appended("activation-extra", f"{name} behind it", function)
