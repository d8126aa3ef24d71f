"""What a user's code defines is found wherever it is, and what fails in it is one sentence with its line."""

import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from parity.errors import UsageError, UserCodeError
from parity.frameworks import torch
from parity.lookup import both, is_spec, module_of, named, resolved
from parity.pairs import Pair


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current folder; what is imported from it is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def write(path: str, text: str) -> None:
    """A file in the current folder."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a.b:c", True), ("x/y.py:c.d", True), ("port.keras", False), ("a.b", False), ("a:1", False), ("mine.py", False)],
)
def test_a_place_in_code_has_a_colon_and_a_name(text: str, expected: bool) -> None:
    """Paths of models, bare modules and numbers are no places in code."""
    assert is_spec(text) is expected


def test_a_module_of_the_current_folder_is_found() -> None:
    """pkg.module:attr is looked for in the current folder, and dots lead further into what is there."""
    write("lookup_pkg/inner.py", "class Box:\n    value = 7\n")
    assert named("lookup_pkg.inner:Box.value") == 7


def test_a_file_is_imported_once_with_its_neighbours() -> None:
    """A file may import what lies beside it, and is one module however often and by whatever path it is named."""
    write("far/lookup_beside.py", "value = 5\n")
    write("far/lookup_main.py", "from lookup_beside import value\ntoken = object()\n")
    assert named("far/lookup_main.py:value") == 5
    assert named("far/lookup_main.py:token") is named("./far/../far/lookup_main.py:token")


def test_a_file_of_a_package_keeps_its_relative_imports() -> None:
    """A file beside an __init__.py is imported as the package's module."""
    write("lookup_pack/__init__.py", "")
    write("lookup_pack/sizes.py", "width = 3\n")
    write("lookup_pack/net.py", "from .sizes import width\n")
    assert named("lookup_pack/net.py:width") == 3
    assert module_of("lookup_pack/net.py").__name__ == "lookup_pack.net"


def test_a_file_with_the_name_of_another_module_is_itself() -> None:
    """A user's json.py is what is meant, and the json that everybody else imports stays."""
    import json

    write("json.py", "value = 2\n")
    assert named("json.py:value") == 2
    assert sys.modules["json"] is json


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("nosuch_module:x", "no module is called 'nosuch_module', neither in"),
        ("nosuch.py:x", r"nosuch\.py: no such file in"),
        ("lookup_here.py:biuld", "has no 'biuld'; did you mean 'build'"),
        ("just words", "'just words' names nothing; write pkg.module:attr or path/to/file.py:attr"),
    ],
)
def test_what_is_not_there_is_wrong_use(spec: str, sentence: str) -> None:
    """Exit 2, and what was looked for is in the sentence."""
    write("lookup_here.py", "def build(): pass\n")
    with pytest.raises(UsageError, match=sentence):
        named(spec)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x = 1\ny = x / 0\n", r"ZeroDivisionError: division by zero \(.*lookup_bad\.py, line 2\)"),
        ("def f(:\n", r"SyntaxError: .*\(.*lookup_bad\.py, line 1\)"),
        ("\n\nimport nosuch_dependency\n", r"No module named 'nosuch_dependency' \(.*lookup_bad\.py, line 3\)"),
        ("import sys\nsys.exit(4)\n", r"SystemExit: 4 \(.*lookup_bad\.py, line 2\)"),
        ("import json\njson.loads('{')\n", r"JSONDecodeError: .*\(.*lookup_bad\.py, line 2\)"),
    ],
)
def test_what_fails_in_the_users_code_says_where(text: str, sentence: str) -> None:
    """Exit 3: the exception and the user's line, also where a library raised it; not a word of parity's own code."""
    write("lookup_bad.py", text)
    with pytest.raises(UserCodeError, match=f"importing lookup_bad.py failed with .*{sentence}") as failed:
        named("lookup_bad.py:x")
    assert failed.value.exit_code == 3
    assert "parity/lookup.py" not in str(failed.value)


def test_a_builder_that_fails_says_where() -> None:
    """A builder's own mistake is told like an import's."""
    write("lookup_builder.py", "def build():\n    return [][1]\n")
    with pytest.raises(UserCodeError, match=r"building the port of a, lookup_builder.py:build failed.*line 2"):
        resolved("lookup_builder.py:build", "the port of a")


def test_sides_are_built() -> None:
    """Functions, classes and partials without arguments are called, by name or as they are; objects are left alone."""
    write(
        "lookup_sides.py", "import torch\nclass Net(torch.nn.Linear):\n    def __init__(self): super().__init__(2, 3)\n"
    )
    net = torch.nn.Linear(3, 5)
    pair = both(Pair(name="a", reference="lookup_sides.py:Net", port=functools.partial(torch.nn.Linear, 2, 7)))
    assert (pair.reference.out_features, pair.port.out_features) == (3, 7)
    assert both(pair).reference is pair.reference
    assert resolved(lambda: net) is net
    assert resolved("some/port.keras") == "some/port.keras"


def test_a_port_that_is_a_function_is_no_builder() -> None:
    """What takes a value is the network itself."""

    def port(value: float) -> float:
        return value

    assert resolved(port) is port


def test_what_a_builder_makes_is_put_in_eval_mode() -> None:
    """A torch module out of a builder is put in evaluation mode; one that was there before is not touched."""
    assert not resolved(lambda: torch.nn.Dropout()).training
    assert resolved(torch.nn.Dropout()).training


def test_a_class_that_needs_arguments_is_refused() -> None:
    """It is neither a network nor a builder, and what it needs is named."""
    with pytest.raises(UsageError, match=r"needs arguments \(in_features, out_features\); name a function"):
        resolved(torch.nn.Linear)


def test_a_side_is_had_without_the_other_engine(tmp_path: Path) -> None:
    """In a process of its own the torch side is resolved, and TensorFlow is not loaded for it."""
    write("lookup_torch.py", "import torch\nNet = torch.nn.Identity\n")
    code = (
        "import sys; from parity.lookup import resolved; resolved('lookup_torch.py:Net');"
        "print('torch' in sys.modules, {'tensorflow', 'keras'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "True set()\n"
