"""The modules of a recorded network: what each is, how it is set up, its weights; none of them can be run.

A recorded module is an instance of its layer's class (`torch.nn.Conv2d`, or the stand-in of that name where torch is
not loaded), so whoever asks which layer it is, how it is set up, or for its weights need not know that it was recorded.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict

from parity.axes import Array
from parity.errors import PairError
from parity.frameworks import torch
from parity.golden.words import Fetch, Keep, decoded, encoded
from parity.parametrized import MAKERS, class_of

LAYERS = "torch.nn"


class Record(BaseModel):
    """A part of a file's metadata."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class ModuleRecord(Record):
    """A module: the layer of torch.nn that it is (`base`) or derives from, its own name, what it holds.

    `parameters` and `buffers` have the names of their arrays; `transient` names buffers that are no part of its state.
    """

    base: str
    name: str
    home: str
    words: str
    settings: dict[str, Any]
    parameters: dict[str, str | None]
    buffers: dict[str, str | None]
    transient: tuple[str, ...] = ()
    children: dict[str, int] = {}


def recorded(module: Any, keep: Keep) -> list[ModuleRecord]:
    """A network's modules, the network first, each once; `keep` is given every weight and returns its name."""
    order = list(module.modules())
    index = {id(each): number for number, each in enumerate(order)}
    return [_recorded(each, index, keep) for each in order]


def _recorded(module: Any, index: Mapping[int, int], keep: Keep) -> ModuleRecord:
    def kept(held: Mapping[str, Any]) -> dict[str, str | None]:
        return {name: None if tensor is None else keep(tensor) for name, tensor in held.items()}

    held = module._modules
    kind = type(module) if MAKERS in held else class_of(module)
    own = {key: value for key, value in vars(module).items() if key not in _plumbing() or key == "training"}
    return ModuleRecord(
        base=next(each.__name__ for each in kind.__mro__ if getattr(torch.nn, each.__name__, None) is each),
        name=kind.__name__,
        home=kind.__module__,
        words=repr(module) if not held else kind.__name__,
        settings={key: encoded(value, keep) for key, value in own.items()},
        parameters=kept(module._parameters),
        buffers=kept(module._buffers),
        transient=tuple(module._non_persistent_buffers_set),
        children={name: index[id(child)] for name, child in held.items() if child is not None},
    )


@cache
def _plumbing() -> frozenset[str]:
    """What every module has of its own: its hooks, the dicts of what it holds."""
    return frozenset(vars(torch.nn.Module()))


class RecordedModule:
    """What a recorded module does in place of a module's own methods."""

    recorded_kind: type
    """The class of the layer that was recorded."""
    _parameters: Mapping[str, Array | None]
    _buffers: Mapping[str, Array | None]
    _modules: Mapping[str, Any]
    _transient: Sequence[str]
    _words: str

    def __getattr__(self, name: str) -> Any:
        for held in ("_parameters", "_buffers", "_modules"):
            if name in vars(self).get(held, ()):
                return vars(self)[held][name]
        raise AttributeError(f"{type(self).__name__} was recorded without {name!r}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Nothing: it raises PairError."""
        raise PairError(f"{self._words} is recorded, and cannot be run")

    def __repr__(self) -> str:
        return self._words

    def named_modules(
        self, memo: Any = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Any]]:
        """Itself and all below it, by their paths; one that is held twice is there twice unless duplicates go."""
        seen: set[int] = set() if memo is None else memo
        if remove_duplicate and id(self) in seen:
            return
        seen.add(id(self))
        yield prefix, self
        for name, child in self._modules.items():
            yield from child.named_modules(seen, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def children(self) -> Iterator[Any]:
        """The modules that it holds."""
        yield from self._modules.values()

    def named_children(self) -> Iterator[tuple[str, Any]]:
        """The modules that it holds, by name."""
        yield from self._modules.items()

    def parameters(self, recurse: bool = True) -> Iterator[Array]:
        """Its parameters, and with `recurse` those of all below it."""
        for _, module in self.named_modules() if recurse else (("", self),):
            yield from (array for array in module._parameters.values() if array is not None)

    def state_dict(self, *args: Any, keep_vars: bool = False, **kwargs: Any) -> dict[str, Array]:
        """Its weights and saved buffers, by their paths."""
        found = {}
        for path, module in self.named_modules(remove_duplicate=False):
            saved = {name: array for name, array in module._buffers.items() if name not in module._transient}
            for name, array in {**module._parameters, **saved}.items():
                if array is not None:
                    found[f"{path}.{name}" if path else name] = array
        return found


def modules(records: Sequence[ModuleRecord], fetch: Fetch) -> list[Any]:
    """The modules that were recorded; arrays are fetched once each, so that what is shared stays shared."""
    fetched = cache(fetch)
    made = [_made(_class(each.base, each.name, each.home)) for each in records]
    for module, record in zip(made, records, strict=True):
        vars(module).update(
            {key: decoded(value, fetched) for key, value in record.settings.items()},
            _parameters={key: None if name is None else fetched(name) for key, name in record.parameters.items()},
            _buffers={key: None if name is None else fetched(name) for key, name in record.buffers.items()},
            _modules={name: made[number] for name, number in record.children.items()},
            _transient=record.transient,
            _words=record.words,
        )
    return made


def _made(kind: type) -> Any:
    """An instance as it is before its constructor."""
    return object.__new__(kind)


@cache
def _class(base: str, name: str, home: str) -> type:
    """The class of a recorded module: that of its layer, which cannot be run."""
    layer: Any = getattr(torch.nn, base, torch.nn.Module)
    own = home.startswith(f"{LAYERS}.") and name == base
    kind = layer if own else type(layer)(name, (layer,), {"__module__": home})
    made: type = type(kind)(name, (RecordedModule, kind), {"__module__": kind.__module__, "recorded_kind": kind})
    return made


def weights(module: Any) -> list[Array]:
    """What a recorded layer is computed with, its statistics too, as a tap of a torch module has it."""
    return [array for array in module.state_dict().values() if array.dtype.kind == "f"]
