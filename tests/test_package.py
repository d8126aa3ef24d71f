"""The package as users meet it: a light import, a fixed set of names, each of them there."""

import importlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import parity

HEAVY = ("torch", "tensorflow", "keras", "triton", "numpy", "scipy", "pydantic", "PIL", "skimage")

EXPORTED = [
    *("Axes", "Cause", "Finding", "Input", "NoiseFloor", "Pair", "Report", "Tolerance"),
    *("convert", "inputs", "models", "pair", "record", "verify"),
]


def loaded_by(code: str) -> list[str]:
    """Which of HEAVY a fresh interpreter has loaded after running `code`."""
    script = f"import json, sys\n{code}\nprint(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    root = str(Path(parity.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r})\n{script}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found: list[str] = json.loads(done.stdout)
    return found


def test_import_is_light() -> None:
    """`import parity` loads no framework, and not even NumPy; nor does asking what is in it."""
    assert loaded_by("import parity") == []
    assert loaded_by("import parity; dir(parity); parity.__version__; hasattr(parity, 'nonsense')") == []


def test_a_heavy_import_would_be_seen() -> None:
    """The check above can fail: a name that needs NumPy is seen to load it, and a framework too."""
    assert "numpy" in loaded_by("import parity; parity.Axes")
    assert "torch" in loaded_by("import parity, torch")


def test_describing_a_pair_loads_no_framework() -> None:
    """Pairs, inputs, tolerances, reports and the list of models are there before torch and TensorFlow are."""
    names = "parity.Pair, parity.Input, parity.Tolerance, parity.Report, parity.models.names()"
    noise = "parity.inputs.noise((1, 3, 5, 7), seed=0)"
    assert not {"torch", "tensorflow", "keras"} & set(loaded_by(f"import parity; {names}; {noise}"))


def test_the_exported_names_are_these() -> None:
    """A name is added to or taken from the public face on purpose, here and there."""
    assert parity.__all__ == EXPORTED == sorted(EXPORTED, key=lambda name: (name.islower(), name))
    assert set(EXPORTED) <= set(dir(parity))


@pytest.mark.parametrize("name", EXPORTED)
def test_every_exported_name_resolves(name: str) -> None:
    """Each exported name leads to something, the same each time, of that name."""
    found = getattr(parity, name)
    assert getattr(parity, name) is found
    assert found.__name__.rpartition(".")[2] == name


def test_lazy_names_and_declared_ones_are_the_same() -> None:
    """What type checkers are told to import is what is imported when a name is used."""
    declared: dict[str, str] = {}
    for line in Path(parity.__file__).read_text().splitlines():
        if line.startswith("    from parity"):
            home, _, names = line.strip().removeprefix("from ").partition(" import ")
            declared |= dict.fromkeys(names.split(", "), home)
    assert set(declared) == set(EXPORTED)
    for name, home in declared.items():
        assert getattr(importlib.import_module(home), name) is getattr(parity, name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A misspelt name fails as in any module, and names what was asked for."""
    with pytest.raises(AttributeError, match="module 'parity' has no attribute 'Pairs'"):
        _ = parity.Pairs  # type: ignore[attr-defined]


def test_the_version_is_said_once() -> None:
    """The package and its metadata agree on the version."""
    project = tomllib.loads((Path(parity.__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert parity.__version__ == project["version"]
