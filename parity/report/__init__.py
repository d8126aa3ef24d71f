"""The frozen records of a verification, and their way to JSON and back.

    Report
    ├── environment, settings, coverage
    ├── runs[]                one input in one mode
    │   ├── layers[]          LayerResult: propagated and introduced Measure, floor, verdict
    │   ├── output            the uninstrumented port's own output, against the reference
    │   └── watching          whether instrumenting the port changed what it computes
    ├── gradients[]           one input in one mode, differentiated; only where that was asked for
    ├── findings[]            every layer that introduces error, in every run, each with its Cause
    ├── first_divergence      the first layer, in the reference's order, that leaves its limits end to end
    └── deaths[]              processes that ended before their work was done; what they had found is kept

Nothing here knows a model, and nothing here prints.
"""

from parity.report.records import (
    DIED,
    DIVERGED,
    GRADIENTS,
    INHERITS,
    INTRODUCES,
    NOT_COMPARED,
    PASS,
    TRAINABLE,
    TRAINING,
    VALUES,
    Ambiguity,
    Cause,
    Coverage,
    Death,
    Deviation,
    Finding,
    GradientRun,
    LayerGradients,
    LayerResult,
    Measure,
    Run,
    Trial,
    Watching,
)
from parity.report.whole import SCHEMA, Report, merge

__all__ = [
    "DIED",
    "DIVERGED",
    "GRADIENTS",
    "INHERITS",
    "INTRODUCES",
    "NOT_COMPARED",
    "PASS",
    "SCHEMA",
    "TRAINABLE",
    "TRAINING",
    "VALUES",
    "Ambiguity",
    "Cause",
    "Coverage",
    "Death",
    "Deviation",
    "Finding",
    "GradientRun",
    "LayerGradients",
    "LayerResult",
    "Measure",
    "Report",
    "Run",
    "Trial",
    "Watching",
    "merge",
]
