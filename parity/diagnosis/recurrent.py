"""Causes in recurrent layers that lie in their equations, not in their weights."""

from collections.abc import Iterator

from parity.diagnosis.evidence import SEEN, Evidence, Hypothesis
from parity.diagnosis.words import written
from parity.runners.edits import Edit


def equations(evidence: Evidence) -> Iterator[Hypothesis]:
    """gate-order: a GRU that resets before the matrix product; torch's, like cuDNN's, resets after it."""
    weights = evidence.scene.converted(evidence.segment.layer, None)
    if evidence.config.get("reset_after") is not False or not weights:
        return
    yield Hypothesis(
        slug="gate-order",
        detail="reset_after=False: the reset gate is applied before the recurrent product; torch applies it after",
        change=f"{written(evidence.operation, reset_after=False)} -> reset_after=True, with both biases",
        edit=Edit(replaced={evidence.operation: evidence.copy(weights=weights, reset_after=True)}),
        standing=SEEN,
    )
