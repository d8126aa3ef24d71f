"""The first draft of a user's pair: what `parity init` finds out about both sides, and the file that it writes."""

import keyword
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from parity.errors import UsageError
from parity.inputs.signature import FLOAT, INTEGER, RANGE, Slot
from parity.lookup import both, users_code
from parity.models.feeding import Feeding, Place
from parity.models.settings import Settings
from parity.pairs import Input, Pair
from parity.runners.torch_module import TorchModule


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A pair to be written: where its sides are, and what was found out by building them.

    `slots` are the networks' inputs, `layouts` says in words how the reference has them; `axes` has the layouts that
    are not those of their rank, by input; `input_map` which input is which, where the two orders differ.
    """

    name: str
    reference: str
    port: str
    slots: tuple[Slot, ...]
    layouts: tuple[str, ...]
    values: tuple[float, float] = RANGE
    axes: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    input_map: Mapping[str, str] = field(default_factory=dict)

    def text(self, file: str) -> str:
        """The file's text; `file` is its name, for the commands it mentions."""
        return "\n".join([*self._head(file), *self._pair(), ""])

    def _head(self, file: str) -> Iterator[str]:
        yield f'"""{self.name}: a network in torch and its port.'
        yield ""
        yield f"`parity verify {file}`, or `pytest --model {file}:{self.identifier}`."
        yield '"""'
        yield ""
        yield "import parity"
        yield ""

    def _pair(self) -> Iterator[str]:
        yield f"{self.identifier} = parity.Pair("
        yield f'    name="{self.name}",'
        yield "    # Each side: a class or a function that needs no arguments, as module:name or file.py:name."
        yield f"    reference={quoted(self.reference)},"
        yield f"    port={quoted(self.port)},  # or the path of a .keras file"
        yield f"    # What both are run on, as the reference takes it: {', '.join(self.layouts)}."
        yield f"    inputs=lambda: [{self._inputs()}],"
        if self.axes:
            yield "    # The axes of the inputs, in the reference and in the port."
            yield f"    axes={_dict(self.axes)},"
        if self.input_map:
            yield "    # Which input of the reference is which of the port's."
            yield f"    input_map={_dict(self.input_map)},"
        yield "    # Where parity finds no partner for a layer: the reference's name, and the port's."
        yield '    # layers={"features.conv1": "conv2d_1"},'
        yield "    # Layers that are left out on purpose."
        yield '    # waived=frozenset({"auxiliary_head"}),'
        yield ")"

    def _inputs(self) -> str:
        low, high = (f"{value:g}" for value in self.values)
        first = self.slots[0]
        if len(self.slots) == 1 and first.kind == FLOAT:
            return f"parity.inputs.noise({first.shape}, low={low}, high={high})"
        if len(self.slots) == 1 and first.kind == INTEGER and first.vocabulary:
            return f"parity.inputs.tokens({first.shape}, {first.vocabulary})"
        slots = "".join(f"{_slot(slot)},\n" for slot in self.slots)
        values = f"values=({low}, {high}),\n" if any(slot.kind == FLOAT for slot in self.slots) else ""
        call = f"parity.inputs.from_signature(\n{_deeper(f'[{chr(10)}{_deeper(slots)}],{chr(10)}{values}')})\n"
        return f"\n{_deeper(call, 8)}    "

    @property
    def identifier(self) -> str:
        """The pair's name in the file."""
        return identifier(self.name)


def identifier(name: str) -> str:
    """A name as Python takes it. Raises UsageError for what cannot be made one.

    >>> identifier("my-net.v2")
    'my_net_v2'
    """
    made = re.sub(r"\W", "_", name)
    if not re.fullmatch(r"[\w.-]+", name) or not made.isidentifier() or keyword.iskeyword(made):
        raise UsageError(f"{name!r} cannot be a pair's name: letters, digits, - and _, beginning with a letter")
    return made


def draft(name: str, reference: str, port: str, settings: Settings) -> Draft:
    """What can be found out about a pair by building both sides and running the reference once on noise.

    `settings` have the shapes and the range of values that the user gives. Raises UsageError where a side is not there,
    UserCodeError where it cannot be built or run, InputError where the port does not say what it takes.
    """
    identifier(name)
    pair = both(Pair(name=name, reference=reference, port=port))
    feeding = Feeding(pair, settings)
    slots, places = feeding.slots(), feeding.places
    fed, (given,) = feeding.fed()
    _run(fed, given)
    return Draft(
        name=name,
        reference=reference,
        port=port,
        slots=slots,
        layouts=tuple(
            f"{slot.name} {place.layout if slot.kind == FLOAT else slot.kind}"
            for slot, place in zip(slots, places, strict=True)
        ),
        values=settings.values or RANGE,
        axes={place.way: (place.layout, place.port_layout) for place in places if _is_unusual(place, fed)},
        input_map=fed.input_map,
    )


def _is_unusual(place: Place, pair: Pair) -> bool:
    """Whether a place has another layout than its rank has; the axes of tokens and masks are never moved.

    A port that does not say what it takes, such as a function or an unbuilt model, has no layout of its own.
    """
    if place.kind != FLOAT or not place.port_layout:
        return False
    return (place.layout, place.port_layout) != pair.axes.of(place.way, len(place.layout))


def _run(pair: Pair, given: Input) -> None:
    shapes = ", ".join(f"{name} {array.shape}" for name, array in given.arrays.items())
    with users_code(f"running the reference of {pair.name} on {shapes}"):
        TorchModule(pair.reference).taps(given)


def quoted(text: str) -> str:
    """A text as Python and its formatters write it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _dict(values: Mapping[str, str | tuple[str, str]]) -> str:
    def written(value: str | tuple[str, str]) -> str:
        return quoted(value) if isinstance(value, str) else f"({', '.join(map(quoted, value))})"

    return "{" + ", ".join(f"{quoted(key)}: {written(value)}" for key, value in values.items()) + "}"


def _deeper(lines: str, by: int = 4) -> str:
    return textwrap.indent(lines, " " * by)


def _slot(slot: Slot) -> str:
    vocabulary = f", vocabulary={slot.vocabulary}" if slot.vocabulary else ""
    return f'parity.inputs.Slot(name="{slot.name}", shape={slot.shape}, kind="{slot.kind}"{vocabulary})'
