"""A report as a TensorBoard summary: errors over depth as curves, one step a layer."""

import sys
from pathlib import Path
from types import ModuleType

from parity.differences import floors
from parity.render.model_explorer import places
from parity.render.terminal import summary
from parity.report import Report

GREATEST = 1e30
"""What stands for an error that is no number: TensorBoard draws none of those."""


def write_summary(report: Report, folder: Path) -> None:
    """Write an events file for each run into `folder`. Raises ImportError where TensorBoard is not installed."""
    if "tensorflow" not in sys.modules:
        # TensorBoard's own way to be used without TensorFlow, which it would load here, with all that it prints.
        sys.modules.setdefault("tensorboard.compat.notf", ModuleType("tensorboard.compat.notf"))
    from tensorboard.summary import Writer

    for run, name in zip(report.runs, places(report), strict=True):
        place = folder / name
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
