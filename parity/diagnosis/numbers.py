"""Causes in the numbers that a port can hold: a range that ends before the values do."""

from collections.abc import Iterator

import numpy as np

from parity.diagnosis.evidence import SEEN, Evidence, Hypothesis
from parity.numbers import short


def number_range(evidence: Evidence) -> Iterator[Hypothesis]:
    """number-range: the layer's value, cut off at the ends of the grid that the port stores it on."""
    fit = evidence.scene.fits.get(evidence.segment.layer)
    if fit is None or not fit.share or not evidence.shapes_agree:
        return
    held, values = (" to ".join(map(short, ends)) for ends in (fit.ends, fit.values))
    yield Hypothesis(
        slug="number-range",
        detail=f"{100 * fit.share:.2g} % of the values are cut off: the port holds {held} here, they are {values}",
        change="calibrate the export on inputs like this one",
        predicted=lambda: np.clip(evidence.expected, *fit.ends),
        standing=SEEN,
    )
