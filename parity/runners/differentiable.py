"""Runs a copy of a torch module so that it can be differentiated, cut at its taps.

The graph that torch itself recorded is used, never a replay: a `detach` or a `no_grad` in the reference is then in it.
A gradient that arrives at a tap is caught by a hook on its value, at the moment the value is made, so that in-place
activations may overwrite it afterwards. To differentiate one layer alone, the hooks hand on zeros: what arrives at a
tap is then due to the layer, and not to what lies between it and another tap.
"""

import copy
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from parity.axes import Array
from parity.errors import PairError
from parity.frameworks import torch
from parity.pairs import Input
from parity.runners.calls import Call
from parity.runners.float64 import in_float64, making
from parity.runners.recorder import Recorder
from parity.runners.torch_module import called, outputs_of

Gradients = Mapping[str, torch.Tensor]
"""Gradients by the name of what they are with respect to; what none arrives at is missing."""


Around = Callable[[Callable[[Any], str | None]], AbstractContextManager[Any]]


class Differentiable:
    """One run of a copy of `module` on `given`, of which the taps `wanted` are kept.

    `values` has their values, as they were when they were made; `live` names those whose gradient torch follows at all.
    Every parameter requires a gradient in the copy, whether it does in the original or not. With `training` the copy
    is in training mode. What `around` makes (such as a TorchFunctionMode) is entered for the run; it is given a
    function that tells which tap a tensor is the value of. Raises PairError for a module that cannot be run so.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        given: Input,
        wanted: Collection[str],
        *,
        float64: bool = False,
        training: bool = False,
        around: Around | None = None,
    ) -> None:
        self.module = _copied(module, float64=float64).train(training)
        self.values: dict[str, torch.Tensor] = {}
        self.live: set[str] = set()
        self._wanted = wanted
        self._roots: dict[str, torch.Tensor] = {}
        self._edges: dict[str, Any] = {}
        self._caught: dict[str, torch.Tensor] = {}
        self._root, self._cutting = "", False
        self._run(given, float64=float64, around=around)

    def _run(self, given: Input, *, float64: bool, around: Around | None) -> None:
        recorder = Recorder(self.module, lambda tap, value: self._keep(tap.name, value))

        def start(name: str, array: Array) -> torch.Tensor:
            value = torch.tensor(array)
            if value.is_floating_point():
                # A copy, since the reference may write into its input, and torch refuses that of a leaf.
                value = (value.double() if float64 else value).requires_grad_().clone()
            self._keep(name, value)
            return recorder.start(name, value)

        with torch.enable_grad(), ExitStack() as stack:
            args, kwargs = given.filled(start)
            if around is not None:
                stack.enter_context(around(recorder._names.of))
            stack.enter_context(making(float64=float64))
            stack.enter_context(recorder.hooked())
            self.outputs = outputs_of(called(self.module, args, kwargs))
        self.calls: Mapping[str, Call] = recorder.calls

    def _keep(self, name: str, value: torch.Tensor) -> None:
        if name not in self._wanted:
            return
        self._roots[name] = root = value.clone()
        self.values[name] = root.detach()
        if value.requires_grad:
            self.live.add(name)
            self._edges[name] = torch.autograd.graph.get_gradient_edge(value)
            value.register_hook(self._catcher(name))  # type: ignore[no-untyped-call]

    def _catcher(self, name: str) -> Callable[[torch.Tensor], torch.Tensor | None]:
        def catch(gradient: torch.Tensor) -> torch.Tensor | None:
            if self._cutting and name == self._root:
                return None
            self._caught[name] = gradient.detach().clone()
            return torch.zeros_like(gradient) if self._cutting else None

        return catch

    def arriving(self, cotangents: Mapping[str, torch.Tensor]) -> tuple[Gradients, Gradients]:
        """What arrives at each tap, and at each parameter by its path in the module.

        `cotangents` has the gradient of a loss with respect to the outputs, by name.
        """
        ends = {name: self.outputs[name] for name in cotangents if self.outputs[name].requires_grad}
        if not ends:
            raise PairError("the reference cannot be differentiated: no output depends on its weights or inputs")
        parameters = self._parameters()
        with self._catching():
            found = self._backward(
                list(ends.values()),
                [cotangents[name] for name in ends],
                [*self._edges.values(), *parameters.values()],
            )
        given = zip(parameters, found[len(self._edges) :], strict=True)
        weights = {name: _dense(gradient) for name, gradient in given if gradient is not None}
        return dict(self._caught), weights

    def alone(
        self, layer: str, cotangent: torch.Tensor, anchors: Sequence[str], parameters: Mapping[str, torch.Tensor]
    ) -> tuple[Gradients, Gradients]:
        """The gradients of the sum of value times `cotangent` at one tap: to its anchors, and to parameters.

        Every kept tap but the layer itself is held constant: only what lies between the anchors and it counts.
        """
        edges = [self._edges[name] for name in anchors if name in self._edges]
        if layer not in self.live or not (edges or parameters):
            return {}, {}
        with self._catching(root=layer):
            found = self._backward([self._roots[layer]], [cotangent], [*edges, *parameters.values()])
        weights = dict(zip(parameters, found[len(edges) :], strict=True))
        arrived = {name: gradient for name, gradient in self._caught.items() if name in anchors}
        return arrived, {name: _dense(gradient) for name, gradient in weights.items() if gradient is not None}

    @contextmanager
    def _catching(self, root: str = "") -> Iterator[None]:
        self._caught, self._root, self._cutting = {}, root, bool(root)
        try:
            yield
        finally:
            self._cutting = False

    def _parameters(self) -> dict[str, torch.Tensor]:
        return {name: each for name, each in self.module.named_parameters() if each.requires_grad}

    def _backward(
        self, outputs: Sequence[torch.Tensor], cotangents: Sequence[torch.Tensor], inputs: Sequence[Any]
    ) -> Sequence[torch.Tensor | None]:
        try:
            return torch.autograd.grad(outputs, inputs, cotangents, retain_graph=True, allow_unused=True)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[0]
            raise PairError(f"the reference cannot be differentiated: {reason}") from error


def _copied(module: torch.nn.Module, *, float64: bool) -> torch.nn.Module:
    """A copy on the CPU whose parameters require gradients. Raises PairError for a module that cannot be copied."""
    try:
        copied = copy.deepcopy(module).cpu()
    except (RuntimeError, TypeError) as error:
        raise PairError(f"the reference cannot be copied, to be differentiated: {error}") from error
    copied = in_float64(copied) if float64 else copied
    for parameter in copied.parameters():
        parameter.grad = None
        if parameter.is_floating_point():
            parameter.requires_grad_()
    return copied


def _dense(gradient: torch.Tensor) -> torch.Tensor:
    return gradient.to_dense() if gradient.is_sparse else gradient
