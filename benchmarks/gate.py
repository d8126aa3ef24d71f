"""What the gate costs: FlowNet2-SD's frozen graph (181 MB) at 704x448, in bare runs of the file and of the reference.

    whole     `parity gate` in this process, from the command's arguments to the written record, over what a script does
              that loads the file and runs it once, and builds the reference and runs it once; imports aside
    warm      the verdict alone, with everything loaded and after one that is not counted, over one more run of each

In turns in one process; the median of the rounds. Where the time goes is printed with --profile.
"""

import argparse
import cProfile
import gc
import pstats
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.measure import timed
from parity.axes import Array
from parity.export import FORMATS, served, write
from parity.frameworks import tf, torch
from parity.gate.running import Asked, run
from parity.isolation import opened
from parity.lookup import resolved
from parity.models import Settings, load
from parity.pairs import INPUT
from parity.settings import Options, RunSettings
from parity.verification import Verifier

SIZE = (704, 448)


def main() -> None:
    """Measure, and print the medians and both ratios."""
    parser = argparse.ArgumentParser(prog="benchmarks gate", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--artifact", type=Path, help="a frozen graph of that size, in place of one exported here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        artifact = options.artifact or exported(Path(folder))
        if options.profile:
            profiled(lambda: gated(artifact, Path(folder)))
            return
        for kind, jobs in (("whole", whole(artifact, Path(folder))), ("warm", warm(artifact))):
            rounds = [{name: alone(job) for name, job in jobs.items()} for _ in range(options.rounds + 1)][1:]
            for name in jobs:
                print(f"{kind}: {name:<18} {statistics.median(each[name] for each in rounds):6.2f} s")
            ratios = [each["gate"] / (each["file"] + each["reference"]) for each in rounds]
            print(f"{kind:<24} {statistics.median(ratios):6.2f} times the bare runs", flush=True)
            jobs.clear()


def alone(job: Callable[[], object]) -> float:
    """Seconds that a job takes; what it has left is gone before the next."""
    seconds = timed(job)
    gc.collect()
    return seconds


def exported(folder: Path) -> Path:
    """The frozen graph of the port, filled with the reference's weights."""
    pair, (given,) = load("flownet", Settings(inputs=("noise",), size=SIZE))
    path = folder / "flownet.pb"
    write(FORMATS["pb"], served(Verifier(pair).filled(given).port, free=True), path)
    return path


def whole(artifact: Path, folder: Path) -> dict[str, Callable[[], object]]:
    """The gate from its arguments to its record; the file and the reference, loaded and run."""
    return {
        "gate": lambda: gated(artifact, folder),
        "file": lambda: session(artifact)(),
        "reference": lambda: reference()(),
    }


def warm(artifact: Path) -> dict[str, Callable[[], object]]:
    """A verdict, and a run of the file and of the reference, with everything loaded."""
    words = Options(port=artifact, size=f"{SIZE[0]}x{SIZE[1]}", inputs=("noise",))
    source = opened(RunSettings.of("flownet", words))
    return {
        "gate": lambda: passes(source.verify("noise", source.modes).passed),
        "file": session(artifact),
        "reference": reference(),
    }


def gated(artifact: Path, folder: Path) -> None:
    """A run of the gate."""
    words = Options(size=f"{SIZE[0]}x{SIZE[1]}", inputs=("noise",), report_dir=folder)
    asked = Asked(name="flownet", artifact=artifact, options=words, isolate=False)
    passes(run(asked, asked.targets()).result.verdict == "pass")


def passes(passed: bool) -> None:
    """Raise SystemExit where a faithful file does not pass."""
    if not passed:
        raise SystemExit("the faithful file does not pass")


def session(artifact: Path) -> Callable[[], object]:
    """The file in a session of its own, as the C++ API runs it."""
    graph = tf.compat.v1.GraphDef.FromString(artifact.read_bytes())
    with tf.Graph().as_default() as loaded:
        tf.import_graph_def(graph, name="")
        (fed,) = (each.outputs[0] for each in loaded.get_operations() if each.type == "Placeholder")
        read = {each.name for operation in loaded.get_operations() for each in operation.inputs}
        (fetched,) = (
            each.outputs[0]
            for each in loaded.get_operations()
            if each.type == "Identity" and each.outputs[0].name not in read
        )
        running = tf.compat.v1.Session(graph=loaded)
    del graph
    values = fed_with()
    return lambda: running.run(fetched, {fed: values})


def fed_with() -> Array:
    """The input in the axes that the file takes it in."""
    pair, (given,) = load("flownet", Settings(inputs=("noise",), size=SIZE))
    source, target = pair.axes.of(INPUT, given.array.ndim)
    return np.ascontiguousarray(np.transpose(given.array, [source.index(axis) for axis in target]))


def reference() -> Callable[[], object]:
    """The reference, built with its weights."""
    pair, (noise,) = load("flownet", Settings(inputs=("noise",), size=SIZE))
    module, value = resolved(pair.reference, "the reference"), torch.from_numpy(noise.array)

    def forward() -> object:
        with torch.no_grad():
            return module(value)

    return forward


def profiled(job: Callable[[], object]) -> None:
    """Print where the time of a second run goes."""
    job()
    profile = cProfile.Profile()
    profile.runcall(job)
    pstats.Stats(profile).sort_stats("cumulative").print_stats(45)


if __name__ == "__main__":
    main()
