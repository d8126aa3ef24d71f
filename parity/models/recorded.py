"""A model of which one side was recorded: its settings and inputs then, and the recording in the place of the side."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from parity.errors import UsageError
from parity.golden.port import RecordedPort
from parity.golden.sides import recorded, recorded_port, recorded_reference
from parity.models.settings import Settings
from parity.pairs import Input, Pair


class Recorded:
    """A recording that stands for one side of a pair."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._side = recorded(path)

    def settings(self, asked: Settings) -> Settings:
        """The settings of the model that was recorded, on the inputs that were recorded, and what else is asked for.

        Raises UsageError for options that would have no effect.
        """
        idle: dict[str, object] = {
            "images": asked.images,
            "size": asked.size,
            "shape": asked.shapes,
            "range": asked.values,
            "limit": asked.limit,
        }
        idle |= {"port": asked.port} if isinstance(self._side, RecordedPort) else {"checkpoint": asked.checkpoint}
        for option, value in idle.items():
            if value:
                raise UsageError(f"--{option} has no effect with --against: what is in {self._path} has been run")
        known = self._side.header.settings
        size = known.get("size")
        return replace(
            asked,
            size=tuple(size) if size else None,
            seed=known.get("seed", asked.seed),
            recorded=tuple(self._chosen(asked.inputs)),
        )

    def _chosen(self, names: Sequence[str]) -> Iterator[Input]:
        """The recorded inputs, or those of them that are asked for."""
        known = {given.name: given for given in self._side.inputs}
        for name in names or known:
            if name not in known:
                raise UsageError(f"{self._path} has no input {name!r}; it was made on {', '.join(known)}")
            yield known[name]

    def in_its_place(self, pair: Pair) -> Pair:
        """The pair with the recording in the place of its side. Raises RecordingError for one of another pair."""
        if isinstance(self._side, RecordedPort):
            made = replace(pair, port=self._side)
            recorded_port(made)
        else:
            made = replace(pair, reference=self._side)
            recorded_reference(made)
        return made
