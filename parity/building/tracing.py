"""What a torch module does, as a list of steps: torch.fx traces it, and each step is run on the way.

Every kind that has a builder is one step; what is inside other modules is traced. The steps are run twice, on batches
of two sizes: what is the same number both times is a constant of the network, and Python may decide by it; what grows
with the batch is the batch. A recorder watches, so that each value has the name that a verification will have for it.
"""

import operator
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from parity.building.constancy import FACTORIES, NUMBERS, ensure_known, is_number
from parity.building.known import Known, StoppedError
from parity.building.steps import Step, Traced, mapped, size_of, tensors_in
from parity.errors import ConversionError, first_line
from parity.frameworks import torch, torch_tree
from parity.pairs import Input
from parity.parametrized import holds_weights, layers_in
from parity.runners.recorder import Recorder

OWN = str(Path(__file__).parents[1])
"""Where parity's own code is, in which no line of a user's stops a trace."""


def traced(
    module: torch.nn.Module, lanes: Sequence[Input], is_leaf: Callable[[torch.nn.Module], bool], batch: int
) -> Traced:
    """The steps of a module on inputs that differ in their batch: `batch`, and one more.

    Raises ConversionError where torch.fx cannot follow what the module's Python does, with the line that stopped it.
    """
    tracer = Tracer(module, lanes, is_leaf, batch)
    with torch.no_grad():
        return tracer.traced()


class Tracer(torch.fx.Tracer):
    """torch.fx's tracer, which runs every step as soon as it is made."""

    proxy_buffer_attributes = True

    def __init__(
        self, module: torch.nn.Module, lanes: Sequence[Input], is_leaf: Callable[[torch.nn.Module], bool], batch: int
    ) -> None:
        super().__init__()
        self._batch = batch
        self._module = module
        self._lanes = lanes
        self._is_leaf = is_leaf
        self._inside = False
        self._stopped_in = ""
        self._steps: dict[Any, Step] = {}
        self._inputs: dict[str, Any] = {}
        self._given: Sequence[Any] = ()
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._recorder = Recorder(module, lambda tap, value: self._shapes.__setitem__(tap.name, tuple(value.shape)))

    def traced(self) -> Traced:
        """Trace and run; a module that is itself of a known kind is one step."""
        try:
            with _as_it_was(self._module), self._recorder.hooked():
                if self._is_leaf(self._module):
                    output = self._alone()
                else:
                    is_layer = holds_weights(self._module) and not layers_in(self._module)  # to a run: one tap
                    with self._factories(), self._recorder.watching(not is_layer):
                        graph = self.trace(self._module)
                    (end,) = (node for node in graph.nodes if node.op == "output")
                    output = end.args[0]
        except StoppedError as error:
            raise ConversionError(f"{self._where(error)}: it {error}") from error
        except torch.fx.proxy.TraceError as error:
            raise ConversionError(f"{self._where(error)}: torch.fx cannot follow it: {first_line(error)}") from error
        except ConversionError:
            raise
        except Exception as error:  # the user's Python may do anything with what is no tensor
            raise ConversionError(
                f"{self._where(error)}: it cannot be traced: {type(error).__name__}: {first_line(error)}"
            ) from error
        return Traced(
            steps=list(self._steps.values()),
            inputs={name: self._steps[node] for name, node in self._inputs.items()},
            output=_with_steps(output, self._steps),
            calls=self._recorder.calls,
            shapes=self._shapes,
        )

    @contextmanager
    def _factories(self) -> Iterator[None]:
        """Let functions that make tensors of sizes take sizes of the trace, which torch's own refuse."""

        def traceable(function: Any) -> Any:
            def call(*args: Any, **kwargs: Any) -> Any:
                if self._inside or not any(isinstance(x, Known) for x in torch_tree.tree_leaves((args, kwargs))):
                    return function(*args, **kwargs)
                return self.create_proxy("call_function", function, args, kwargs)

            return call

        own = {name: getattr(torch, name) for name in sorted(FACTORIES) if hasattr(torch, name)}
        for name, function in own.items():
            setattr(torch, name, traceable(function))
        try:
            yield
        finally:
            for name, function in own.items():
                setattr(torch, name, function)

    def _where(self, error: BaseException) -> str:
        """The line of the module's code that cannot be traced."""
        frames = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if "/torch/" not in frame.filename and not frame.filename.startswith(OWN)
        ]
        frame = frames[-1] if frames else None
        scope = self._stopped_in or type(self._module).__name__
        return f"{scope} ({frame.filename}, line {frame.lineno}: {frame.line})" if frame else scope

    def _alone(self) -> Any:
        """The module as one step."""
        self.root = self._module
        self.graph = torch.fx.Graph(tracer_cls=type(self))
        args, kwargs = self._placeholders()
        nodes = mapped((args, kwargs), lambda leaf: leaf.node if isinstance(leaf, torch.fx.Proxy) else leaf)
        return self.create_node("call_module", "", *nodes)

    def _placeholders(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        def start(name: str, array: Any) -> Any:
            self._given = [torch.from_numpy(np.array(lane.arrays[name], order="C", copy=True)) for lane in self._lanes]
            self._recorder.start(name, self._given[0])
            proxy = self.create_proxy("placeholder", f"input_{len(self._inputs)}", (), {})
            self._inputs[name] = proxy.node
            return proxy

        return self._lanes[0].filled(start)

    # -- what torch.fx asks its tracers -------------------------------------------------------------------------------

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> tuple[Any, list[Any]]:
        """The inputs as they are given, in whatever structure."""
        args, kwargs = self._placeholders()

        def call(*given: Any) -> Any:
            return root_fn(*given, **kwargs)

        return call, [self.root, *args]

    def is_leaf_module(self, m: torch.nn.Module, module_qualified_name: str) -> bool:
        """Whether a module is one step."""
        return self._is_leaf(m)

    def create_arg(self, a: Any) -> Any:
        """A named tuple is one with its parts in it; to torch.fx by itself it would be a call of its class."""
        if isinstance(a, tuple) and hasattr(a, "_fields"):
            return type(a)(*map(self.create_arg, a))
        return super().create_arg(a)

    def proxy(self, node: Any) -> Known:
        """What stands for a value while the module's Python runs."""
        return Known(node, self)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: Any) -> Any:
        """A parameter or buffer is a value of the trace; but not to what a step does inside."""
        return attr_val if self._inside else super().getattr(attr, attr_val, parameter_proxy_cache)

    def call_module(self, m: torch.nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        """A step, or a module to be traced into."""
        if self._inside:
            return forward(*args, **kwargs)
        try:
            made = super().call_module(m, forward, args, kwargs)
        except Exception:
            self._stopped_in = self._stopped_in or self.path_of_module(m)
            raise
        if not self._is_leaf(m):
            concrete = self._concrete(made)
            self._recorder.left(self.path_of_module(m), m, concrete)
            if isinstance(made, torch.fx.Proxy) and torch.is_tensor(concrete):
                self._steps[made.node].tap = self._steps[made.node].tap or self._recorder.known_as(concrete)
        return made

    def create_node(self, kind: str, target: Any, args: Any, kwargs: Any, *rest: Any, **more: Any) -> Any:
        """Add a step, and run it."""
        node = super().create_node(kind, target, args, kwargs, *rest, **more)
        if kind != "output":
            self._steps[node] = self._step(node)
        return node

    def create_proxy(self, *args: Any, **kwargs: Any) -> Any:
        """What stands for a new value: itself where it is a constant."""
        return self._known(super().create_proxy(*args, **kwargs))

    def to_bool(self, obj: Any) -> bool:
        """What decides must not depend on the network's inputs."""
        step = self._steps[obj.node]
        if step.constant and torch.is_tensor(step.values[0]) and len({bool(each) for each in step.values}) == 1:
            return bool(step.values[0])
        raise StoppedError("decides by the values of a tensor, or by the size of the batch")

    def iter(self, obj: Any) -> Iterator[Any]:
        """One after the other along the first axis, where that is not the batch."""
        size = self.length(obj)
        if not isinstance(size, int):
            raise StoppedError("loops over the batch")
        return iter([obj[index] for index in range(size)])

    def length(self, obj: Any) -> Any:
        """How many there are along the first axis; the Batch, or None, where that follows the batch."""
        step = self._steps[obj.node]
        return size_of([len(each) for each in step.values], step.batch)

    # -- running ------------------------------------------------------------------------------------------------------

    def _step(self, node: Any) -> Step:
        """Run a node on both batches."""
        read = [self._steps[each] for each in node.all_input_nodes]
        first = read[0].values[0] if read else None
        version = first._version if torch.is_tensor(first) else 0
        results, tap = [], ""
        for lane in range(len(self._lanes)):
            result = self._run(node, lane)
            if isinstance(result, np.ndarray):
                raise StoppedError("leaves torch for NumPy")
            results.append(result)
            if lane == 0 and torch.is_tensor(result):
                tap = self._recorder.known_as(result)
        ranks = {tuple(each.dim() for each in tensors_in(result)) for result in results}
        if len(ranks) > 1:
            raise StoppedError("makes tensors with more axes for one batch than for another")
        of = node.target if node.op != "call_module" else self.root.get_submodule(node.target)
        written = torch.is_tensor(first) and results[0] is first and first._version != version
        if written and (kept := _kept_as(self._module, first)):
            raise StoppedError(f"writes into {kept}; a module that is another after each call is no function")
        return Step(
            kind=node.op,
            of=of,
            path=node.target if node.op in ("call_module", "get_attr") else tap or self._named(node),
            args=_with_steps(node.args, self._steps),
            kwargs=_with_steps(node.kwargs, self._steps),
            values=tuple(results),
            batch=self._batch,
            constant=_name(node) in FACTORIES
            or (node.op != "placeholder" and all(each.constant or is_number(each) for each in read)),
            tap=tap if tap in self._recorder.calls else "",
            written=written,
        )

    def _named(self, node: Any) -> str:
        scope = self.scope.module_path
        return ".".join(filter(None, (scope, _name(node).strip("_") or "call")))

    def _run(self, node: Any, lane: int) -> Any:
        """The result of a node on one batch; the recorder watches the first."""
        if node.op == "placeholder":
            return self._given[lane]
        args, kwargs = (
            torch.fx.node.map_arg(each, lambda n: self._steps[n].values[lane]) for each in (node.args, node.kwargs)
        )
        self._inside = True
        try:
            with self._recorder.watching(lane == 0):
                if node.op == "get_attr":
                    return _attribute(self.root, node.target)
                if node.op == "call_method":
                    return getattr(args[0], node.target)(*args[1:], **kwargs)
                if node.op == "call_module":
                    return self.root.get_submodule(node.target)(*args, **kwargs)
                return node.target(*args, **kwargs)
        finally:
            self._inside = False

    def _known(self, proxy: Any) -> Any:
        """A constant itself; a tuple with each part by itself; else what stands for it."""
        values = self._steps[proxy.node].values
        if all(isinstance(each, NUMBERS) for each in values) and all(each == values[0] for each in values):
            read = [self._steps[each] for each in proxy.node.all_input_nodes]
            ensure_known(proxy.node, self._steps[proxy.node], read, values[0])
            return values[0]
        first = values[0]
        if type(first) in (tuple, list, torch.Size):
            if any(len(each) != len(first) for each in values):
                return proxy
            parts = [self._known(Known(self._part(proxy, index), self)) for index in range(len(first))]
            return parts if isinstance(first, list) else tuple(parts)
        return proxy

    def _part(self, proxy: Any, index: int) -> Any:
        return self.create_node("call_function", operator.getitem, (proxy.node, index), {})

    def _concrete(self, made: Any) -> Any:
        """What a module returned, on the first batch."""
        if isinstance(made, torch.fx.Proxy):
            return self._steps[made.node].values[0]
        if isinstance(made, Mapping):
            return {key: self._concrete(each) for key, each in made.items()}
        if isinstance(made, (tuple, list)):
            return tuple(self._concrete(each) for each in made)
        return made


@contextmanager
def _as_it_was(module: torch.nn.Module) -> Iterator[None]:
    """Take what the module's Python, or torch.fx, keeps in it while it is traced away again: it is of the trace."""
    kept = [each for part in module.modules() for each in (vars(part), part._parameters, part._buffers)]
    before = [dict(each) for each in kept]
    try:
        yield
    finally:
        for each, was in zip(kept, before, strict=True):
            each.clear()
            each.update(was)


def _kept_as(module: torch.nn.Module, tensor: Any) -> str:
    """The parameter or buffer of a module in whose memory a tensor is, or nothing."""
    place = tensor.untyped_storage().data_ptr()
    kept = chain(module.named_parameters(), module.named_buffers())
    return next((name for name, each in kept if place and each.untyped_storage().data_ptr() == place), "")


def _name(node: Any) -> str:
    """What a node's function is called."""
    return str(node.target if isinstance(node.target, str) else getattr(node.target, "__name__", ""))


def _attribute(root: Any, target: str) -> Any:
    found = root
    for atom in target.split("."):
        found = getattr(found, atom)
    return found


def _with_steps(tree: Any, steps: Mapping[Any, Step]) -> Any:
    return mapped(tree, lambda leaf: steps[leaf] if isinstance(leaf, torch.fx.Node) else leaf)
