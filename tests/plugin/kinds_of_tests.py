"""Kinds of layers made for the tests of `pytest --model layers`: faithful ones, and ones that go wrong in some way.

Imported with MAKE_KINDS in the environment, it makes them known; a test puts MADE_BUILDERS and MADE_CASES into the
registries for as long as it runs. What is drawn is written to the file that DRAWN names, a line each.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from parity.building.registry import _BUILDERS, Builder
from parity.errors import ConversionError
from parity.frameworks import keras, tf, torch
from parity.inputs.strategies.cases import _CASES, Case, case


class Scaled(torch.nn.Module):
    """A layer that multiplies."""

    def __init__(self, factor: float = 3.0) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(...) to (...)."""
        return x * self.factor

    def extra_repr(self) -> str:
        return f"{self.factor}"


def fine(layer: Any, site: Any, x: Any) -> Any:
    """As it should be."""
    return x * layer.factor


def wrong(layer: Any, site: Any, x: Any) -> Any:
    """Another factor where an axis has three places or more."""
    return x * (layer.factor * 1.0001 if max(x.shape[1:]) > 2 else layer.factor)


def refused(layer: Any, site: Any, x: Any) -> Any:
    """What Keras cannot do."""
    raise ConversionError("a factor of three has no counterpart")


def often_refused(layer: Any, site: Any, x: Any) -> Any:
    """What Keras cannot do where an axis has two places or more."""
    if max(x.shape[1:]) > 1:
        raise ConversionError("two places have no counterpart")
    return x * layer.factor


def crashes(layer: Any, site: Any, x: Any) -> Any:
    """A mistake in the converter."""
    return x * layer.faktor


class OtherInGraph(keras.layers.Layer):
    """A layer that is right in eager mode only."""

    def call(self, x: Any) -> Any:
        """(...) to (...)."""
        return x * (3.0 if tf.executing_eagerly() or isinstance(x, keras.KerasTensor) else 3.1)


def other_in_graph(layer: Any, site: Any, x: Any) -> Any:
    """Right in eager mode only."""
    return OtherInGraph()(x)


KINDS: Mapping[str, Callable[..., Any]] = {
    "made_fine": fine,
    "made_wrong": wrong,
    "made_refused": refused,
    "made_often_refused": often_refused,
    "made_crash": crashes,
    "made_in_graph": other_in_graph,
}


def _cases_of(kind: Any) -> Callable[[st.DrawFn], Case]:
    def drawn(draw: st.DrawFn) -> Case:
        sizes = draw(st.tuples(*[st.integers(1, 6)] * 3))
        made = case(draw, kind(), sizes, "NCL")
        with Path(os.environ.get("DRAWN", os.devnull)).open("a") as log:
            log.write(f"{kind.__name__} {sizes} {made.given.origin}\n")
        return made

    return drawn


OF = {name: type(name, (Scaled,), {}) for name in KINDS}
"""The torch modules by the kinds' names."""
MADE_BUILDERS = {
    OF[name]: Builder(of=OF[name], function=function, layout="any", how=name) for name, function in KINDS.items()
}
MADE_CASES = {name: (OF[name], st.composite(_cases_of(OF[name]))) for name in KINDS}

if "MAKE_KINDS" in os.environ:
    _BUILDERS.update(MADE_BUILDERS)
    _CASES.update(MADE_CASES)
