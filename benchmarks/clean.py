"""False alarms: a hundred verdicts on faithful ports; none may report anything. `python -m benchmarks clean`.

Twenty seeds; each seed has other weights, another input and another size, and is judged in eager, graph and XLA in
channels_last, eagerly on the real pair, and by XLA in channels_first at a width where Keras adds the bias rightly.
"""

import gc
import json
from collections.abc import Iterator

from parity.models import Settings, load
from parity.report import Report
from parity.switches import allow_channels_first
from parity.verification import Verifier

SIZES = ((64, 64), (128, 64), (192, 128), (64, 192), (256, 192))
CHANNELS_FIRST_SIZE = (192, 64)


def main() -> None:
    """Print how many of the runs passed and, for each that did not, what it reported; then the figures as JSON."""
    runs = passed = 0
    worst = 0.0
    for seed in range(20):
        for report in reports(seed):
            for run in report.runs:
                runs += 1
                passed += run.verdict == "pass"
                worst = max([worst, *(layer.propagated.ratio for layer in run.layers if layer.propagated)])
            if not report.passed:
                print(f"seed {seed}: {report.first_divergence or report.coverage}", flush=True)
        gc.collect()  # compiled functions and models refer to each other
        print(f"seed {seed}: {passed} of {runs} passed, worst {worst:.2f} floors", flush=True)
    print(json.dumps({"runs": runs, "passed": passed, "worst": worst}))


def reports(seed: int) -> Iterator[Report]:
    """Five runs of one seed."""
    size = SIZES[seed % len(SIZES)]
    pair, (noise, real) = load("flownet", Settings(seed=seed, size=size, inputs=("noise", "motorcycle")))
    verifier = Verifier(pair)
    yield verifier.report(noise)
    yield verifier.report(real, ("eager",))
    settings = Settings(seed=seed, size=CHANNELS_FIRST_SIZE, inputs=("noise",), data_format="channels_first")
    pair, (noise,) = load("flownet", settings)
    yield Verifier(pair).report(noise, ("xla",))


if __name__ == "__main__":
    allow_channels_first()
    main()
