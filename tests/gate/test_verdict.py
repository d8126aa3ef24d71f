"""A report held against a policy: what fails, what is waived, and what only follows."""

from dataclasses import replace
from pathlib import Path

import pytest
from gate_made import DEVIATION, check, made, policy, record, verdicts
from records import COVERAGE, LAYERS, layer, measure, with_run

from parity.artifacts.tflite.engine import BARE
from parity.errors import UsageError
from parity.gate.markdown import markdown
from parity.gate.page import gate_page, gate_verdict
from parity.gate.table import rows
from parity.report import DIED, NOT_COMPARED, Death, Report, Watching

WAIVER = '[[waivers]]\nlayer = "{}"\nwhy = "decided"\nexpires = {}\n'


def died() -> Report:
    """A report of a process that died at its output."""
    death = Death(side="port", how="was ended by SIGSEGV", doing="running it whole", input="noise", mode="pb")
    return replace(with_run(made(), 0, verdict=DIED), deaths=(death,), verdict="")


def test_everything_in_its_limits_passes() -> None:
    """A check for each layer, the output, what watching changed, and the coverage; all pass."""
    found = record()
    assert found.result.verdict == "pass"
    assert found.result.exit_code == 0
    assert set(verdicts(found).values()) == {"pass"}
    assert {"layer[conv0.0]", "output[output]", "watching[outputs]", "coverage[layers]"} <= set(verdicts(found))
    assert check(found, "layer[conv0.0]").figures["introduced_floors"] == 1.0
    assert check(found, "output[output]").figures["epe_max"] == DEVIATION.epe_max


def test_a_layer_at_fault_fails_and_what_comes_after_follows() -> None:
    """Only the layer that introduces error fails; those that inherit it say whose it is."""
    found = record(made(faulty=["conv1.0"]))
    assert found.result.exit_code == 1
    assert verdicts(found)["layer[conv0.0]"] == "pass"
    assert verdicts(found)["layer[conv1.0]"] == "fail"
    assert verdicts(found)["layer[predict_flow]"] == "follows"
    assert verdicts(found)["output[output]"] == "fail"
    assert "cause: padding" in check(found, "layer[conv1.0]").says
    assert check(found, "layer[predict_flow]").says == "what reaches it is at fault since conv1.0"


def test_a_waived_fault_is_waived_with_what_follows_from_it(tmp_path: Path) -> None:
    """The layer, those after it and the output are waived; the waiver's reason and its day are said."""
    found = record(made(faulty=["conv1.0"]), policy(tmp_path, WAIVER.format("conv1.*", "2026-11-26")))
    assert found.result.exit_code == 0
    assert [verdicts(found)[f"layer[{name}]"] for name in ("conv0.0", "conv1.0", "mul")] == ["pass", "waived", "waived"]
    assert verdicts(found)["output[output]"] == "waived"
    assert "until 2026-11-26: decided" in check(found, "layer[conv1.0]").says


def test_a_waiver_covers_no_other_fault(tmp_path: Path) -> None:
    """A second fault, behind the waived one, fails."""
    found = record(made(faulty=["conv0.0", "conv1.0"]), policy(tmp_path, WAIVER.format("conv0.0", "2027-01-31")))
    assert found.result.exit_code == 1
    assert verdicts(found)["layer[conv0.0]"] == "waived"
    assert verdicts(found)["layer[conv1.0]"] == "fail"


def test_a_waiver_is_good_for_so_many_floors(tmp_path: Path) -> None:
    """With `floors` the layer may be off by so much and no more: here it is off by 5000."""
    text = WAIVER.format("conv1.0", "2027-01-31") + "floors = {}\n"
    assert record(made(faulty=["conv1.0"]), policy(tmp_path, text.format(5001))).result.exit_code == 0
    assert record(made(faulty=["conv1.0"]), policy(tmp_path, text.format(4999))).result.exit_code == 1


@pytest.mark.parametrize("title", ["layer[conv1.0]", "output[output]"])
def test_what_is_no_number_is_beyond_every_number_of_floors(tmp_path: Path, title: str) -> None:
    """A NaN is not within so many floors, whatever the finite values beside it are off by; a waiver without a number
    waives it as well, and the tables show no figure."""
    name = title.partition("[")[2].rstrip("]")
    bad = replace(measure(0), note="7 values of the port are not finite", passed=False)
    spoilt = made(faulty=["conv1.0"]) if name == "conv1.0" else made()
    run = spoilt.runs[0]
    layers = tuple(replace(each, introduced=bad, propagated=bad) if each.layer == name else each for each in run.layers)
    spoilt = with_run(spoilt, 0, layers=layers, output=bad if name == "output" else run.output, verdict="diverged")
    text = WAIVER.format(name, "2027-01-31")
    limited = record(spoilt, policy(tmp_path, text + "floors = 9000\n"))
    assert (limited.result.exit_code, verdicts(limited)[title]) == (1, "fail")
    whole = record(spoilt, policy(tmp_path, text))
    assert verdicts(whole)[title] == "waived"
    assert check(whole, title).says.startswith("no number to compare; waived until 2027-01-31")
    (row,) = (line for line in gate_page(limited, width=100).splitlines() if line.startswith("  noise  pb"))
    assert row.count("no number") == 1


def test_an_expired_waiver_fails_with_a_sentence(tmp_path: Path) -> None:
    """The day after its last it waives nothing, and fails whether there is a fault or not."""
    in_force = policy(tmp_path, WAIVER.format("conv1.0", "2026-11-25"))
    found = record(in_force=in_force)
    assert found.result.exit_code == 1
    assert "expired on 2026-11-25 (its why: decided)" in check(found, "waiver[conv1.0]").says
    assert verdicts(record(made(faulty=["conv1.0"]), in_force))["layer[conv1.0]"] == "fail"


def test_a_waiver_that_waives_nothing_is_told(tmp_path: Path) -> None:
    """It fails nothing, and a note asks to take it out; one that waives something is not told."""
    in_force = policy(tmp_path, WAIVER.format("conv1.0", "2027-01-31"))
    found = record(in_force=in_force)
    assert found.result.exit_code == 0
    assert "the waiver of conv1.0 (until 2027-01-31) waives nothing: take it out" in found.result.notes
    assert not record(made(faulty=["conv1.0"]), in_force).result.notes


def test_an_unmatched_layer_is_waived_by_name(tmp_path: Path) -> None:
    """A name left over fails the coverage, unless a waiver has it."""
    report = made(coverage=replace(COVERAGE, unmatched_port=("extra",)))
    assert check(record(report), "coverage[layers]").verdict == "fail"
    assert "extra" in check(record(report), "coverage[layers]").says
    waived = record(report, policy(tmp_path, WAIVER.format("extra", "2027-01-31")))
    assert (waived.result.exit_code, verdicts(waived)["coverage[layers]"]) == (0, "waived")


@pytest.mark.parametrize("end", ["mean", "max"])
def test_the_end_point_error_is_limited(tmp_path: Path, end: str) -> None:
    """At the limit it passes, beyond it it fails, with both numbers in pixels."""
    is_ = {"mean": DEVIATION.epe_mean, "max": DEVIATION.epe_max}[end]
    assert is_ is not None
    text = "[limits]\nend_point_error = {{ {} = {} }}"
    assert record(in_force=policy(tmp_path, text.format(end, is_))).result.exit_code == 0
    found = record(in_force=policy(tmp_path, text.format(end, is_ / 2)))
    assert found.result.exit_code == 1
    assert "pixels, and" in check(found, f"limit[output.end_point_error.{end}]").says


def test_a_limit_that_is_no_number_fails(tmp_path: Path) -> None:
    """A NaN is within no limit."""
    report = made(deviation=replace(DEVIATION, rmse=float("nan")))
    found = record(report, policy(tmp_path, "[limits]\nrmse = 1"))
    assert verdicts(found)["limit[output.rmse]"] == "fail"


def test_a_waiver_widens_no_limit_of_the_task(tmp_path: Path) -> None:
    """A fault that is waived must still leave the output within what the task allows."""
    text = WAIVER.format("conv1.0", "2027-01-31") + "[limits]\nrmse = 1e-9\n"
    found = record(made(faulty=["conv1.0"]), policy(tmp_path, text))
    assert (found.result.exit_code, verdicts(found)["limit[output.rmse]"]) == (1, "fail")


def test_a_limit_of_one_output_comes_before_that_of_all(tmp_path: Path) -> None:
    """What is allowed of all outputs is not, where one of them has a limit of its own."""
    text = "[limits]\nrmse = 1e-9\n[limits.outputs.output]\nrmse = 1.0"
    assert record(in_force=policy(tmp_path, text)).result.exit_code == 0


def test_an_end_point_error_needs_a_flow(tmp_path: Path) -> None:
    """A limit on what no output has is refused: it would never fail."""
    report = made(deviation=replace(DEVIATION, epe_mean=None, epe_max=None))
    with pytest.raises(UsageError, match="end-point error of output, which is no map of two channels"):
        record(report, policy(tmp_path, "[limits]\nend_point_error = { mean = 1 }"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[tolerances."conv9.0"]\nfloors = 9\nwhy = "a"', "tolerances speak of 'conv9.0'.*did you mean conv1.0"),
        (WAIVER.format("conv2*", "2027-01-31"), "waivers speak of 'conv2\\*'"),
        ("[limits.outputs.flow]\nrmse = 1", "limits.outputs speak of 'flow', and small has no such output"),
    ],
)
def test_names_that_are_not_there_are_refused(tmp_path: Path, text: str, sentence: str) -> None:
    """A misspelt exception would except nothing, or be believed to."""
    with pytest.raises(UsageError, match=sentence):
        record(in_force=policy(tmp_path, text))


def test_an_artifact_that_is_too_large_fails(tmp_path: Path) -> None:
    """Its size and the limit are said; at the limit it passes."""
    found = record(in_force=policy(tmp_path, "[artifact]\nsize_mb = 181.5"))
    assert check(found, "artifact[size]").says == "net.pb has 181.5 MB, and 181.5 MB are allowed"
    assert found.result.exit_code == 1
    assert record(in_force=policy(tmp_path, "[artifact]\nsize_mb = 182")).result.exit_code == 0


def test_a_file_that_its_engine_refuses_by_default_fails_unless_that_is_allowed(tmp_path: Path) -> None:
    """Run by other kernels it computes the same, but a product may not have these; allowed, it is told. What else is to
    be said of how a file was seen fails nothing."""
    seen = "layers are those of a copy; " + BARE.format("net.tflite")
    report = replace(made(), settings={"seen": seen})
    found = record(report)
    assert found.result.exit_code == 1
    assert check(found, "artifact[engine]").says.startswith(BARE.format("net.tflite"))
    allowed = record(report, policy(tmp_path, '[artifact]\nallow = ["no-delegate"]'))
    assert allowed.result.exit_code == 0
    assert allowed.result.notes == (BARE.format("net.tflite") + ", which the policy allows",)
    other = record(replace(made(), settings={"seen": "layers are those of a copy"}))
    assert (other.result.exit_code, other.result.notes) == (0, ())


def test_a_pass_that_holds_layers_to_nothing_says_so(tmp_path: Path) -> None:
    """Where half of the layers or more are waived, or may be as far off as they are large, the last line has a caution
    with their number; one layer of seven needs none, and no failure has one."""
    text = WAIVER.format("*", "2027-01-31")
    waived = record(made(faulty=["cat"]), policy(tmp_path, text))
    assert "CAUTION: 7 of 7 layers" in " ".join(gate_page(waived).split()[-20:])
    assert "CAUTION: 7 of 7 layers are waived: this policy holds them to nothing" in gate_verdict(waived.result)
    assert "**Caution**: 7 of 7 layers are waived" in markdown(waived)

    def wide(count: int) -> Report:
        loose = replace(measure(2), allowed=1.0)
        layers = [replace(layer(name), introduced=loose, propagated=loose) for name in list(LAYERS)[:count]]
        return with_run(made(), 0, layers=(*layers, *(layer(name) for name in list(LAYERS)[count:])))

    assert "CAUTION: 4 of 7 layers have limits wider than their signal" in gate_verdict(record(wide(4)).result)
    assert "CAUTION" not in gate_verdict(record(wide(3)).result)
    assert "CAUTION" not in gate_verdict(record(made(faulty=["cat"])).result)


def test_a_process_that_died_is_not_verified(tmp_path: Path) -> None:
    """Whatever else was found: exit 3, and the words of how it ended. No name is called unknown for it."""
    found = record(died(), policy(tmp_path, WAIVER.format("conv9", "2027-01-31")))
    assert (found.result.verdict, found.result.exit_code) == ("not verified", 3)
    assert "SIGSEGV" in check(found, "process[end]").says


def test_what_was_not_reached_is_not_verified() -> None:
    """A run that stopped before the last input is no pass."""
    assert record(unfinished="ramp was not run").result.exit_code == 3


def test_nothing_compared_is_no_pass() -> None:
    """A report without a run, and a run without a layer."""
    empty = replace(made(), runs=(), verdict="")
    assert record(empty).result.exit_code == 3
    bare = with_run(made(), 0, layers=())
    assert record(bare).result.exit_code == 3


def test_what_was_not_compared_fails() -> None:
    """A layer that nothing finite reaches fails by itself where no other does; of how far it is off nothing is said."""
    report = with_run(made(), 0, layers=(replace(layer("conv0.0"), verdict=NOT_COMPARED),), verdict="diverged")
    found = record(report)
    assert verdicts(found)["layer[conv0.0]"] == "fail"
    assert not {"introduced", "propagated_floors"} & check(found, "layer[conv0.0]").figures.keys()
    assert "not compared: conv0.0" in rows(found.result)[0]


def test_the_first_that_has_accumulated_fails() -> None:
    """Where none introduces error, the first layer beyond its limits is the one that fails."""
    layers = (layer("conv0.0", propagated=9), layer("conv1.0", propagated=11))
    found = record(with_run(made(), 0, layers=layers, verdict="diverged"))
    assert verdicts(found)["layer[conv0.0]"] == "fail"
    assert verdicts(found)["layer[conv1.0]"] == "follows"
    assert "accumulated" in check(found, "layer[conv0.0]").says


def test_an_output_that_is_off_alone_fails() -> None:
    """Layers within their limits do not excuse an output that is not."""
    found = record(with_run(made(), 0, output=measure(9), verdict="diverged"))
    assert (found.result.exit_code, verdicts(found)["output[output]"]) == (1, "fail")


def test_an_output_may_be_waived_by_its_name(tmp_path: Path) -> None:
    """Outputs are named in waivers as layers are."""
    report = with_run(made(), 0, output=measure(9), verdict="diverged")
    assert record(report, policy(tmp_path, WAIVER.format("output", "2027-01-31"))).result.exit_code == 0


def test_a_port_that_watching_changes_fails() -> None:
    """The layers' numbers would be about another computation."""
    report = with_run(made(), 0, watching=Watching(same=False, relative=0.1, within=False), verdict="diverged")
    assert verdicts(record(report))["watching[outputs]"] == "fail"


def test_no_run_that_the_report_calls_diverged_passes() -> None:
    """Even where nothing in it says why."""
    found = record(with_run(made(), 0, verdict="diverged"))
    assert (found.result.exit_code, verdicts(found)["output[all]"]) == (1, "fail")


def test_what_to_do_next_is_of_the_size_that_failed() -> None:
    """Of several sizes, the command that explains a layer has the input's own name and the size of that run."""
    report = made(faulty=["conv1.0"])
    command = "parity verify small --size 64x64 --port net.pb"
    named = replace(
        report,
        runs=tuple(replace(run, input="noise@96x128") for run in report.runs),
        findings=tuple(replace(each, input="noise@96x128") for each in report.findings),
        settings={**report.settings, "command": command},
        verdict="",
    )
    says = check(record(named), "layer[conv1.0]").says
    assert "parity explain small conv1.0 --size 96x128 --port net.pb --input noise --mode pb" in says
    assert check(record(named), "layer[conv1.0]").input == "noise@96x128"
