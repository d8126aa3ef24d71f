"""How numbers are written for people: errors in two digits, ratios as "17x" or "77 000x"."""

import math


def short(value: float) -> str:
    """An error in two digits, with the exponent as people write it.

    >>> short(0.031), short(4e-7), short(0.0), short(float("nan"))
    ('3.1e-2', '4.0e-7', '0', 'nan')
    """
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def decibels(relative: float) -> float:
    """The ratio of a signal to an error that is `relative` to it, in dB; NaN of an error that is no number.

    >>> decibels(0.1), decibels(0.0), decibels(math.nan)
    (20.0, inf, nan)
    """
    return math.inf if relative <= 0 else -20 * math.log10(relative)


def times(ratio: float) -> str:
    """A ratio: one decimal below ten, whole below a thousand, then two digits in groups of three.

    >>> times(2.94), times(347.2), times(77_400), times(2.5e8)
    ('2.9x', '347x', '77 000x', '2.5e8x')
    """
    if not math.isfinite(ratio):
        return f"{ratio:g}x"
    if ratio < 9.95:
        return f"{ratio:.1f}x"
    if ratio < 999.5:
        return f"{ratio:.0f}x"
    if ratio < 999_500:
        return f"{float(f'{ratio:.1e}'):,.0f}x".replace(",", " ")
    return f"{short(ratio)}x"
