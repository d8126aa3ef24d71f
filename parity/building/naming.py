"""What the layers and operations of a converted model are called: by the paths that torch has for them.

Keras numbers what has no name, from one on in each process, so that no two conversions of one network would be alike.
"""

from collections.abc import Iterator
from typing import Any

from parity.building.values import Site, each_value
from parity.frameworks import keras


def plain_name(path: str) -> str:
    """A path in the letters that TensorFlow's names have.

    >>> plain_name("blocks.0.cat#2"), plain_name("_conv")
    ('blocks.0.cat_2', 'conv')
    """
    return "".join(each if each.isalnum() or each in "._-" else "_" for each in path).strip("_") or "layer"


def kind_name_of(operation: Any) -> str:
    """The name of an operation's class as Keras writes it in names.

    >>> kind_name_of(keras.layers.ZeroPadding2D())
    'zero_padding2d'
    """
    return str(keras.src.utils.naming.to_snake_case(type(operation).__name__))


class Names:
    """The names of one model, each once, and the operations that have theirs."""

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}
        self._named: set[int] = set()
        self._seen: set[tuple[int, int]] = set()

    def new(self, name: str) -> str:
        """The name, or with a number where it is taken."""
        self._taken[name] = self._taken.get(name, 0) + 1
        return name if self._taken[name] == 1 else self.new(f"{name}_{self._taken[name]}")

    def name(self, result: Any, site: Site) -> None:
        """Call what was made for a place by its name: a layer that has it, or else the last operation; the others by it
        and their kind."""
        values = list(each_value(result))
        made = [each for value in values for each in self._unnamed(value.tensor)]
        ends = {id(_maker(value.tensor)) for value in values}
        own, called = site.name(), False
        for each in made:
            within = each.name.startswith((f"{own}_", f"{own}."))
            is_own = isinstance(each, keras.layers.Layer) and (each.name == own or within)
            called = called or (is_own and each.name == own)
            if not is_own:
                each.name = own if id(each) in ends and not called else f"{own}_{kind_name_of(each)}"
            each.name = self.new(each.name)

    def _unnamed(self, tensor: Any) -> Iterator[Any]:
        """The operations on the way to a tensor that have no name yet, the first first."""
        stack, found = [tensor], list[Any]()
        while stack:
            history = getattr(stack.pop(), "_keras_history", None)
            if history is None or history.operation is None:
                continue
            made, index, _ = history
            if (id(made), index) in self._seen or isinstance(made, keras.layers.InputLayer):
                continue
            self._seen.add((id(made), index))
            if id(made) not in self._named:
                self._named.add(id(made))
                found.append(made)
            stack.extend(made._inbound_nodes[index].input_tensors)
        yield from reversed(found)


def _maker(tensor: Any) -> Any:
    """The operation that makes a symbolic tensor."""
    history = getattr(tensor, "_keras_history", None)
    return None if history is None else history.operation
