"""The records of one layer explained. Nothing here knows a model, and nothing here prints."""

from dataclasses import dataclass

from parity.portraits import WeightRelation
from parity.report import Cause, Measure

__all__ = ["ErrorShape", "Explanation", "WeightRelation"]


@dataclass(frozen=True, kw_only=True)
class ErrorShape:
    """Where the error of a layer's value is.

    `cells` is the RMS error over batch and channels, in units of the values' RMS, in a grid of the axes of space (one
    row where there is one such axis or none); `height` and `width` are what the grid stands for; `words` says it in a
    few words; `limit` is the error up to which a cell counts as right.
    """

    cells: tuple[tuple[float, ...], ...]
    height: int
    width: int
    axes: str
    limit: float
    words: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """One layer in one run. `cause` is None where the layer is right."""

    layer: str
    port_layer: str
    input: str
    mode: str
    reference: str
    port: tuple[str, ...]
    weights: tuple[WeightRelation, ...]
    introduced: Measure
    floor: float
    shape: ErrorShape | None
    cause: Cause | None
