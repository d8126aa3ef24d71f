"""How one array is made of another: what is looked at to tell slices apart."""

import numpy as np

from parity.diagnosis.relations import matching


def test_slices_that_are_zero_nearly_everywhere_are_told_apart() -> None:
    """Channels after a ReLU that differ in one value each are not exchanged for one another."""
    original = np.zeros((2, 11, 13, 7), np.float32)
    for channel in range(7):
        original[1, channel, 2 * channel, channel] = 1 + channel
    order = np.array([3, 0, 6, 1, 5, 2, 4])
    np.testing.assert_array_equal(matching(original[..., order], original, 3), order)
