"""What a process had found when it died is a report, from what it had written down."""

from dataclasses import replace

import pytest
from records import LAYERS, finding, layer, measure, report, run

from parity.isolation.journal import Described, Loaded, Progressed
from parity.isolation.remains import NOT_RUN, Remains, combined, nothing_but
from parity.plugin.verdicts import layer_failure, network_failure
from parity.render import summary, verdict
from parity.report import DIED, PASS, Coverage, Death, Report
from parity.watch import Begun, Ended, Judged, Step

COVERAGE = Coverage(matched=LAYERS, weighted=3)
LOADED = Loaded(
    pair="small",
    inputs=(Described(name="noise", size="96x64"),),
    weighted=("conv0.0", "conv1.0", "predict_flow"),
    environment={"torch": "2.13.0"},
    settings={"modes": "eager, graph", "command": "parity verify small"},
)


def died_in_eager() -> Report:
    """It dies in its fourth layer, in eager mode, after a fault in the second; graph was not begun."""
    remains = Remains(input="noise")
    for entry in (
        Progressed(text="aligning", fraction=0.0),
        Begun(coverage=COVERAGE, layers=tuple(LAYERS)),
        Progressed(text="layer by layer, conv1.0", fraction=0.4),
        Step(side="reference", doing="running 'conv1.0'"),
        Step(side="port", doing="running 'joined_frames'", mode="eager"),
        Judged(mode="eager", result=layer("conv0.1")),
        Judged(mode="eager", result=layer("conv0.0", introduced=5000), finding=finding("conv0.0")),
        Step(side="port", doing="running 'conv1'"),
    ):
        remains.take(entry)
    death = remains.death("was ended by SIGABRT (it called abort)", "net.py, line 12, in call", ("LLVM ERROR: no",))
    return remains.report(LOADED, ("eager", "graph"), death)


def test_a_death_says_what_was_going_on() -> None:
    """The step that had begun, its part of the work, the side, the mode that was running."""
    (death,) = died_in_eager().deaths
    assert death == Death(
        side="port",
        how="was ended by SIGABRT (it called abort)",
        doing="layer by layer: running 'conv1'",
        input="noise",
        mode="eager",
        where="net.py, line 12, in call",
        last_words=("LLVM ERROR: no",),
    )


def test_what_was_judged_is_kept() -> None:
    """The layers in the reference's order, and the findings; a mode that was not begun has a run without layers."""
    made = died_in_eager()
    assert [(each.mode, each.verdict, [result.layer for result in each.layers]) for each in made.runs] == [
        ("eager", DIED, ["conv0.0", "conv0.1"]),
        ("graph", DIED, []),
    ]
    assert [found.layer for found in made.findings] == ["conv0.0"]
    assert (made.verdict, made.passed) == (DIED, False)
    assert (
        made.runs[0].output == replace(NOT_RUN, relative=made.runs[0].output.relative) or not made.runs[0].output.passed
    )


def test_what_was_run_end_to_end_is_kept_too() -> None:
    """A mode that had come to its end has both errors of each layer."""
    remains = Remains(input="noise")
    remains.take(Begun(coverage=COVERAGE, layers=tuple(LAYERS)))
    remains.take(Judged(mode="eager", result=replace(layer("cat"), propagated=None)))
    remains.take(Ended(mode="eager", propagated={"cat": measure(3), "mul": measure(4)}))
    made = remains.report(LOADED, ("eager",), remains.death("was killed (SIGKILL)"))
    assert [(each.layer, each.propagated) for each in made.runs[0].layers] == [("cat", measure(3))]


def test_an_examination_that_begins_again_judges_again() -> None:
    """What was judged before the same input was begun again is not kept twice."""
    remains = Remains(input="noise")
    for name in ("conv0.0", "conv1.0"):
        remains.take(Begun(coverage=COVERAGE, layers=tuple(LAYERS)))
        remains.take(Judged(mode="eager", result=layer(name), finding=finding(name)))
    made = remains.report(LOADED, ("eager",), remains.death("was killed (SIGKILL)"))
    assert [found.layer for found in made.findings] == ["conv1.0"]


def test_the_reference_dies_in_no_mode() -> None:
    """A death of the reference's leaves no mode to try without: it would die again."""
    remains = Remains(input="noise")
    remains.take(Step(side="port", doing="running 'conv0'", mode="eager"))
    remains.take(Step(side="reference", doing="running 'conv1.0'"))
    assert remains.death("was killed (SIGKILL)").mode == ""


def test_attempts_are_one_report() -> None:
    """The mode that was finished later takes the place of the one that was not, and every death is there."""
    whole = report(modes=("graph",))
    made = combined([died_in_eager(), whole], ("eager", "graph"))
    assert [(each.mode, each.verdict) for each in made.runs] == [("eager", DIED), ("graph", PASS)]
    assert [(found.layer, found.mode) for found in made.findings] == [("conv0.0", "eager")]
    assert (len(made.deaths), made.verdict, made.settings["modes"]) == (1, DIED, "eager, graph")


def test_a_report_of_a_death_comes_back(tmp_path: object) -> None:
    """It is written and read like any other."""
    made = died_in_eager()
    from pathlib import Path

    path = made.save(Path(str(tmp_path)) / "report.json")
    loaded = Report.load(path)
    assert (loaded.deaths, loaded.findings, loaded.verdict) == (made.deaths, made.findings, DIED)


def test_the_first_lines_say_who_died() -> None:
    """How, while doing what, where, the last words, what was found before, how to see it again; then all the rest."""
    lines = [line.strip() for line in summary(died_in_eager(), width=120).splitlines()]
    assert lines[0] == "parity: small"
    assert lines[1].startswith("died      the port: its process was ended by SIGABRT (it called abort)")
    told = "\n".join(lines[:9])
    assert "while layer by layer: running 'conv1' (input noise, mode eager)" in told
    assert "at net.py, line 12, in call" in told
    assert "its last words: LLVM ERROR: no" in told
    assert "eager: 2 of 7 layers were judged, 1 at fault" in told
    assert "again     parity verify small --isolate --input noise --mode eager" in lines
    assert (
        verdict(died_in_eager()) == "DIED: the port took its process down in noise (eager); small agrees in 0 of 2 runs"
    )


def test_a_process_that_died_early_left_nothing() -> None:
    """A report without runs can be printed, and says so."""
    death = Death(side="", how="was killed (SIGKILL)", doing="loading small")
    text = summary(nothing_but("small", death, {"command": "parity verify small"}), width=120)
    assert "nothing had been judged" in text
    assert "DIED: the pair took its process down; small agrees in 0 of 0 runs" in text


@pytest.mark.parametrize("layer_name", ["conv1.0", "predict_flow"])
def test_the_test_of_a_layer_that_was_not_judged_fails(layer_name: str) -> None:
    """It says how the process died; so does the test of the network in the mode in which it did."""
    made = combined([died_in_eager(), report(modes=("graph",))], ("eager", "graph"))
    failure = layer_failure(made, LOADED.weighted, layer_name)
    assert failure is not None
    assert "was not compared" in failure
    assert "the port: its process was ended by SIGABRT" in failure
    in_eager = network_failure(made, LOADED.weighted, "noise", "eager")
    assert in_eager is not None
    assert "the port: its process was ended by SIGABRT" in in_eager
    assert network_failure(made, LOADED.weighted, "noise", "graph") is None


def test_the_run_that_was_made_to_the_end_decides_about_its_layers() -> None:
    """A layer that was judged in every mode passes, although the process died later."""
    partial = died_in_eager()
    partial = replace(partial, findings=(), verdict="", runs=(replace(run(), verdict=DIED), partial.runs[1]))
    made = combined([partial, report(modes=("graph",))], ("eager", "graph"))
    assert layer_failure(made, LOADED.weighted, "conv0.0") is None
