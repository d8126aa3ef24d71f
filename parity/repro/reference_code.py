"""The reference's side of a layer as torch code: the module from its settings, or the calls from their arguments."""

import inspect
from collections.abc import Iterator
from typing import Any

from parity.axes import Array, in_order, move
from parity.diagnosis.evidence import Evidence
from parity.frameworks import torch
from parity.parametrized import plain
from parity.repro.code import RESERVED, Code, value_key
from parity.repro.expressions import UnwritableError, arguments, as_by_default, identifier, written
from parity.runners.calls import Call, Read

_OF_RECURRENT = {
    "input_size": inspect.Parameter.empty, "hidden_size": inspect.Parameter.empty, "num_layers": 1, "bias": True,
    "batch_first": False, "dropout": 0.0, "bidirectional": False, "proj_size": 0,
}  # fmt: skip
"""The settings of torch's recurrent layers and their defaults: their signatures do not tell."""


def reference_code(evidence: Evidence) -> Code:
    """The torch code that makes the layer's value from what it reads. Raises UnwritableError where there is none."""
    return _Reference(evidence).code()


class _Reference:
    """Writes the calls from the values that the port's segment reads, or those before them, to the layer."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._calls = evidence.scene.calls
        self._setup: list[str] = []
        self._body: list[str] = []
        self._arrays: dict[str, Array] = {}
        self._names: dict[str, str] = {}
        self._modules: dict[int, str] = {}

    def code(self) -> Code:
        layer = self._evidence.segment.layer
        if layer not in self._calls:
            raise UnwritableError(f"{layer}, of which it is not known how it is made")
        result = self._made(self._calls[layer], layer)
        return Code(setup=tuple(self._setup), body=tuple(self._body), result=result, arrays=self._arrays)

    def _value(self, name: str) -> str:
        """The expression of a tap's value: kept where the port has it too, else made by the call that makes it."""
        if name in self._names:
            return self._names[name]
        kept = name in (*self._evidence.segment.anchors, *self._evidence.scene.matched)
        if kept or name not in self._calls:
            self._arrays[value_key(name)] = self._kept(name)
            self._names[name] = f'torch.from_numpy(data["{value_key(name)}"])'
            return self._names[name]
        made = self._made(self._calls[name], name)
        self._names[name] = f"y{len(self._body)}"
        self._body.append(f"{self._names[name]} = {made}")
        return self._names[name]

    def _kept(self, name: str) -> Array:
        """The value of a tap in the reference's layout."""
        evidence = self._evidence
        known = dict(zip(evidence.segment.anchors, evidence.anchors, strict=True))
        value = known[name] if name in known else evidence.scene.values([name])[0]
        return in_reference(evidence, name, value)

    def _made(self, call: Call, layer: str) -> str:
        given = [*call.args], dict(call.kwargs)
        if isinstance(call.function, torch.nn.Module):
            written_call = f"{self._module(call.function, layer)}({arguments(*given, self._leaf)})"
        else:
            written_call = self._function(call)
        return written_call + "".join(f"[{index}]" for index in call.part)

    def _module(self, module: Any, layer: str) -> str:
        """The variable that holds the module, set up with its weights."""
        if id(module) not in self._modules:
            name = identifier(layer, (*RESERVED, *self._modules.values()))
            plainly = plain(module)
            self._setup.append(f"{name} = {constructed(plainly)}.eval()")
            state = {f"torch.{layer}.{key}": value for key, value in plainly.state_dict().items()}
            self._arrays |= {key: _array(value) for key, value in state.items()}
            if state:
                loaded = f'{{k: torch.from_numpy(data["torch.{layer}." + k]) for k in {name}.state_dict()}}'
                self._setup.append(f"{name}.load_state_dict({loaded})")
            self._modules[id(module)] = name
        return self._modules[id(module)]

    def _function(self, call: Call) -> str:
        name = _name(call.function)
        method = name.removeprefix("torch.Tensor.")
        if method == name:
            return f"{name}({arguments(call.args, call.kwargs, self._leaf)})"
        itself, *others = call.args
        if method.endswith(".__get__"):
            return f"{written(itself, self._leaf)}.{method.removesuffix('.__get__')}"
        if method == "__getitem__":
            return f"{written(itself, self._leaf)}[{written(others[0], self._leaf)}]"
        return f"{written(itself, self._leaf)}.{method}({arguments(others, call.kwargs, self._leaf)})"

    def _leaf(self, value: Any) -> str | None:
        if isinstance(value, Read):
            return self._value(value.name)
        if isinstance(value, torch.Tensor):
            key = f"constant.{len(self._arrays)}"
            self._arrays[key] = _array(value)
            return f'torch.from_numpy(data["{key}"])'
        return None


def _name(function: Any) -> str:
    """What a script calls a function of torch."""
    found = torch.overrides.resolve_name(function)
    name = getattr(function, "__name__", "")
    if not found and getattr(torch._C._nn, name, None) is function:
        found = f"torch._C._nn.{name}"
    if not found:
        raise UnwritableError(f"the function {name or function!r}, which is none of torch's")
    return str(found)


def constructed(module: Any) -> str:
    """The call that makes a module of `torch.nn` with these settings. Raises UnwritableError for any other module.

    >>> constructed(torch.nn.Conv2d(2, 5, 3, stride=2, padding=1))
    'torch.nn.Conv2d(2, 5, (3, 3), stride=(2, 2), padding=(1, 1))'
    """
    kind = type(module)
    if getattr(torch.nn, kind.__name__, None) is not kind:
        raise UnwritableError(f"a {kind.__name__}, which is no layer of torch.nn")
    return f"torch.nn.{kind.__name__}({', '.join(_settings(module))})"


def _settings(module: Any) -> Iterator[str]:
    for name, default in _defaults(module).items():
        value = getattr(module, name, default)
        if name == "bias" and not isinstance(value, bool):
            value = value is not None
        if default is inspect.Parameter.empty:
            yield written(value)
        elif not as_by_default(value, default):
            yield f"{name}={written(value)}"


def _defaults(module: Any) -> dict[str, Any]:
    """The names of a module's settings, and their defaults."""
    if isinstance(module, torch.nn.RNNBase):
        more = {"nonlinearity": "tanh"} if isinstance(module, torch.nn.RNN) else {}
        return {**_OF_RECURRENT, **more}
    parameters = inspect.signature(type(module)).parameters.values()
    named = [each for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    return {each.name: each.default for each in named if not each.name.startswith("_") and each.name != "device"}


def in_reference(evidence: Evidence, name: str, value: Array) -> Array:
    """A tap's value, in the port's layout, moved to the reference's."""
    layouts = evidence.scene.layout(name, value.ndim), evidence.scene.reference_layout(name, value.ndim)
    return in_order(move(value, *layouts))


def _array(tensor: torch.Tensor) -> Array:
    try:
        array: Array = tensor.detach().cpu().numpy()
    except TypeError as error:
        raise UnwritableError(f"a tensor of {tensor.dtype}") from error
    return array
