"""A pytest plugin, for pytest runs inside tests: registers a model that needs no framework, and fakes its verification.

What the fake finds is read from `small.json` in the current folder: `faulty` layers, `raises` (input -> sentence),
`crashes`, `exits` and `interrupts` (inputs), `load` (a sentence that loading raises). Each verification adds a line to
`calls.log`.
"""

import json
import sys
import time
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from records import WEIGHTED, report

from parity import models
from parity.errors import CheckpointError, PairError
from parity.pairs import Input, Pair

NAME = "small"
INPUTS = ("noise", "ramp")


class Module:
    """As much of a torch module as the plugin looks at."""

    def __init__(self, *children: str, weighted: bool = False) -> None:
        self._children, self._weighted = children, weighted

    def children(self) -> tuple[str, ...]:
        return self._children

    def named_children(self) -> list[tuple[str, str]]:
        return [(name, name) for name in self._children]

    def parameters(self, *, recurse: bool) -> list[int]:
        assert not recurse
        return [1] if self._weighted else []


class Reference(Module):
    """A network of two blocks and a head; an activation has no weights, a block none of its own."""

    def named_modules(self) -> list[tuple[str, Module]]:
        blocks = {name: Module("0", "1") for name in ("conv0", "conv1")}
        leaves = ("conv0.0", "conv0.1", "conv1.0", "conv1.1", "predict_flow")
        return [("", self), *blocks.items(), *((name, Module(weighted=name in WEIGHTED)) for name in leaves)]


def told() -> dict[str, Any]:
    """What the test wrote into small.json."""
    path = Path("small.json")
    return json.loads(path.read_text()) if path.exists() else {}


def build(settings: models.Settings) -> tuple[Pair, list[Input]]:
    """The builder of the registered model."""
    if "load" in told():
        raise CheckpointError(told()["load"])
    width, height = settings.size or (96, 64)
    array = np.zeros((1, 3, 2, height, width), np.float32)
    names = settings.inputs or INPUTS
    pair = Pair(name=NAME, reference=Reference("conv0", "conv1", "predict_flow"), port=None)
    return pair, [Input(name=name, array=array) for name in names]


class Verifier:
    """What stands in for parity.verification.Verifier."""

    def __init__(self, pair: Pair, policy: object, *, gradients: bool = False) -> None:
        """Take the pair as it is."""

    def report(self, given: Input, modes: tuple[str, ...], progress: Any) -> Any:
        """A report made by hand, or the mishap that small.json asks for."""
        return verify(given, modes, progress)


def verify(given: Input, modes: tuple[str, ...], progress: Any) -> Any:
    """Write down that it was called, and do what small.json says."""
    with Path("calls.log").open("a") as calls:
        calls.write(f"{given.name} {','.join(modes)}\n")
    progress("halfway", 0.5)
    time.sleep(told().get("seconds", 0))
    if given.name in told().get("interrupts", ()):
        raise KeyboardInterrupt
    if given.name in told().get("crashes", ()):
        raise ZeroDivisionError("a mistake in parity")
    if given.name in told().get("exits", ()):
        raise SystemExit(0)
    if given.name in told().get("raises", {}):
        raise PairError(told()["raises"][given.name])
    return report((given.name,), modes, faulty=told().get("faulty", ()))


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Register the model for this run only, and stand in for the module that would load the frameworks."""
    models.register(NAME, "a small fake", "small_model:build")
    config.add_cleanup(lambda: models._MODELS.pop(NAME))
    before = sys.modules.get("parity.verification")
    fake = types.ModuleType("parity.verification")
    fake.Verifier = Verifier
    sys.modules["parity.verification"] = fake
    config.add_cleanup(lambda: restore(before))


def restore(module: types.ModuleType | None) -> None:
    """Put back what the fake stood in for."""
    sys.modules.pop("parity.verification")
    if module:
        sys.modules["parity.verification"] = module
