"""The pictures on the page: where a layer's error is, and both sides' outputs with what is between them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from parity.numbers import short
from parity.portraits import ErrorPicture, Floats, Histogram, OutputPicture
from parity.render.html import images
from parity.report import PASS, Report, Run

MOST_OUTPUTS = 6
"""So many outputs are shown: of each input the run that is worst, and its first outputs."""


@dataclass(frozen=True, kw_only=True)
class LayerPicture:
    """The error of one layer in one run, ready to be put into the page."""

    title: str
    words: str
    space: str
    alt: str
    size: str
    channels: Markup
    channel_count: int
    histogram: Markup
    range: str


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A picture with what is said under it; `alt` says it to who does not see it."""

    source: str
    caption: str
    alt: str
    style: str = ""


@dataclass(frozen=True, kw_only=True)
class Output:
    """One output in one run, with its figures."""

    title: str
    figures: list[Figure]
    words: str


def pixels(length: float) -> str:
    """A length in pixels, as people write it.

    >>> pixels(2.478), pixels(31.24), pixels(0.000021), pixels(float("nan"))
    ('2.48', '31.2', '2.1e-5', 'not finite')
    """
    if not np.isfinite(length):
        return "not finite"
    return f"{length:.3g}" if length == 0 or 0.01 <= length < 1e5 else short(length)


# What a network returns may be infinite or nearly: a page says so, and warns nobody while it is drawn.
@np.errstate(all="ignore")
def pictures_of(report: Report, layer: str) -> list[LayerPicture]:
    """The pictures of a layer's error, the run in which it is worst first."""
    runs = [run for run in report.runs if layer in run.pictures]
    runs.sort(key=lambda run: -_introduced(run, layer))
    return [_layer_picture(run, layer, run.pictures[layer]) for run in runs]


def _introduced(run: Run, layer: str) -> float:
    measures = [each.introduced for each in run.layers if each.layer == layer]
    return measures[0].floors if measures and measures[0] else 0.0


def _layer_picture(run: Run, layer: str, picture: ErrorPicture) -> LayerPicture:
    channels = picture.channels.array()
    finite = channels[np.isfinite(channels)]
    title = f"{run.input}, {run.mode}"
    words = "; ".join(picture.words)
    space = "" if picture.space is None else images.png(images.errors(picture.space.array(), picture.limit))
    greatest = float(finite.max()) if finite.size else float("nan")
    return LayerPicture(
        title=title,
        words=words[:1].upper() + words[1:],
        space=space,
        alt=f"the error of {layer} over a map of {picture.height} by {picture.width}, {title}: {words}",
        size=f"{picture.height} × {picture.width} places",
        channels=_bars(channels, picture.limit, f"the error of each of {picture.channel_count} channels"),
        channel_count=picture.channel_count,
        histogram=_histogram(picture.histogram, picture.limit),
        range=f"{short(images.lowest(channels, picture.limit))} to {short(greatest)}",
    )


def _bars(values: Floats, limit: float, what: str) -> Markup:
    """Bars on a logarithmic scale from the limit to the greatest; a bar that is not finite is full and marked."""
    finite = values[np.isfinite(values)]
    top = float(finite.max()) if finite.size else 1.0
    low = np.log10(images.lowest(values, limit)) - 0.3
    span = max(np.log10(max(top, 1e-30)) - low, 0.1)
    with np.errstate(all="ignore"):
        heights = np.clip((np.log10(np.maximum(values, 1e-45)) - low) / span, 0.01, 1)
    line = 60 - 60 * (np.log10(max(limit, 1e-30)) - low) / span
    right: list[str] = []
    wrong: list[str] = []
    strange: list[str] = []
    for index, (value, height) in enumerate(zip(values, np.nan_to_num(heights, nan=1.0), strict=True)):
        kind = strange if not np.isfinite(value) else wrong if value > limit else right
        kind.append(f"M{index} 60v{-60 * height:.1f}h1v{60 * height:.1f}z")
    return _svg(len(values), what, line_across=line if line < 60 else None, right=right, wrong=wrong, strange=strange)


def _histogram(found: Histogram, limit: float) -> Markup:
    """Bars over the decimal logarithm of the error; what is beyond the limit in another colour."""
    counts = np.array(found.counts, np.float64)
    steps = len(counts)
    top = float(counts.max()) if steps else 0.0
    right: list[str] = []
    wrong: list[str] = []
    for index, count in enumerate(counts):
        middle = found.low + (index + 0.5) * (found.high - found.low) / steps
        height = 60 * (count / top) ** 0.5 if top else 0.0
        kind = wrong if limit > 0 and middle > np.log10(limit) else right
        if height:
            kind.append(f"M{index} 60v{-height:.1f}h1v{height:.1f}z")
    words = f"histogram of errors from 1e{found.low:.0f} to 1e{found.high:.0f} of the values' RMS"
    words += f", {found.exact} of the values looked at are exact" if found.exact else ""
    return _svg(steps, words, right=right, wrong=wrong) + Markup(
        '<span class="ends" aria-hidden="true"><span>1e{}</span><span>1e{}</span></span>'
    ).format(int(found.low), int(found.high))


def _svg(width: int, what: str, line_across: float | None = None, **kinds: list[str]) -> Markup:
    """A small chart of bars, one path for each kind, and a line across."""
    paths = [Markup('<path class="{}" d="{}"/>').format(kind, "".join(bars)) for kind, bars in kinds.items() if bars]
    if line_across is not None:
        paths.append(Markup('<path class="limit" d="M0 {:.1f}H{}"/>').format(line_across, width))
    head = Markup('<svg class="bars" viewBox="0 0 {} 60" preserveAspectRatio="none" role="img" aria-label="{}">')
    return head.format(width, what) + Markup("").join(paths) + Markup("</svg>")


# -- outputs ----------------------------------------------------------------------------------------------------------


@np.errstate(all="ignore")
def outputs_of(report: Report) -> list[Output]:
    """What can be looked at of the outputs: of each input, in the run that is worst."""
    runs: dict[str, Run] = {}
    for run in report.runs:
        if run.shown and (run.input not in runs or _off(run) > _off(runs[run.input])):
            runs[run.input] = run
    found = [_output(run, name, shown) for run in runs.values() for name, shown in run.shown.items()]
    return found[:MOST_OUTPUTS]


def _off(run: Run) -> tuple[bool, float]:
    return run.verdict != PASS, run.output.floors


def _output(run: Run, name: str, shown: OutputPicture) -> Output:
    figures = list(_flows(shown) if shown.flow else _maps(shown))
    far = run.deviations.get(name)
    words = []
    if far and far.epe_mean is not None and far.epe_max is not None:
        words.append(f"End-point error: {pixels(far.epe_mean)} px on average, {pixels(far.epe_max)} px at most")
    elif far:
        words.append(f"RMSE {short(far.rmse)}, at most {short(far.max_abs)}, of values of RMS {short(far.rms)}")
    if shown.truth_epe:
        theirs, ours = shown.truth_epe
        words.append(f"against the ground truth the reference is {theirs:.3g} px off, the port {ours:.3g} px")
    title = " · ".join([*([name] if len(run.shown) > 1 else []), f"{run.input}, {run.mode}"])
    return Output(title=title, figures=figures, words="; ".join(words) + ("." if words else ""))


def _flows(shown: OutputPicture) -> Iterator[Figure]:
    expected, difference, error = shown.expected.array(), shown.difference.array(), shown.error.array()
    actual = expected + difference
    greatest = _usual(np.hypot(*expected))
    wheel = f"full colour is {pixels(greatest)} px"
    yield Figure(
        source=images.png(images.flow(expected, greatest)), caption=f"reference; {wheel}", alt="the reference's flow"
    )
    yield Figure(
        source=images.png(images.flow(actual, greatest)), caption="port, in the same colours", alt="the port's flow"
    )
    most = _usual(np.hypot(*difference))
    yield Figure(
        source=images.png(images.flow(difference, most)),
        caption=f"port minus reference; full colour is {pixels(most)} px",
        alt="the difference of the two flows",
    )
    yield Figure(
        source=images.png(images.lengths(error)),
        caption=f"end-point error, up to {pixels(_greatest(error))} px",
        alt=f"the end-point error, at most {pixels(_greatest(error))} pixels",
    )
    if shown.truth:
        truth = shown.truth.array()
        most = _usual(np.hypot(*truth))
        yield Figure(
            source=images.png(images.flow(truth, most)),
            caption=f"ground truth; full colour is {pixels(most)} px",
            alt="the flow that is known to be right",
        )
        for side, flow in (("reference", expected), ("port", actual)):
            away = np.hypot(*(flow - truth))
            yield Figure(
                source=images.png(images.lengths(away, images.UNKNOWN)),
                caption=f"end-point error of the {side} against it, up to {pixels(_greatest(away))} px",
                alt=f"the end-point error of the {side} against the ground truth",
            )


def _maps(shown: OutputPicture) -> Iterator[Figure]:
    expected, difference, error = shown.expected.array(), shown.difference.array(), shown.error.array()
    actual = expected + difference
    finite = expected[np.isfinite(expected)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    words = f"black {low:.3g}, white {high:.3g}"
    for side, plane in (("reference", expected), ("port", actual)):
        yield Figure(
            source=images.png(images.values(plane, low, high)), caption=f"{side}; {words}", alt=f"the {side}'s output"
        )
    yield Figure(
        source=images.png(images.lengths(error)),
        caption=f"difference, up to {short(_greatest(error))}",
        alt=f"the difference, at most {short(_greatest(error))}",
    )


def _usual(lengths: Floats) -> float:
    """What nearly all are not longer than: full colour, which a few places should not take from the others."""
    finite = lengths[np.isfinite(lengths)]
    return float(np.quantile(finite, 0.98)) if finite.size else 0.0


def _greatest(values: Floats) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.max()) if finite.size else 0.0
