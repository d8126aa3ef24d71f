"""The exception tree: what its docstring draws is what there is, and each error ends a command as it says."""

import inspect
import re

import pytest

from parity import errors
from parity.errors import CheckpointError, InputError, ParityError, UsageError


def drawn(text: str) -> dict[str, str]:
    """Each name of a drawn tree and its parent's, read from how far it is indented."""
    parents: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in text.splitlines():
        found = re.match(r"([│├└─ ]*)([A-Z]\w*Error)\b", line)
        if not found:
            continue
        depth = len(found[1])
        above = [(column, name) for column, name in above if column < depth]
        parents[found[2]] = above[-1][1] if above else "Exception"
        above.append((depth, found[2]))
    return parents


def real() -> dict[str, str]:
    """Each exception class of the module and its parent's name."""
    classes = [value for value in vars(errors).values() if inspect.isclass(value)]
    return {kind.__name__: kind.__bases__[0].__name__ for kind in classes}


def test_the_drawn_tree_is_the_real_one() -> None:
    """Every class is drawn under its base class, in its place, and nothing else is drawn."""
    assert drawn(errors.__doc__ or "") == real()
    assert len(real()) > 5


def test_the_drawing_is_read_as_it_looks() -> None:
    """The check above can fail: a class drawn one step further in has another parent."""
    tree = "AError\n├── BError\n│   └── CError  words\n└── DError\n"
    assert drawn(tree) == {"AError": "Exception", "BError": "AError", "CError": "BError", "DError": "AError"}
    assert drawn(tree.replace("└── DError", "│   └── DError"))["DError"] == "BError"


def test_the_drawn_exit_codes_are_the_real_ones() -> None:
    """Where the drawing gives an exit code, the class has it, and every class below has it too."""
    said = {name: int(code) for name, code in re.findall(r"([A-Z]\w*Error)\s+exit (\d)", errors.__doc__ or "")}
    assert said == {"ParityError": 3, "UsageError": 2}
    for name in real():
        kind = getattr(errors, name)
        assert kind.exit_code == (2 if issubclass(kind, UsageError) else 3), name


def test_one_except_clause_catches_them_all() -> None:
    """Everything raised on purpose is a ParityError, and nothing else is: a mistake in parity stays a mistake."""
    for name in real():
        assert issubclass(getattr(errors, name), ParityError)
    with pytest.raises(ParityError, match="what is wrong"):
        raise InputError("what is wrong")
    assert not issubclass(ParityError, (ValueError, OSError, RuntimeError))
    assert not issubclass(CheckpointError, UsageError)


@pytest.mark.parametrize("name", real())
def test_every_error_says_when(name: str) -> None:
    """Each class has a sentence of its own."""
    text = getattr(errors, name).__doc__
    assert text
    assert text.rstrip().endswith((".", "with."))
    assert text != ParityError.__doc__ or name == "ParityError"
