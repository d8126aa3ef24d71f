"""Frozen graphs and SavedModels: which operations they ask for, in the functions of their library too.

A node is named in every refusal, so that whoever made the file can find it. The saving and restoring of a SavedModel
are in its own graph, by design. Operations that read and write checkpoints are let through there, and only there: where
nothing that a signature or an initialiser runs leads to them, and where the restored path is the one that is given.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from parity.artifacts.checks.operations import COMPUTE, SAVERS, why_refused
from parity.artifacts.checks.wire import WireError, fields, messages, numbers, signed, text, texts
from parity.errors import ArtifactError

MOST_NODES = 200_000
"""A graph of more is refused; the largest of the networks in use have a tenth of that."""

_OPERATION = re.compile(r"[A-Z][A-Za-z0-9]*")
"""What operations are called; a function of the file that is called so would be mistaken for one."""

# fmt: off
_SIZES = {
    1: 4, 2: 8, 3: 4, 4: 1, 5: 2, 6: 1, 7: 1, 8: 8, 9: 8, 10: 1, 11: 1, 12: 1, 13: 4, 14: 2, 15: 2, 16: 2, 17: 2,
    18: 16, 19: 2, 20: 1, 21: 1, 22: 4, 23: 8, 24: 1, 25: 1, 26: 1, 27: 1, 28: 1, 29: 1, 30: 1, 31: 1, 32: 1,
}
"""Bytes of a value of each of TensorFlow's types, by its number; for text and handles, at the least."""
# fmt: on


@dataclass(frozen=True, kw_only=True)
class Node:
    """An operation of a graph: every name that it has for its kind, its inputs as written, its attributes."""

    name: str
    ops: tuple[str, ...]
    inputs: tuple[str, ...]
    attributes: tuple[tuple[str, memoryview], ...]

    @property
    def feeds(self) -> Iterator[str]:
        """The nodes, or arguments of the function, that it reads or waits for."""
        return (each.removeprefix("^").partition(":")[0] for each in self.inputs)


@dataclass(frozen=True, kw_only=True)
class Function:
    """A function of a graph's library."""

    name: str
    arguments: tuple[str, ...]
    nodes: tuple[Node, ...]


@dataclass(frozen=True, kw_only=True)
class Graph:
    """The nodes of a graph, and its functions by name."""

    nodes: tuple[Node, ...]
    functions: Mapping[str, Function]

    def bodies(self) -> Iterator[tuple[str, tuple[Node, ...]]]:
        """The graph itself, as "", and each function."""
        yield "", self.nodes
        for name, function in self.functions.items():
            yield name, function.nodes


# --- reading -------------------------------------------------------------------------------------------------


def read(data: memoryview) -> Graph:
    """The graph of a GraphDef. Raises WireError for one that is not well formed."""
    nodes = _nodes(messages(data, 1))
    functions: dict[str, Function] = {}
    for library in messages(data, 2):
        for each in messages(library, 1):
            function = _function(each)
            if function.name in functions:
                raise ArtifactError(f"has two functions called {function.name!r}")
            functions[function.name] = function
    return Graph(nodes=nodes, functions=functions)


def _function(data: memoryview) -> Function:
    names: list[str] = []
    arguments: list[str] = []
    for signature in messages(data, 1):
        names += texts(signature, 1)
        for argument in messages(signature, 2):
            arguments += texts(argument, 1)
    if len(names) != 1:
        raise ArtifactError(f"has a function with {len(names)} names")
    return Function(name=names[0], arguments=tuple(arguments), nodes=_nodes(messages(data, 3)))


def _nodes(found: Iterable[memoryview]) -> tuple[Node, ...]:
    nodes = []
    for data in found:
        nodes.append(node(data))
        if len(nodes) > MOST_NODES:
            raise ArtifactError(f"has more than {MOST_NODES} operations")
    return tuple(nodes)


def node(data: memoryview) -> Node:
    """The node of a NodeDef. Raises WireError for one that is not well formed."""
    parts: dict[int, list[memoryview]] = {}
    for number, _, value in fields(data):
        if not isinstance(value, memoryview):
            raise WireError(f"a number in field {number} of a node", 0)
        parts.setdefault(number, []).append(value)
    attributes = tuple(pair for entry in parts.get(5, ()) for pair in _entries(entry))
    names, ops, inputs = ([text(each) for each in parts.get(number, ())] for number in (1, 2, 3))
    if len(names) != 1 or not ops:
        raise WireError("a node without a name, or of no operation", 0)
    return Node(name=names[0], ops=tuple(ops), inputs=tuple(inputs), attributes=attributes)


def _entries(entry: memoryview) -> Iterator[tuple[str, memoryview]]:
    """An entry of a map: its key with each value that it is given."""
    keys = texts(entry, 1)
    for value in messages(entry, 2):
        yield (keys[-1] if keys else ""), value


def _functions_of(value: memoryview, depth: int = 0) -> Iterator[str]:
    """The functions that an attribute names, in its lists and in the attributes of those functions too."""
    if depth > 16:
        raise ArtifactError("has attributes in attributes, more than 16 deep")
    for listed in messages(value, 1):
        for function in messages(listed, 9):
            yield from _called(function, depth)
    for function in messages(value, 10):
        yield from _called(function, depth)


def _called(function: memoryview, depth: int) -> Iterator[str]:
    yield from texts(function, 1)
    for entry in messages(function, 2):
        for _, value in _entries(entry):
            yield from _functions_of(value, depth + 1)


def calls(each: Node, graph: Graph) -> set[str]:
    """The library's functions that a node calls, as its operation or by an attribute."""
    named = {name for _, value in each.attributes for name in _functions_of(value)}
    return (named | set(each.ops)) & graph.functions.keys()


# --- telling ----------------------------------------------------------------------------------------------------


def is_node(data: memoryview) -> bool:
    """Whether bytes are a NodeDef: named, and of an operation."""
    try:
        found = node(data)
    except ArtifactError:
        return False
    return all(re.fullmatch(r"[\w.>\-/]+", name) for name in (found.name, *found.ops))


def is_library(data: object) -> bool:
    """Whether bytes are the functions of a graph."""
    try:
        return isinstance(data, memoryview) and any(is_node(each) or True for each in messages(data, 1))
    except ArtifactError:
        return False


def is_meta(data: memoryview) -> bool:
    """Whether bytes are a MetaGraphDef, and not the name of who made an ONNX model."""
    try:
        return {number for number, *_ in fields(data)} <= set(range(1, 9))
    except ArtifactError:
        return bool(bytes(data[:256]).translate(None, bytes(range(32, 127))))


# --- checking ------------------------------------------------------------------------------------------------


def check_frozen(data: memoryview, limit: int, allowed: frozenset[str]) -> None:
    """Raise ArtifactError for a frozen graph that is damaged, or that asks for more than to compute."""
    try:
        graph = read(data)
        check(graph, limit, allowed)
    except WireError as error:
        raise ArtifactError(f"is a frozen graph that is cut off or damaged: {error}") from error
    if not graph.nodes:
        raise ArtifactError("is a frozen graph without an operation")


def check(
    graph: Graph, limit: int, allowed: frozenset[str], savers: Mapping[str, frozenset[str]] | None = None
) -> None:
    """Raise ArtifactError unless everything in a graph only computes, is well formed, and fits into the limit.

    `savers` has the nodes that save and restore, by the function that they are in ("" for the graph itself).
    """
    size = 0
    for place, nodes in graph.bodies():
        own = (savers or {}).get(place, frozenset())
        for each in nodes:
            for op in each.ops:
                if op not in COMPUTE and op not in allowed and not (op in SAVERS and each.name in own):
                    _check_called(op, each, place, graph)
            size += _check_attributes(each, limit)
    if size > limit:
        raise ArtifactError(f"has constants of {size} bytes once they are unpacked; at most {limit} are allowed")
    _check_inputs(graph)
    _check_recursion(graph)


def _check_called(op: str, each: Node, place: str, graph: Graph) -> None:
    """Raise ArtifactError unless an operation that is not on the list is a function of the file."""
    if op in graph.functions and not _OPERATION.fullmatch(op):
        return
    where = f"node {each.name!r}" + (f" of function {place!r}" if place else "")
    raise ArtifactError(
        f"asks for the operation {op} ({where}), which {why_refused(op)}; if you trust the file, allow {op} by name"
    )


def _check_inputs(graph: Graph) -> None:
    for place, nodes in graph.bodies():
        known = {each.name for each in nodes} | set(graph.functions[place].arguments if place else ())
        for each in nodes:
            for name in each.feeds:
                if name not in known:
                    raise ArtifactError(f"is damaged: {each.name!r} reads {name!r}, which is not in it")


def _check_recursion(graph: Graph) -> None:
    """Raise ArtifactError for a function that calls itself, by way of others too: it may never end."""
    called = {name: {one for each in f.nodes for one in calls(each, graph)} for name, f in graph.functions.items()}
    done: set[str] = set()
    for start in called:
        path, stack = {start}, [(start, iter(called[start]))]
        while stack and start not in done:
            name, rest = stack[-1]
            for other in rest:
                if other in path:
                    raise ArtifactError(f"has a function that calls itself, {other!r}, which may never end")
                if other not in done:
                    path.add(other)
                    stack.append((other, iter(called[other])))
                    break
            else:
                stack.pop()
                path.discard(name)
                done.add(name)


def _check_attributes(each: Node, limit: int) -> int:
    """The bytes that a node's constant takes. Raises ArtifactError for types, shapes and sizes that cannot be."""
    size = 0
    for name, value in each.attributes:
        try:
            size += sum(_bytes_of_tensor(tensor, limit) for tensor in messages(value, 8))
            for shape in messages(value, 7):
                _count(shape, limit)
            for kind in (found for number, _, found in fields(value) if number == 6):
                _check_type(kind)
            for listed in messages(value, 1):
                _check_sizes(listed)
        except ArtifactError as error:
            raise ArtifactError(f"is damaged: {name!r} of node {each.name!r} has {error}") from error
    return size


def _check_sizes(listed: memoryview) -> None:
    """Raise ArtifactError for a number in a list (of strides, of sizes) that TensorFlow's kernels cannot hold."""
    for size in map(signed, numbers(listed, 3)):
        if not -(1 << 31) <= size < 1 << 31:
            raise ArtifactError(f"{size} in a list of numbers")


def _check_type(kind: object) -> None:
    if not isinstance(kind, int) or (kind - 100 if kind > 100 else kind) not in _SIZES:
        raise ArtifactError(f"values of type number {kind}, which TensorFlow does not have")


def _bytes_of_tensor(data: memoryview, limit: int) -> int:
    """The bytes of a TensorProto once it is unpacked. Raises ArtifactError where its values do not fit its shape."""
    kind, count, stored, content = 0, 1, 0, -1
    for number, _, value in fields(data):
        if number == 1:
            _check_type(value)
            kind = int(value) if isinstance(value, int) else 0
        elif number == 2 and isinstance(value, memoryview):
            count = _count(value, limit)
        elif number == 4 and isinstance(value, memoryview):
            content = len(value)
        elif number != 3:
            stored += len(value) if isinstance(value, memoryview) else 1
    size = count * _SIZES.get(kind, 1)
    if content > 0 and kind != 7 and content != size:
        raise ArtifactError(f"{content} bytes of values where its shape and type need {size}")
    return max(size, stored)


def _count(shape: memoryview, limit: int) -> int:
    """How many values a TensorShapeProto has; unknown sizes count as one. Raises ArtifactError for what cannot be."""
    count = rank = 0
    for dim in messages(shape, 2):
        sizes = [signed(value) for number, _, value in fields(dim) if number == 1 and isinstance(value, int)]
        size = sizes[-1] if sizes else 0
        rank += 1
        if size < -1 or rank > 254:
            raise ArtifactError(f"a size of {size}" if size < -1 else "a shape of more than 254 sizes")
        count = (count if rank > 1 else 1) * (1 if size == -1 else size)
        if count > limit:
            raise ArtifactError(f"a shape of {count} values and more, beyond the limit of {limit} bytes")
    return count if rank else 1


# --- SavedModels ---------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class _Meta:
    """What a MetaGraphDef says beside its graph: what is run of it, what saves and restores it, its assets."""

    run: set[str] = field(default_factory=set)
    functions: set[str] = field(default_factory=set)
    savers: set[str] = field(default_factory=set)
    filenames: set[str] = field(default_factory=set)
    assets: list[str] = field(default_factory=list)


def check_saved_model(folder: Path, limit: int, allowed: frozenset[str]) -> None:
    """Raise ArtifactError for a SavedModel that is damaged, or that asks for more than to compute."""
    data = memoryview((folder / "saved_model.pb").read_bytes())
    try:
        graphs = list(messages(data, 2))
        if not graphs:
            raise ArtifactError("is a SavedModel without a graph")
        for each in graphs:
            _check_meta(each, folder, limit, allowed)
    except WireError as error:
        raise ArtifactError(f"is a SavedModel whose saved_model.pb is cut off or damaged: {error}") from error


def _check_meta(data: memoryview, folder: Path, limit: int, allowed: frozenset[str]) -> None:
    parts = [read(each) for each in messages(data, 2)]
    if len(parts) != 1:
        raise ArtifactError(f"is damaged: it has {len(parts)} graphs where one should be")
    graph, meta = parts[0], _meta(data)
    for name in meta.assets:
        _check_asset(name, folder)
    check(graph, limit, allowed, _savers(graph, meta))
    variables = ("VarHandleOp", "Variable", "VariableV2")
    if any(op in variables for _, nodes in graph.bodies() for each in nodes for op in each.ops):
        for name in ("variables.index", "variables.data-00000-of-*"):
            if not list((folder / "variables").glob(name)):
                raise ArtifactError(
                    f"is a SavedModel without the values of its variables: variables/{name} is not there"
                )


def _check_asset(name: str, folder: Path) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or not name:
        raise ArtifactError(f"names an asset outside of its folder: {name!r}")
    if not (folder / "assets" / name).is_file():
        raise ArtifactError(f"lacks an asset that it names: assets/{name}")


def _meta(data: memoryview) -> _Meta:
    meta = _Meta()
    for saver in messages(data, 3):
        meta.filenames |= {_node_of(name) for name in texts(saver, 1)}
        meta.savers |= {_node_of(name) for number in (2, 3) for name in texts(saver, number)}
    for collection in messages(data, 4):
        for _, value in _entries(collection):
            meta.run |= {_node_of(name) for listed in messages(value, 1) for name in texts(listed, 1)}
    for signature in messages(data, 5):
        for _, value in _entries(signature):
            infos = [info for entry in messages(value, 2) for _, info in _entries(entry)]
            meta.run |= {_node_of(name) for info in infos for name in texts(info, 1)}
    for asset in messages(data, 6):
        meta.assets += texts(asset, 2)
    for objects in messages(data, 7):
        for entry in messages(objects, 2):
            meta.functions |= set(texts(entry, 1))
    return meta


def _node_of(tensor: str) -> str:
    return tensor.removeprefix("^").partition(":")[0]


def _savers(graph: Graph, meta: _Meta) -> dict[str, frozenset[str]]:
    """The nodes that save and restore and do nothing else, by the function that they are in."""
    run = _reached(graph, meta.run, meta.functions)
    saving = _reached(graph, meta.savers, set())
    found = {}
    for place, nodes in graph.bodies():
        if place in run and place:
            continue
        candidates = [each for each in nodes if each.name in saving.get(place, ())]
        given = meta.filenames if not place else set(graph.functions[place].arguments)
        by_name = {each.name: each for each in nodes}
        found[place] = frozenset(
            each.name
            for each in candidates
            if each.name not in run.get(place, ())
            and (not each.ops[0].startswith("Restore") or _origin(each, by_name) in given)
        )
    return found


def _origin(each: Node, nodes: Mapping[str, Node]) -> str:
    """Where a restoring node has its path from, through nodes that hand it on."""
    name = _node_of(each.inputs[0]) if each.inputs else ""
    for _ in nodes:
        handed = nodes.get(name)
        if handed is None or "Identity" not in handed.ops or not handed.inputs:
            break
        name = _node_of(handed.inputs[0])
    return name


def _reached(graph: Graph, roots: set[str], functions: set[str]) -> dict[str, set[str]]:
    """The nodes that roots need, by the function that they are in; all nodes of a function that is called."""
    by_name = {each.name: each for each in graph.nodes}
    reached: dict[str, set[str]] = {"": set()}
    waiting, called = [by_name[name] for name in roots if name in by_name], functions & graph.functions.keys()
    while waiting:
        each = waiting.pop()
        if each.name in reached[""]:
            continue
        reached[""].add(each.name)
        called = called | calls(each, graph)
        waiting += [by_name[name] for name in each.feeds if name in by_name]
    while called:
        name = called.pop()
        if name not in reached:
            reached[name] = {each.name for each in graph.functions[name].nodes}
            for each in graph.functions[name].nodes:
                called |= calls(each, graph)
    return reached
