"""Shows reports: reads the records and lays them out. Nothing here sees a model, nor decides what passes."""

from parity.render.explanation import explanation
from parity.render.failures import (
    coverage_failure,
    died_failure,
    failure,
    failures,
    output_failure,
    uncompared_failure,
    watching_failure,
)
from parity.render.gradients import gradient_table
from parity.render.repaired import repaired
from parity.render.terminal import layer_table, summary, verdict

__all__ = [
    "coverage_failure",
    "died_failure",
    "explanation",
    "failure",
    "failures",
    "gradient_table",
    "layer_table",
    "output_failure",
    "repaired",
    "summary",
    "uncompared_failure",
    "verdict",
    "watching_failure",
]
