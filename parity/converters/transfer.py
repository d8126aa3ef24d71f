"""Loads a reference's weights into its port: every weight exactly once, or none at all."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from parity.axes import Array
from parity.converters.registry import convert
from parity.errors import WeightError
from parity.frameworks import torch


def transfer(module: torch.nn.Module, port: Any, layers: Mapping[str, Any]) -> None:
    """Copy the weights of `module` into the `keras.Model` `port`.

    `module` may be one that was recorded. `layers` maps module paths of the reference (`conv0.0`) to the port's layers
    or their names (`conv0`); one of several outputs of a module (`lstm[0]`) stands for the module. Entries without
    weights (activations, functional operations such as `cat#2`) are passed over, so a pair's whole layer map will do.
    Raises one WeightError that names everything wrong, before anything is assigned: reference weights no layer takes,
    port weights nobody fills, weights used twice, shapes that differ, layer kinds without a converter.
    """
    plan = _Plan()
    modules = dict(module.named_modules(remove_duplicate=False))
    pairs = {(path.partition("[")[0], _name(layer)): layer for path, layer in layers.items()}
    for (path, name), layer in pairs.items():
        if path in modules and _weights(modules[path]):
            plan.load(path, modules[path], _layer(port, name) if isinstance(layer, str) else layer, name)
    plan.finish(module, port)
    if plan.problems:
        raise WeightError("\n".join(plan.problems))
    for variable, array in plan.assignments:
        variable.assign(array)


@dataclass
class _Plan:
    """What would be assigned, who uses which weight, and all that is wrong with it."""

    assignments: list[tuple[Any, Array]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    taken: dict[int, str] = field(default_factory=dict)
    """Reference weights by identity, and the module path that takes them."""
    filled: dict[int, str] = field(default_factory=dict)
    """Port layers by identity, and the module path that fills them."""
    spoken_for: set[int] = field(default_factory=set)
    """Port weights by identity that a module path fills, or fails to: either way they are reported once."""

    def load(self, path: str, module: torch.nn.Module, layer: Any, name: str) -> None:
        """Plan to fill `layer`, called `name` in the port, from the reference's module at `path`."""
        self._take(path, module)
        if layer is None:
            self.problems.append(f"{path!r} goes to {name!r}, and the port has no layer of that name")
            return
        if id(layer) in self.filled:
            self.problems.append(f"port layer {name!r} is filled twice: from {self.filled[id(layer)]!r} and {path!r}")
            return
        self.filled[id(layer)] = path
        self.spoken_for.update(id(variable) for variable in layer.weights)
        try:
            arrays = convert(module, path, layer)
        except WeightError as problem:
            self.problems.append(str(problem))
            return
        self.problems.extend(_misfits(path, name, arrays, layer.weights))
        self.assignments.extend(zip(layer.weights, arrays, strict=False))

    def _take(self, path: str, module: torch.nn.Module) -> None:
        for key, tensor in _weights(module).items():
            if "float" in str(tensor.dtype) and str(tensor.dtype).removeprefix("torch.") != "float32":
                self.problems.append(f"{path}.{key} is {tensor.dtype}; ports hold float32, so call .float() first")
            if id(tensor) in self.taken:
                self.problems.append(f"{path}.{key} is used twice: {self.taken[id(tensor)]!r} takes it too")
            self.taken[id(tensor)] = path

    def finish(self, module: torch.nn.Module, port: Any) -> None:
        """Add the weights that are left over on either side."""
        unused = [key for key, tensor in _weights(module).items() if id(tensor) not in self.taken]
        missing = [variable.path for variable in port.weights if id(variable) not in self.spoken_for]
        if unused:
            self.problems.append(f"no layer of the port takes: {', '.join(unused)}")
        if missing:
            self.problems.append(f"nothing in the reference fills: {', '.join(missing)}")


def _misfits(path: str, name: str, arrays: list[Array], variables: list[Any]) -> Iterator[str]:
    """What keeps the arrays of `path` from filling the variables of the port's layer `name`."""
    if len(arrays) != len(variables):
        names = ", ".join(variable.name for variable in variables) or "none"
        yield f"{path!r} gives {len(arrays)} arrays; port layer {name!r} has {len(variables)}: {names}"
        return
    for array, variable in zip(arrays, variables, strict=True):
        if array.shape != tuple(variable.shape):
            yield (
                f"{path!r} gives shape {array.shape} for {name}/{variable.name}, "
                f"which has shape {tuple(variable.shape)}"
            )


def _weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Everything a module computes with: parameters and saved buffers, but no counters of training steps."""
    state = module.state_dict(keep_vars=True)
    return {key: tensor for key, tensor in state.items() if not key.endswith("num_batches_tracked")}


def _name(layer: Any) -> str:
    """What a layer of the port is called, given itself or its name; without which of its outputs it is."""
    return str(layer if isinstance(layer, str) else layer.name).partition("[")[0]


def _layer(port: Any, name: str) -> Any:
    """The port's layer of that name, or None."""
    return next((layer for layer in port.layers if layer.name == name), None)
