"""One measurement, in this process: called by `python -m benchmarks` with what to measure as JSON, answers in JSON."""

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from parity.frameworks import tf, torch
from parity.models import Settings, load
from parity.pairs import INPUT, Input, Pair
from parity.tolerance import NoiseFloor, Policy, Tolerance
from parity.verification import Verifier


def main() -> None:
    """Measure what the first argument asks for."""
    asked = json.loads(sys.argv[1])
    size = tuple(asked["size"])
    pair, inputs = load("flownet", Settings(inputs=("noise",), size=size))
    pair = Verifier(pair).filled(inputs[0])
    found = PARTS[asked["part"]](pair, inputs[0], asked)
    found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps(found))


def bare(pair: Pair, given: Input, asked: Mapping[str, object]) -> dict[str, float]:
    """Both bare forwards, once."""
    run_torch, run_keras = forwards(pair, given, "eager")
    return {"torch": timed(run_torch), "keras": timed(run_keras)}


def verdict(pair: Pair, given: Input, asked: Mapping[str, object]) -> dict[str, float]:
    """One verdict, after one on the same size that is not counted (the float64 copy, traces)."""
    verifier = Verifier(pair)
    if given.array.size < 8e6:
        passed(verifier, given, "eager")
    return {"seconds": timed(lambda: passed(verifier, given, "eager"))}


def speed(pair: Pair, given: Input, asked: Mapping[str, object]) -> dict[str, float]:
    """Bare forwards and verdicts in turns; ratios of each round, medians over the rounds."""
    mode, rounds = str(asked["mode"]), int(str(asked["rounds"]))
    run_torch, run_keras = forwards(pair, given, mode)
    policies: dict[str, Policy] = {"noise floor": NoiseFloor(), "rtol/atol": Tolerance(rtol=1e-3, atol=1e-3)}
    jobs: dict[str, Callable[[], object]] = {"torch": run_torch, "keras": run_keras}
    for name, policy in policies.items():
        verifier = Verifier(pair, policy)
        jobs[name] = lambda verifier=verifier: passed(verifier, given, mode)
    times = [{name: timed(job) for name, job in jobs.items()} for _ in range(rounds + 1)][1:]
    found = {name: statistics.median(round[name] for round in times) for name in jobs}
    for name in policies:
        found[f"{name} ratio"] = statistics.median(round[name] / (round["torch"] + round["keras"]) for round in times)
    return found


def forwards(pair: Pair, given: Input, mode: str) -> Sequence[Callable[[], object]]:
    """What runs the bare reference, and the bare port in that mode."""
    value = torch.from_numpy(given.array)
    source, target = pair.axes.of(INPUT, given.array.ndim)
    moved = tf.constant(np.transpose(given.array, [source.index(axis) for axis in target]))
    model = pair.port if mode == "eager" else tf.function(pair.port, jit_compile=mode == "xla")

    def run_torch() -> object:
        with torch.no_grad():
            return pair.reference(value)

    return run_torch, lambda: model(moved).numpy()


def passed(verifier: Verifier, given: Input, mode: str) -> None:
    """One verdict. Raises SystemExit where the faithful port diverges."""
    report = verifier.report(given, (mode,))
    if not report.passed:
        raise SystemExit(f"the faithful port diverged: {report.first_divergence}")


def timed(job: Callable[[], object]) -> float:
    """Seconds one call takes."""
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


PARTS: Mapping[str, Callable[[Pair, Input, Mapping[str, object]], dict[str, float]]] = {
    "bare": bare,
    "verdict": verdict,
    "speed": speed,
}

if __name__ == "__main__":
    main()
