"""A report as a TensorBoard summary: errors over depth as curves, one step a layer."""

from pathlib import Path

from parity.differences import floors
from parity.render.terminal import summary
from parity.report import Report

GREATEST = 1e30
"""What stands for an error that is no number: TensorBoard draws none of those."""


def write_summary(report: Report, folder: Path) -> None:
    """Write an events file for each run into `folder`. Raises ImportError where TensorBoard is not installed."""
    # Here, since it loads TensorFlow where that is installed, and few ask for it.
    from tensorboard.summary import Writer

    for run in report.runs:
        place = folder / f"{run.input}-{run.mode}".replace("/", "_")
        place.mkdir(parents=True, exist_ok=True)
        events = Writer(str(place))
        for depth, layer in enumerate(run.layers):
            for kind in ("introduced", "propagated"):
                measure = getattr(layer, kind)
                if measure is not None:
                    events.add_scalar(f"floors/{kind}", min(floors(measure), GREATEST), depth)
                    events.add_scalar(f"relative/{kind}", min(measure.relative, GREATEST), depth)
            events.add_scalar("relative/floor", layer.floor, depth)
        events.flush()
        events.close()
    (folder / "summary.txt").write_text(summary(report, width=100) + "\n", encoding="utf-8")
