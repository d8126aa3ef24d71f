"""Shows reports: reads the records and lays them out. Nothing here sees a model, nor decides what passes."""

from parity.render.explanation import explanation
from parity.render.repaired import repaired
from parity.render.terminal import (
    coverage_failure,
    died_failure,
    failure,
    failures,
    layer_table,
    output_failure,
    summary,
    uncompared_failure,
    verdict,
    watching_failure,
)

__all__ = [
    "coverage_failure",
    "died_failure",
    "explanation",
    "failure",
    "failures",
    "layer_table",
    "output_failure",
    "repaired",
    "summary",
    "uncompared_failure",
    "verdict",
    "watching_failure",
]
