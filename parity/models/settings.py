"""What a user may choose about any model, in the values that its builder takes."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from parity.artifacts.shipped import Shipped
from parity.axes import DATA_FORMATS
from parity.errors import UsageError
from parity.pairs import Input, Pair
from parity.tolerance import ByPattern, Policy


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a user may choose about a model; each has a default of the model's own.

    `inputs` names inputs ("noise", "motorcycle", a probe, "images", a file or folder); `images` are two picture files;
    `size` is (width, height) in pixels; `checkpoint` holds the reference's weights, and without one they are drawn
    from `seed`; `port` is a `.keras` file that takes the place of the model's own port. For pairs of users' own:
    `shapes` of inputs by their name ("" for the only one), in the reference's layout; `values`, the range of values
    that the network expects; `limit`, how many files of a folder are inputs; `map`, a file that says which layer
    answers to which. `against` is a recording that stands for one side of the pair, `recorded` has its inputs, which
    take the place of all others. `tolerances` are those of single layers by patterns of their
    names, in addition to the pair's own. Of an artifact in the place of the port, `allow` names operations that are
    refused otherwise, and `largest` is the most bytes that are loaded. Raises UsageError for a size or a data format
    that no model can have.
    """

    inputs: tuple[str, ...] = ()
    images: tuple[Path, Path] | None = None
    size: tuple[int, int] | None = None
    data_format: str = "channels_last"
    checkpoint: Path | None = None
    seed: int = 0
    port: Path | None = None
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    values: tuple[float, float] | None = None
    limit: int | None = None
    map: Path | None = None
    against: Path | None = None
    recorded: tuple[Input, ...] = ()
    tolerances: Mapping[str, Policy] = field(default_factory=dict)
    allow: tuple[str, ...] = ()
    largest: int | None = None

    def __post_init__(self) -> None:
        """Refuse what could not mean anything."""
        if self.size is not None and min(self.size) <= 0:
            raise UsageError(f"size={self.size}: width and height must be positive")
        if self.data_format not in DATA_FORMATS:
            raise UsageError(f"data_format={self.data_format!r}; give one of {', '.join(sorted(DATA_FORMATS))}")

    def applied(self, pair: Pair) -> Pair:
        """The pair with the port and the map that were asked for in place of its own; tolerances added."""
        port: Any = self.port
        if port is not None and (self.allow or self.largest is not None):
            port = Shipped(path=port, allow=self.allow, largest=self.largest)
        changes: dict[str, Any] = {"port": port, "layers": self.map}
        given = {field: value for field, value in changes.items() if value is not None}
        if "port" in given:
            given["transfer"] = False  # it comes with weights of its own
        if self.tolerances:
            given["tolerances"] = ByPattern({**self.tolerances, **pair.tolerances})
        return replace(pair, **given) if given else pair
