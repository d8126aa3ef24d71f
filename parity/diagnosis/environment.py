"""Causes outside the layer: the execution mode, and values that are not finite."""

from collections.abc import Iterator

import numpy as np

from parity.diagnosis.evidence import Evidence, Hypothesis
from parity.report import Cause


def execution_mode(evidence: Evidence) -> Iterator[Hypothesis]:
    """execution-mode: the same layer, on the same values, is right when run eagerly."""
    if evidence.mode != "eager":
        yield Hypothesis(
            slug="execution-mode",
            detail=f"wrong in {evidence.mode}; the same layer on the same values is right in eager",
            undone=evidence.replay,
        )


def non_finite(evidence: Evidence) -> Cause | None:
    """non-finite: NaN or infinity where there was none before this layer; says whose, and whether a weight holds it."""
    difference = evidence.before
    if not difference.nonfinite_actual and not difference.nonfinite_expected:
        return None
    counts = {"reference": difference.nonfinite_expected, "port": difference.nonfinite_actual}
    where = " and ".join(
        f"{count} of {difference.count} values of the {side}" for side, count in counts.items() if count
    )
    weights = {"reference": evidence.source_weights, "port": evidence.port_weights}
    bad = [
        f"the {side}'s {'kernel' if index == 0 else 'bias'} holds {count} of them"
        for side, tensors in weights.items()
        for index, tensor in enumerate(tensors)
        if (count := int(np.count_nonzero(~np.isfinite(tensor))))
    ]
    return Cause(slug="non-finite", detail="; ".join([f"NaN or infinity in {where}, from finite input", *bad]))
