"""The inputs of a user's pair: its own, made up to fit what its networks take, or from files.

What the networks take is read from the port's declared inputs, moved to the reference's layout by the pair's axes; the
order and the names are those of the reference's forward. Both sides are built for that, once, and go into the pair.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from parity.artifacts.files import KERAS, LIMIT, checked, kind_of_file
from parity.artifacts.shipped import kind_of, shipped
from parity.axes import CHANNELS_FIRST, Array, Axes
from parity.errors import InputError, PairError, UsageError
from parity.frameworks import is_loaded
from parity.inputs.files import ARRAYS, PICTURES, READABLE, arrays_from, folder, image
from parity.inputs.signature import BOOLEAN, FLOAT, INTEGER, KINDS, NOISE, Slot, from_signature
from parity.inputs.words import seeded, two_pictures
from parity.layouts import derived_for, in_format_of
from parity.lookup import both, users_code
from parity.models.settings import Settings
from parity.pairs import INPUT, Input, Pair
from parity.runners.signature import Declared, declared, forward_names, smallest_vocabulary
from parity.runners.torch_module import TorchModule

SIDE, LENGTH, FRAMES = (64, 96), 16, 3
"""The height and width, the length of a sequence, and the frames of made-up inputs where the port takes any."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """An input of the networks: its name in a call (`input[1]`), what else it may be called, and as far as they are
    declared its layout, sizes and kind."""

    way: str
    names: tuple[str, ...]
    layout: str
    sizes: tuple[int | None, ...] | None
    kind: str = FLOAT
    vocabulary: int | None = None
    port_name: str = ""
    port_layout: str = ""


@dataclass
class Feeding:
    """Makes the inputs of a pair that `settings` ask for; `given` are its own, in place of `pair.inputs`."""

    pair: Pair
    settings: Settings
    given: Sequence[Input] | None = None
    _looked_at: bool = field(default=False, init=False)

    def fed(self) -> tuple[Pair, list[Input]]:
        """The pair, with its sides built if they were looked at, and its inputs. Raises InputError where it has none.

        UsageError for options that the inputs chosen would not heed.
        """
        inputs = list(self._inputs())
        twice = [name for name in {each.name for each in inputs} if sum(each.name == name for each in inputs) > 1]
        if twice:
            raise InputError(f"two inputs of {self.pair.name} are called {twice[0]!r}; give each a name of its own")
        return (self._as_fed() if self._looked_at else self.pair), inputs

    def _inputs(self) -> Iterator[Input]:
        settings = self.settings
        own = {each.name: each for each in self._own()}
        words = settings.inputs or (() if settings.images else tuple(own) or (NOISE,))
        for word in words:
            if word in own:
                self._refuse_unheeded(own[word])
                yield own[word]
            elif seeded(word, 0)[0] in KINDS:
                yield self._made(word)
            elif files := two_pictures(word):
                yield replace(self._from_pictures(files), name=word)
            else:
                yield from self._from_file(word, own)
        if settings.images:
            yield self._from_pictures(settings.images)

    def _own(self) -> Sequence[Input]:
        given = self.pair.inputs if self.given is None else self.given
        if not callable(given):
            return given
        with users_code(f"making the inputs of {self.pair.name}"):
            return given()

    def _refuse_unheeded(self, given: Input) -> None:
        """An input of the pair's own is what it is: options about made-up ones would have no effect on it."""
        settings = self.settings
        options = {"size": settings.size, "shape": settings.shapes, "range": settings.values}
        for option, value in options.items():
            if value:
                raise UsageError(
                    f"--{option} does not change {given.name!r}, an input of the pair's own; add --input {NOISE}"
                )

    # -- what the networks take ---------------------------------------------------------------------------------------

    @cached_property
    def _built(self) -> Pair:
        """The pair with its sides built; with None for a side whose engine is not there, which then says nothing."""
        self._looked_at = True
        here = {"reference": is_loaded("torch"), "port": is_loaded("tensorflow")}
        gone: dict[str, Any] = {side: None for side, loaded in here.items() if not loaded}
        built = both(replace(self.pair, **gone) if gone else self.pair)
        file = shipped(built.port)
        is_model = file is None or kind_of_file(file.path) == KERAS
        return in_format_of(built, _openable(built.port)) if is_model else built

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """The inputs in the order of the reference's forward."""
        names = forward_names(self._built.reference)
        known = _declared(self._built.port)
        if known is None:
            return self._places_told(names)
        order = [known[number] for number in _by_names(known, names)]
        ways = [INPUT] if len(order) == 1 else [f"{INPUT}[{index}]" for index in range(len(order))]
        places = self._placed(order, ways, names, self._built.axes)
        unsure = [place.way for place in places if self._is_sequence(place)]
        axes = self._as_read(places, unsure) if unsure else None
        return self._placed(order, ways, names, axes) if axes else places

    def _placed(
        self, known: Sequence[Declared], ways: Sequence[str], names: Sequence[str], axes: Axes
    ) -> tuple[Place, ...]:
        return tuple(self._place(each, index, ways, names, axes) for index, each in enumerate(known))

    def _is_sequence(self, place: Place) -> bool:
        """Whether an input is a map or a sequence, which torch has in either order, and nobody has said which."""
        axes = self._built.axes
        declared_by_rank = place.way not in axes.by_name and axes.reference == CHANNELS_FIRST
        return place.kind == FLOAT and len(place.layout) == 3 and declared_by_rank

    def _as_read(self, places: Sequence[Place], unsure: Sequence[str]) -> Axes | None:
        """The axes of inputs as the layers that read them say; None where the reference runs with neither order.

        What an input is can only be told from a run, which needs one: it is tried in the order of its rank, and in that
        of the port. Which of them runs decides nothing.
        """
        axes = self._built.axes
        by_port = dict.fromkeys(unsure, (axes.port[3],) * 2)
        for trial in (axes, replace(axes, by_name={**axes.by_name, **by_port})):
            with suppress(Exception):
                slots = [self._slot(_laid_out(place, trial)) for place in places]
                reference = TorchModule(self._built.reference)
                read = derived_for(self._built, reference, from_signature(slots)).axes.by_name
                return replace(axes, by_name={**axes.by_name, **{way: read[way] for way in unsure if way in read}})
        return None

    def _place(self, known: Declared, index: int, ways: Sequence[str], names: Sequence[str], axes: Axes) -> Place:
        way, count = ways[index], len(ways)
        reference, port = axes.of(way, len(known.shape))
        sizes = dict(zip(port, (None, *known.shape[1:]) if port[0] == "N" else known.shape, strict=True))
        own_name = names[index] if index < len(names) else way
        vocabulary = known.vocabulary
        kind = _kind(known)
        if kind == INTEGER and vocabulary is None and self.settings.values is None:
            vocabulary = smallest_vocabulary(self._built.port, self._built.reference)
        return Place(
            way=way,
            names=tuple(dict.fromkeys((own_name, known.name, way, *([""] if count == 1 else ())))),
            layout=reference,
            sizes=tuple(sizes[axis] for axis in reference),
            kind=kind,
            vocabulary=vocabulary,
            port_name=known.name,
            port_layout=port,
        )

    def _places_told(self, names: Sequence[str]) -> tuple[Place, ...]:
        """The inputs whose shapes the user gives, where the port does not say them."""
        told = list(self.settings.shapes)
        count = len(told) or 1
        ways = [INPUT] if count == 1 else [f"{INPUT}[{index}]" for index in range(count)]
        order = sorted(told, key=lambda name: names.index(name) if name in names else len(names)) or [""]
        return tuple(
            Place(way=ways[index], names=(name, ways[index]), layout=self._layout(ways[index], name), sizes=None)
            for index, name in enumerate(order)
        )

    def _layout(self, way: str, name: str) -> str:
        shape = self.settings.shapes.get(name)
        return self._built.axes.of(way, len(shape))[0] if shape else ""

    def _as_fed(self) -> Pair:
        """The pair with its sides built, and told which input is which where the two orders differ."""
        if self._built.reference is None or self._built.port is None:
            return self.pair
        port_names = [place.port_name for place in self.places]
        known = [each.name for each in _declared(self._built.port) or ()]
        if port_names == known or self._built.input_map or not known:
            return self._built
        return replace(self._built, input_map={f"{INPUT}[{index}]": name for index, name in enumerate(port_names)})

    # -- made up ------------------------------------------------------------------------------------------------------

    def _made(self, word: str) -> Input:
        kind, seed = seeded(word, self.settings.seed)
        return replace(from_signature(self.slots(), kind, seed=seed, values=self.settings.values), name=word)

    def slots(self) -> tuple[Slot, ...]:
        """What is made up: the inputs with the shapes that were asked for, or those that fit. Raises InputError."""
        slots = tuple(self._slot(place) for place in self.places)
        self._refuse_unknown_shapes()
        return slots

    def _refuse_unknown_shapes(self) -> None:
        known = {name for place in self.places for name in place.names}
        for name in self.settings.shapes:
            if name not in known:
                which = ", ".join(place.names[0] for place in self.places)
                label = f"{name}=" if name else ""
                raise InputError(f"--shape {label}...: {self.pair.name} has the inputs {which}; say which one it is of")

    def _slot(self, place: Place) -> Slot:
        asked = next((self.settings.shapes[name] for name in place.names if name in self.settings.shapes), None)
        name = next(name for name in place.names if name) if any(place.names) else INPUT
        if asked is None and place.sizes is None:
            port = self._built.port
            what = "whose engine is not there," if port is None else f"a {type(port).__name__},"
            raise InputError(
                f"the port of {self.pair.name}, {what} does not say the shape of its input; give it, in the"
                " reference's layout, as --shape 1,3,64,96, or the inputs as Pair(inputs=...)"
            )
        shape = asked or self._default_shape(place, name)
        if place.sizes is not None and not _fits(shape, place.sizes):
            takes = ",".join("any" if size is None else str(size) for size in place.sizes)
            raise InputError(
                f"--shape {','.join(map(str, shape))}: {name} of {self.pair.name} takes {takes} ({place.layout})"
            )
        return Slot(name=name, shape=shape, kind=place.kind, vocabulary=place.vocabulary)

    def _default_shape(self, place: Place, name: str) -> tuple[int, ...]:
        """The declared sizes, and those that fit where any do."""
        sizes = dict(zip(place.layout, place.sizes or (), strict=True))
        usual = self._usual(place)
        if self.settings.size and {"H", "W"} <= sizes.keys():
            width, height = self.settings.size
            if sizes["H"] not in (None, height) or sizes["W"] not in (None, width):
                raise InputError(
                    f"--size {width}x{height}: {name} of {self.pair.name} takes {sizes['W']}x{sizes['H']} only"
                )
        unknown = [axis for axis, size in sizes.items() if size is None and axis not in usual]
        if unknown:
            raise InputError(
                f"the port of {self.pair.name} does not say how large axis {unknown[0]} of {name} ({place.layout}) is;"
                f" give --shape {name}=..."
            )
        return tuple(usual[axis] if size is None else size for axis, size in sizes.items())

    def _usual(self, place: Place) -> Mapping[str, int]:
        multiple = self.pair.multiple or 1
        height, width = (-(-side // multiple) * multiple for side in SIDE)
        if self.settings.size:
            width, height = self.settings.size
        usual = {"N": 1, "H": height, "W": width, "L": LENGTH, "T": FRAMES}
        # The second axis of tokens and masks is their length, whatever the layout of vectors calls it.
        return usual if place.kind == FLOAT else {**usual, "C": LENGTH}

    # -- from files ---------------------------------------------------------------------------------------------------

    def _from_file(self, word: str, own: Mapping[str, Input]) -> Iterator[Input]:
        path = Path(word)
        if path.is_dir():
            for file in folder(path, self.settings.limit):
                yield self._from_one(file)
        elif path.is_file():
            yield self._from_one(path)
        else:
            known = ", ".join([*own, *KINDS])
            raise InputError(f"input {word!r} is neither one of {known} nor a file or folder ({READABLE})")

    def _from_one(self, file: Path) -> Input:
        suffix = file.suffix.lower()
        if suffix in ARRAYS:
            return self._from_arrays(file)
        if suffix in PICTURES:
            return Input(name=str(file), args=(self._picture(file, 0),), origin=f"{file}")
        raise InputError(f"{file} is named as none of the files that parity reads ({READABLE})")

    def _from_arrays(self, file: Path) -> Input:
        arrays = dict(arrays_from(file))
        if len(arrays) == 1:
            return Input(name=str(file), args=tuple(arrays.values()), origin=f"{file}")
        positions = [f"arr_{index}" for index in range(len(arrays))]
        if list(arrays) == positions:  # what np.savez calls arrays without a name
            return Input(name=str(file), args=tuple(arrays.values()), origin=f"{file}")
        places = self.places
        found = {name: place for place in places for name in place.names if name in arrays}
        if len(found) != len(arrays) or len({id(place) for place in found.values()}) != len(places):
            wanted = ", ".join(place.names[0] for place in places)
            raise InputError(f"{file} holds {', '.join(arrays)}; the inputs of {self.pair.name} are {wanted}")
        name_of = {id(place): name for name, place in found.items()}
        return Input(name=str(file), args=tuple(arrays[name_of[id(place)]] for place in places), origin=f"{file}")

    def _from_pictures(self, paths: Sequence[Path]) -> Input:
        places = self.places
        if len(places) != len(paths):
            raise InputError(
                f"{len(paths)} pictures given, and {self.pair.name} has {len(places)} inputs;"
                f" --input {paths[0]} makes one input of one picture"
            )
        arrays = tuple(self._picture(path, index) for index, path in enumerate(paths))
        return Input(name="images", args=arrays, origin=" and ".join(map(str, paths)))

    def _picture(self, path: Path, index: int) -> Array:
        """A picture as the network's input of that number takes it."""
        place = self.places[index]
        sizes = dict(zip(place.layout, place.sizes or (), strict=False))
        size = self.settings.size
        if size is None and sizes.get("W") and sizes.get("H"):
            size = (sizes["W"] or 0, sizes["H"] or 0)
        return image(
            path,
            place.layout or "NCHW",
            channels=sizes.get("C") or 3,
            size=size,
            multiple=self.pair.multiple or 1,
            values=self.settings.values or (0.0, 255.0),
        )


def _declared(port: Any) -> tuple[Declared, ...] | None:
    """The inputs of a port, a file that ships too; None where it does not say them."""
    if not kind_of(port):
        return declared(_openable(port))
    from parity.artifacts.port import taken_by

    return taken_by(port)


def _openable(port: Any) -> Any:
    """A port, or the path of its file once that has been looked at. Raises ArtifactError for a file that is refused."""
    file = shipped(port)
    return port if file is None else checked(file.path, limit=file.largest or LIMIT, allowed=file.allow).path


def _laid_out(place: Place, axes: Axes) -> Place:
    """A place in the layout that these axes have for it."""
    sizes = dict(zip(place.layout, place.sizes or (), strict=True))
    layout = axes.of(place.way, len(place.layout))[0]
    return replace(place, layout=layout, sizes=tuple(sizes[axis] for axis in layout))


def _kind(known: Declared) -> str:
    if known.dtype == "bool":
        return BOOLEAN
    return INTEGER if "int" in known.dtype or known.vocabulary is not None else FLOAT


def _by_names(known: Sequence[Declared], names: Sequence[str]) -> list[int]:
    """The numbers of the port's inputs, in the order of the reference's: by their names, where all of them agree."""
    plain = [_plain(name) for name in names]
    order = sorted(range(len(known)), key=lambda number: _found(plain, known[number].name))
    places = [_found(plain, each.name) for each in known]
    agree = len(set(places)) == len(known) and max(places) < len(names)
    if not agree and names and len(known) > len(names):
        raise PairError(f"the port has {len(known)} inputs, and the reference's forward takes {', '.join(names)}")
    return order if agree else list(range(len(known)))


def _found(plain: Sequence[str], name: str) -> int:
    return plain.index(_plain(name)) if _plain(name) in plain else len(plain)


def _plain(name: str) -> str:
    """A name without what differs between two hands: `input_ids` and `InputIds:0` are one."""
    return re.sub(r"[^a-z0-9]", "", name.partition(":")[0].lower())


def _fits(shape: Sequence[int], sizes: Sequence[int | None]) -> bool:
    same = len(shape) == len(sizes)
    return same and all(size is None or size == given for given, size in zip(shape, sizes, strict=True))
