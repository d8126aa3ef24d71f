"""The benchmark scores right what is right and wrong what is wrong, and can be run again from its seed."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import records
from typer.testing import CliRunner

from parity.cli import app
from parity.faults.baselines import RATE, alarms, blamed
from parity.faults.benchmark import Wanted, run
from parity.faults.scoring import CLEAN, OPEN, SEVERAL, SINGLE, Benchmark, Fault, Found, Outcome

PADDING = Fault(operator="padding-same", slug="padding", layers=("conv1", "act1"), detail="", effect=5e3)
SCALE = Fault(operator="offset", slug="scale", layers=("conv2",), detail="", effect=5e3)
RIGHT = Found(layer="conv1", slug="padding", ranked=("padding", "scale"))


def outcome(*found: Found, faults: tuple[Fault, ...] = (PADDING,), kind: str = SINGLE, **rest: object) -> Outcome:
    """A run of a network called `net`."""
    return Outcome(kind=kind, model="net", seed=1, size=(8, 9), mode="eager", faults=faults, found=found, **rest)


def test_a_right_answer_counts_everywhere() -> None:
    """The layer at fault is found, nothing else, and its cause is named."""
    made = outcome(RIGHT, repaired=True)
    assert made.detected
    assert made.localised
    assert made.nothing_else
    assert made.named
    assert made.among_three
    assert not Benchmark(seed=0, outcomes=[made]).misses()


@pytest.mark.parametrize(
    ("found", "why"),
    [
        ((), "not located"),
        ((replace(RIGHT, layer="conv9"),), "not located"),
        ((replace(RIGHT, layer="conv9"), RIGHT), "not located"),
        ((RIGHT, replace(RIGHT, layer="conv9")), "another layer blamed"),
        ((replace(RIGHT, tied=("scale",)),), "not named"),
        ((replace(RIGHT, slug="scale", ranked=("scale", "unknown", "bias-axis", "padding")),), "not among three"),
        ((replace(RIGHT, slug="scale", ranked=("scale", "padding")),), "not named"),
    ],
)
def test_a_wrong_answer_counts_as_one(found: tuple[Found, ...], why: str) -> None:
    """Another layer, one layer too many, a tie, or another cause: each is a miss, and says what is wrong."""
    result = Benchmark(seed=0, outcomes=[outcome(*found)])
    assert [reason for reason, _ in result.misses()] == [why]


def test_silence_an_error_and_a_failed_repair_are_misses() -> None:
    """A run that passes, one that falls over, and a repair that fails are counted, not dropped."""
    made = [outcome(passed=True), outcome(RIGHT, error="ValueError: x"), outcome(RIGHT, repaired=False)]
    result = Benchmark(seed=0, outcomes=made)
    assert [why for why, _ in result.misses()] == ["not detected", "error", "not repaired"]
    scores = {score.name: (score.good, score.of) for score in result.scores()}
    assert scores["detected"] == (1, 3)
    assert scores["repaired, every layer passes (single)"] == (0, 1)


def test_of_several_faults_all_must_be_found() -> None:
    """One of two is not enough; both with their causes are."""
    both, other = (PADDING, SCALE), Found(layer="conv2", slug="scale", ranked=("scale",))
    assert not outcome(RIGHT, faults=both, kind=SEVERAL).all_located
    assert outcome(RIGHT, other, faults=both, kind=SEVERAL).all_named
    wrong = outcome(RIGHT, replace(other, slug="padding"), faults=both, kind=SEVERAL)
    assert wrong.all_located
    assert not wrong.all_named


def test_an_open_fault_must_be_called_unknown() -> None:
    """Naming a cause for what has none is a miss."""
    fault = replace(SCALE, slug="unknown")
    guess = outcome(Found(layer="conv2", slug="scale", ranked=("scale",)), faults=(fault,), kind=OPEN)
    honest = outcome(Found(layer="conv2", slug="unknown", ranked=("unknown",)), faults=(fault,), kind=OPEN)
    assert [made.named for made in (guess, honest)] == [False, True]


def test_a_false_alarm_is_a_miss() -> None:
    """A faithful run that does not pass is one."""
    made = [outcome(faults=(), kind=CLEAN, passed=passed) for passed in (True, False)]
    assert [why for why, _ in Benchmark(seed=0, outcomes=made).misses()] == ["false alarm"]


def test_scores_of_nothing_are_no_success() -> None:
    """With no run there is no share and no goal reached."""
    assert {(score.share, score.reached) for score in Benchmark(seed=0).scores()} == {(0.0, None)}


def test_the_baselines_see_the_propagated_error() -> None:
    """A tolerance blames the first layer beyond it, the rate of change the one where the error grows fastest."""
    made = records.run(faulty=["conv1.0"], output=5000)
    values = {name: np.ones((1, 2, 3, 4), np.float32) for name in records.LAYERS}
    order = ["input", *records.LAYERS]
    reads = {name: (order[index],) for index, name in enumerate(records.LAYERS)}
    blame = blamed(made, values, reads)
    # Faithful layers are 6e-5 off at their worst value, those from the fault on 0.15.
    assert blame["tolerance 0.001"] == "conv1.0"
    assert blame["tolerance 0.0001"] == "conv1.0"
    assert blame["tolerance 1e-05"] == "cat"
    assert blame[RATE] == "conv1.0"
    assert alarms(made, blame) == ("tolerance 0.001", "tolerance 0.0001", "tolerance 1e-05")


def test_a_seed_runs_the_same_again(tmp_path: Path) -> None:
    """Two runs from one seed plant and find the same, a narrower one its part of it; the JSON has every one of them."""
    wanted = Wanted(seed=11, models=("upscaler",), causes=("kernel-flip", "scale"), quick=True, repair=False)
    first, again = run(wanted), run(wanted)
    assert first.outcomes
    assert [replace(made, seconds=0) for made in first.outcomes] == [
        replace(made, seconds=0) for made in again.outcomes
    ]
    stored = json.loads(first.save(tmp_path / "faults.json").read_text())
    assert len(stored["outcomes"]) == len(first.outcomes)
    assert all(made.detected and made.localised for made in first.outcomes)
    narrower = run(replace(wanted, causes=("scale",)))
    rest = [made for made in first.outcomes if made.faults[0].slug == "scale"]
    assert [made.faults for made in narrower.outcomes] == [made.faults for made in rest]


def test_what_is_interrupted_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runs before an interruption are in the result, which says that it is not whole."""
    texts = []

    def stop(text: str, fraction: float) -> None:
        texts.append(text)
        if len(texts) == 4:
            raise KeyboardInterrupt

    result = run(Wanted(models=("mlp",), quick=True, repair=False), stop)
    assert result.interrupted
    assert result.outcomes


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--model", "flownett"], "no model of the benchmark is called 'flownett'; it has flownet, residual"),
        (["--cause", "paddin"], "no operator plants the cause 'paddin'; there are activation-extra"),
        (["--seed", "-1"], "seed=-1: a seed must be 0 or more"),
    ],
)
def test_wrong_words_are_one_sentence(words: list[str], sentence: str) -> None:
    """An unknown model, an unknown cause and a bad seed end with exit code 2 before anything is run."""
    ended = CliRunner().invoke(app, ["faults", *words])
    assert ended.exit_code == 2
    assert ended.stderr.startswith(f"parity: {sentence}")
    assert len(ended.stderr.splitlines()) == 1
