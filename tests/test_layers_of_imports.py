"""parity's rooms are built one on the other: imports run downward only, and one file brings the frameworks in."""

import ast
import graphlib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

import parity

ROOT = Path(parity.__file__).parent

ORDER: tuple[tuple[str, ...], ...] = (
    ("errors", "numbers", "switches", "trees"),
    ("axes", "files", "portraits", "tolerance"),
    ("comparison", "report", "pairs", "ends"),
    ("differences", "explanation", "history", "lookup", "watch"),
    ("frameworks",),
    ("parametrized",),
    ("runners", "inputs", "converters", "checkpoints", "doctor"),
    ("layouts", "alignment"),
    ("building",),
    ("artifacts",),
    ("adequacy", "anchored", "judge"),
    ("diagnosis", "golden"),
    ("examination", "models"),
    ("gradients",),
    ("verification",),
    ("repair", "repro", "recording", "conversion"),
    ("render",),
    ("faults", "layers", "settings"),
    ("isolation", "publishing"),
    ("gate",),
    ("export",),
    ("plugin",),
    ("cli", "pytest_plugin"),
    ("__main__",),
)
"""Each row may import from the rows above it, a room from within itself; nothing from beside or below."""

ENGINES = ("torch", "torchvision", "tensorflow", "keras", "triton")
DOOR = "frameworks"
"""The one module that may import an engine: it decides their order."""


def module_name(path: Path) -> str:
    """A file's module inside the package: `runners.taps`, and "" for the package itself."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix("__init__").rstrip(".")


def sources() -> dict[str, str]:
    """The text of every module of the package, by name."""
    return {module_name(path): path.read_text(encoding="utf-8") for path in sorted(ROOT.rglob("*.py"))}


@cache
def imports(text: str) -> tuple[str, ...]:
    """Everything a module imports, by full name, also inside functions; what only type checkers see is left out."""
    return tuple(_imported(ast.parse(text)))


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in _executed(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    children = ast.iter_child_nodes(node)
    if isinstance(node, ast.If) and ast.unparse(node.test).rpartition(".")[2] == "TYPE_CHECKING":
        children = iter(node.orelse)
    for child in children:
        yield from _executed(child)


def own_imports(modules: Mapping[str, str]) -> dict[str, set[str]]:
    """For each module of the package, those of its modules that it imports."""
    found: dict[str, set[str]] = {}
    for name, text in modules.items():
        inside = [each.removeprefix("parity.") for each in imports(text) if each.startswith("parity.")]
        found[name] = {each if each in modules else each.rpartition(".")[0] for each in inside}
    return found


def room_of(module: str) -> str:
    """The room a module is in: `runners` for `runners.taps`."""
    return module.partition(".")[0]


def upward(modules: Mapping[str, str]) -> list[str]:
    """Each import that does not run downward, as a sentence."""
    row = {room: index for index, rooms in enumerate(ORDER) for room in rooms}
    problems = []
    for module, targets in own_imports(modules).items():
        room = room_of(module)
        if module and room not in row:
            problems.append(f"parity.{module} has no place in ORDER; give {room!r} one in {Path(__file__).name}")
        for target in sorted(targets):
            other = room_of(target)
            if target and other != room and row.get(other, -1) >= row.get(room, -1):
                problems.append(f"parity.{module} imports parity.{target}, which is not below it")
    return problems


def engines(modules: Mapping[str, str]) -> list[str]:
    """Each import of an engine outside of the one file for it, as a sentence."""
    return [
        f"parity.{module} imports {name}; take it from parity.{DOOR}"
        for module, text in modules.items()
        for name in imports(text)
        if name.partition(".")[0] in ENGINES and module != DOOR
    ]


def test_imports_run_downward() -> None:
    """No module imports from its own row or one below it."""
    assert upward(sources()) == []


def test_every_room_of_the_order_is_there() -> None:
    """The order names no room that is gone, and none twice."""
    rooms = [room for row in ORDER for room in row]
    assert sorted(rooms) == sorted({room_of(module) for module in sources() if module})


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Inside the rooms as well there are no circles, so each module can be read after those it builds on."""
    order = list(graphlib.TopologicalSorter(own_imports(sources())).static_order())
    assert order.index("errors") < order.index("verification") < order.index("cli")


def test_one_file_imports_the_engines() -> None:
    """Only parity.frameworks imports torch, TensorFlow, Keras or triton: elsewhere their order would be luck."""
    assert engines(sources()) == []
    assert {name.partition(".")[0] for name in imports(sources()[DOOR])} >= {"triton", "torch", "tensorflow", "keras"}


@pytest.mark.parametrize(
    ("module", "line", "problem"),
    [
        ("report", "from parity.comparison import compare", "parity.report imports parity.comparison,"),
        ("axes", "from parity.verification import verify", "parity.axes imports parity.verification,"),
        ("errors", "from parity import cli", "parity.errors imports parity.cli,"),
        ("runners.taps", "import parity.alignment", "parity.runners.taps imports parity.alignment,"),
        ("axes", "def late():\n    from parity.render import terminal", "parity.axes imports parity.render.terminal,"),
        ("attic", "", "parity.attic has no place in ORDER"),
    ],
)
def test_an_upward_import_would_be_seen(module: str, line: str, problem: str) -> None:
    """The check can fail: an import from beside or below is named, in a function too, and so is a new room."""
    modules = sources()
    found = set(upward({**modules, module: f"{modules.get(module, '')}\n{line}\n"})) - set(upward(modules))
    assert [sentence.startswith(problem) for sentence in found] == [True]


@pytest.mark.parametrize("line", ["import torch", "from torch.overrides import TorchFunctionMode", "import keras.ops"])
def test_an_engine_elsewhere_would_be_seen(line: str) -> None:
    """The check can fail: an engine, or a part of one, imported in another module is named."""
    (found,) = engines({**sources(), "diagnosis.values": f"def late():\n    {line}\n"})
    assert found.startswith("parity.diagnosis.values imports ")


def test_a_circle_would_be_seen() -> None:
    """The check can fail: two modules of one room that import each other are a circle."""
    modules = sources()
    modules["runners.taps"] += "\nfrom parity.runners.float64 import conv2d\nfrom parity.runners import torch_module\n"
    with pytest.raises(graphlib.CycleError, match=r"runners\.t"):
        list(graphlib.TopologicalSorter(own_imports(modules)).static_order())


def test_what_only_type_checkers_see_is_no_import() -> None:
    """Names under TYPE_CHECKING are free, and their else branch is not."""
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\nelse:\n    import keras\n"
    assert list(imports(text)) == ["typing.TYPE_CHECKING", "keras"]


def test_relative_imports_are_not_used() -> None:
    """Every import says its full name, so that these checks see it."""
    assert [name for text in sources().values() for name in imports(text) if name.startswith(".")] == []
