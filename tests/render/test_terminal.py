"""The words and the layout of reports on a terminal."""

import math
from dataclasses import replace

import pytest
import records
from rich.cells import cell_len

from parity.numbers import short, times
from parity.render import (
    coverage_failure,
    failure,
    failures,
    gradient_table,
    layer_table,
    output_failure,
    summary,
    uncompared_failure,
    verdict,
    watching_failure,
)
from parity.report import (
    DIVERGED,
    INTRODUCES,
    NOT_COMPARED,
    Cause,
    Coverage,
    GradientRun,
    LayerGradients,
    Report,
    Watching,
)

INPUTS, MODES = ("noise", "motorcycle"), ("eager", "graph", "xla")
COMMAND = {
    "command": "parity verify small --size 64x64",
    "policy": "noise floor of a float64 run (RMSE 8x, maximum 32x)",
}


def faulty(*layers: str) -> Report:
    """A report of six runs in which these layers are at fault."""
    return records.report(INPUTS, MODES, faulty=layers, settings=COMMAND)


# --- failures --------------------------------------------------------------------------------------------------------


def test_a_failure_says_what_where_how_far_why_and_what_next() -> None:
    """At 80 columns each piece has a line of its own, in this order."""
    report = faulty("conv1.0")
    assert failure(report, report.findings[0], width=80).splitlines() == [
        "small / conv1.0  introduces 2.0e-3 (floor 4.0e-7, 5 000x)",
        "  cause: padding (same pads 0,1; reference pads 1,1)",
        "  with that undone: 3.9e-7  input noise, mode eager, port layer conv1",
        "  greatest difference 1.5e-1 at (0, 1, 2, 3) (up to 2.4e-4 allowed)",
        "  next: parity explain small conv1.0 --size 64x64 --input noise --mode eager",
    ]


def test_a_wide_terminal_puts_the_cause_beside_the_layer() -> None:
    """Where there is room, the layer and its cause share the first line."""
    report = faulty("conv1.0")
    first = failure(report, report.findings[0], width=120).splitlines()[0]
    assert first == (
        "small / conv1.0  introduces 2.0e-3 (floor 4.0e-7, 5 000x)  cause: padding (same pads 0,1; reference pads 1,1)"
    )


def test_permuted_axes_come_with_the_code_that_puts_them_right() -> None:
    """Where axes of a weight are permuted and nothing else is wrong, the change is given as code, on its own line."""
    detail = "the kernel's axes are permuted: it needs kh kw i o = its axes (1, 0, 2, 3)"
    for also, count in (((), 1), (("padding",), 0)):
        cause = Cause(slug="kernel-axes", detail=detail, change="load the weights again", also=also)
        report = faulty("conv1.0")
        report = replace(report, findings=tuple(replace(each, cause=cause) for each in report.findings), verdict="")
        for text in (failure(report, report.findings[0], width=80), summary(report, width=80)):
            lines = [line.strip() for line in text.splitlines()]
            assert lines.count("that is: kernel = kernel.transpose(1, 0, 2, 3)") == count


def test_an_unknown_cause_comes_with_its_evidence() -> None:
    """Where no cause is proven the message says so, gives the evidence, and claims no residual."""
    report = faulty("conv1.0")
    text = failure(report, records.finding("conv1.0", slug="unknown"), width=80)
    assert "cause: unknown (the evidence: same pads 0,1; reference pads 1,1)" in text
    assert "with that undone" not in text


def test_a_divergence_that_no_layer_introduces_says_so() -> None:
    """A layer that only accumulates error is told from one that introduces it."""
    text = failure(faulty("conv1.0"), records.finding("conv1.1", introduced=False), width=100)
    assert text.startswith("small / conv1.1  leaves its limits end to end, by 2.0e-3 (floor 4.0e-7, 5 000x)")
    assert "introduces" not in text


@pytest.mark.parametrize(
    ("slug", "error", "words"), [("non-finite", 0.5, "is not finite"), ("unknown", math.inf, "cannot be compared")]
)
def test_an_error_without_a_number_shows_none(slug: str, error: float, words: str) -> None:
    """Values that are not finite, and shapes that differ, are named; no number is made up for them."""
    report = faulty("conv1.0")
    text = failure(report, replace(records.finding("conv1.0", slug=slug), error=error), width=80)
    assert text.startswith(f"small / conv1.0  {words}\n")
    assert "floor" not in text
    assert "greatest difference" not in text


def test_an_error_that_is_a_pure_factor_says_why_it_counts() -> None:
    """An error below the noise that fails all the same, for its gain, gives the factor."""
    report = faulty("conv1.0")
    run = report.runs[0]
    measure = replace(records.measure(5), gain=1.9e-6, passed=False)
    layers = tuple(replace(each, introduced=measure) if each.layer == "conv1.0" else each for each in run.layers)
    text = failure(records.with_run(report, 0, layers=layers), report.findings[0], width=90)
    assert "no larger than noise, but not noise: every value is off by the factor 1 +1.9e-06" in text


def test_a_fixed_tolerance_is_called_one() -> None:
    """Under rtol and atol errors are counted in tolerances, and nothing is called a floor."""
    report = replace(faulty("conv1.0"), settings={"policy": "rtol=0.001, atol=1e-05"})
    assert "(tolerance 4.0e-7, 5 000x)" in failure(report, report.findings[0])
    assert "worst layer, in tolerances" in summary(report, width=100)
    assert "floor" not in failure(report, report.findings[0])


def test_the_same_finding_in_several_runs_is_one_message() -> None:
    """A layer with one cause is told once, with all the places; another layer is told apart from it."""
    report = faulty("conv1.0", "mul")
    text = failures(report, report.findings, width=80)
    assert text.count("small / conv1.0") == text.count("small / mul") == 1
    assert "also in noise (graph, xla)," in text
    assert "motorcycle (eager, graph, xla)" in text


def test_without_a_command_the_next_step_is_python_that_runs() -> None:
    """For a report made in Python the next step is code, and that code works."""
    report = records.report(faulty=("conv1.0",))
    code = failure(report, report.findings[0]).splitlines()[-1].strip().removeprefix("next: ")
    assert code == "from parity.render import layer_table; print(layer_table(report, report.runs[0]))"
    exec(code, {"report": report})


def test_an_output_names_the_first_layer_that_leaves_its_limits() -> None:
    """A diverged output says how far, how far is allowed, and where to look first."""
    report = faulty("conv1.0")
    assert output_failure(report, report.runs[1], width=80).splitlines() == [
        "small / output  differs by 2.0e-3 (allowed 3.2e-6, 5 000x the floor)",
        "  input noise, mode graph  first layer to leave its limits: conv1.0 (introduces)",
        "  greatest difference 1.5e-1 at (0, 1, 2, 3) (up to 2.4e-4 allowed)",
        "  next: parity verify small --size 64x64 --input noise --mode graph --layers",
    ]


def test_outputs_that_differ_where_no_layer_does_are_in_the_summary() -> None:
    """Each output beyond its limits is named once, with how far, or why it cannot be compared; the others are not."""
    shapes = replace(records.measure(math.inf), note="shape (2, 3, 5), but should be (2, 5, 3)")
    outputs = {"output[0]": records.measure(), "output[1]": shapes, "output[2]": records.measure(5000)}
    report = records.with_run(records.report(modes=MODES), 1, outputs=outputs, verdict=DIVERGED)
    lines = [line.strip() for line in summary(report, width=120).splitlines() if "output[" in line]
    assert lines == [
        "output    output[1]  cannot be compared: shape (2, 3, 5), but should be (2, 5, 3)  in noise (graph)",
        "output    output[2]  differs by 2.0e-3 (allowed 3.2e-6, 5 000x the floor)  in noise (graph)",
    ]


def test_an_output_that_cannot_be_compared_gives_the_reason() -> None:
    """A note of the comparison (a shape, values that are not finite) stands in for a number."""
    report = faulty("conv1.0")
    note = "7 values of the port are not finite"
    run = replace(report.runs[0], output=replace(records.measure(), note=note, passed=False))
    assert f"small / output  cannot be compared: {note}" in output_failure(report, run)


def test_tables_show_no_number_where_there_is_none() -> None:
    """Values that are not finite and shapes that differ stand in the tables of runs and layers, in no figure."""
    report = faulty("conv1.0")
    for note, words in (("7 values of the port are not finite", "not finite"), ("shape (1, 2)", "not comparable")):
        bad = replace(records.measure(0), note=note, passed=False)
        layers = tuple(replace(each, introduced=bad, propagated=bad) for each in report.runs[0].layers)
        strange = records.with_run(report, 0, layers=layers, output=bad)
        row = next(line for line in summary(strange, width=100).splitlines() if line.split()[:2] == ["noise", "eager"])
        assert row.split()[3:] == [*words.split(), "conv1.0", *words.split(), "same"]
        for width in (50, 60, 79, 80):
            assert max(map(len, summary(strange, width=width).splitlines()[:12])) <= width
        table = layer_table(strange, strange.runs[0], width=100).splitlines()[2:-1]
        assert len(table) == len(layers)
        assert all(line.count(words) == 2 and "x " not in line for line in table)


@pytest.mark.parametrize("width", [40, 56, 79, 80, 120])
def test_gradients_have_a_table_of_their_own(width: int) -> None:
    """Each layer has a line with the worst of what is its own, NaN before any number, and every line fits."""
    good, bad = (
        records.measure(2),
        replace(records.measure(0), note="7 values of the port are not finite", passed=False),
    )
    layers = [
        LayerGradients(layer="conv0.0", port_layer="conv0", verdict="pass", arriving=good, to={"input": good}),
        LayerGradients(
            layer="a_long_name_" * 9,
            port_layer="conv1",
            verdict="introduces",
            arriving=None,
            weights={"kernel": records.measure(5000), "bias": bad},
            training={"running_mean": records.measure(7)},
        ),
    ]
    run = GradientRun(input="noise", mode="eager", verdict=DIVERGED, layers=tuple(layers))
    lines = gradient_table(replace(records.report(), gradients=(run,), verdict=""), run, width=width).splitlines()
    assert max(map(len, lines)) <= width
    first, second = (line for line in lines if line.endswith(("pass", "introduces")))
    assert first.split()[0] == "conv0.0"
    assert "not finite" in second
    assert ("of bias" in second) == (width >= 80)


def test_unmatched_names_are_capped_with_the_way_to_all_of_them() -> None:
    """Of many unmatched names eight are listed, then how many more, and where they are; waived ones are not."""
    names = tuple(f"block{number}.0" for number in range(12))
    coverage = Coverage(
        matched=records.LAYERS, weighted=3, unmatched_reference=names, unmatched_port=("odd", "kept"), waived=("kept",)
    )
    text = coverage_failure(records.report(coverage=coverage), width=80)
    assert text.startswith("small  incomplete coverage: 12 of the reference and 1 of the port unmatched")
    assert "block7.0 and 4 more (all of them:" in text
    assert "block8.0" not in text
    assert "coverage.unmatched_reference in report.json" in text
    assert "kept" not in text


def test_nothing_compared_is_said_plainly() -> None:
    """Where no layer of the port answers to any, the message and the verdict say that nothing was compared."""
    report = records.report(coverage=Coverage(matched={}, weighted=0, unmatched_reference=("conv0.0",)))
    assert "nothing was compared" in coverage_failure(report)
    assert verdict(report).startswith("NOTHING COMPARED")


def test_watching_that_changes_the_result_is_told() -> None:
    """A port that computes something else while it is watched is named with the size of the change."""
    report = records.report()
    run = replace(report.runs[0], watching=Watching(same=False, relative=0.012, within=False))
    assert "changes by 1.2e-2 when the port is watched" in watching_failure(report, run)


def test_a_layer_that_was_not_compared_is_told_with_its_runs() -> None:
    """A weighted layer without a result names the runs that lack it."""
    report = records.report(INPUTS, MODES)
    assert "in noise (eager)" in uncompared_failure(report, "conv1.0", report.runs[:1])
    assert "in all 6 runs" in uncompared_failure(report, "conv1.0", report.runs)


# --- the summary -----------------------------------------------------------------------------------------------------


def test_the_summary_of_a_pass_is_this_page() -> None:
    """A passing report at 80 columns, line by line."""
    report = records.report(("noise",), MODES, settings=COMMAND)
    assert summary(report, width=80).splitlines() == [
        "parity: small",
        "",
        "  input  mode   verdict  worst layer, in floors  output error  watching",
        "  noise  eager  pass        2.0x cat                   8.0e-7  same",
        "  noise  graph  pass        2.0x cat                   8.0e-7  same",
        "  noise  xla    pass        2.0x cat                   8.0e-7  same",
        "",
        "  3 of 3 weighted layers and 4 operations between them matched, 0 unmatched",
        "",
        "  policy    noise floor of a float64 run (RMSE 8x, maximum 32x)",
        "  versions  torch 2.13.0, tensorflow 2.21.0, keras 3.15.1",
        "",
        "PASS: the port of small computes what its reference computes, in 3 of 3 runs",
    ]


def test_layers_that_are_apart_are_no_operations_less() -> None:
    """A layer with weights that is compared with the one after it is counted among the layers, and nowhere else."""
    (first, *_) = [name for name in records.WEIGHTED if name in records.LAYERS]
    left = {name: port for name, port in records.LAYERS.items() if name != first}
    full = records.report()
    runs = tuple(replace(run, layers=tuple(each for each in run.layers if each.layer != first)) for run in full.runs)
    coverage = replace(records.COVERAGE, matched=left, apart=(first,), inside={first: next(iter(left))})
    text = summary(replace(full, runs=runs, coverage=coverage), width=80)
    assert "3 of 3 weighted layers and 4 operations between them matched" in text


def test_the_summary_of_a_failure_groups_findings_and_says_what_next() -> None:
    """One line of findings per layer and cause, the first divergence, the next command, the verdict last."""
    text = summary(faulty("conv1.0", "mul"), width=80)
    assert text.count("finding ") == 2
    assert "with that undone: 3.9e-7  in all 6 runs" in text
    assert "diverges  first at conv1.0, end to end  input noise, mode eager" in text
    assert "next      parity explain small conv1.0 --size 64x64 --input noise --mode eager" in text
    assert text.splitlines()[-1] == "DIVERGED: small agrees in 0 of 6 runs; first at conv1.0"


def test_a_warning_of_all_modes_is_printed_once() -> None:
    """An input that leaves a layer blind does so in every mode, and is said once; many are capped."""
    report = records.report(("noise",), MODES)
    for index in range(3):
        report = records.with_run(report, index, warnings=tuple(f"blind spot {number}" for number in range(11)))
    text = summary(report, width=80)
    assert text.count("noise: blind spot 7") == 1
    assert "and 3 more (all of them: runs[].warnings in report.json)" in text


def test_an_unfinished_verification_says_so_in_its_verdict() -> None:
    """A report of a part passes that part only, and its last line says what is missing."""
    report = records.report(settings={"unfinished": "ramp was not reached"})
    assert verdict(report).endswith("in 1 of 1 runs; UNFINISHED: ramp was not reached")


@pytest.mark.parametrize("width", [80, 100, 160])
@pytest.mark.parametrize("long", [False, True])
def test_nothing_is_wider_than_the_terminal(width: int, *, long: bool) -> None:
    """At any width no line is longer, but for commands; long names are cut in the middle, none is wrapped."""
    report = faulty("conv1.0", "mul")
    if long:
        name = "encoder.stages.3.blocks.17.attention.projection.dropout"
        run = report.runs[0]
        layers = tuple(replace(each, layer=name, port_layer=name + "_port") for each in run.layers)
        report = records.with_run(report, 0, layers=layers, input="left_and_right_of_a_very_long_name")
    for text in (summary(report, width=width), layer_table(report, report.runs[0], width=width)):
        lines = [line for line in text.splitlines() if "parity verify" not in line]
        assert max(map(len, lines)) <= width


@pytest.mark.parametrize(("width", "missing"), [(70, "watching"), (60, "watching"), (40, "worst")])
def test_a_narrow_terminal_has_fewer_columns_and_whole_words(width: int, missing: str) -> None:
    """Below 80 columns a table leaves out what is missed least: what is there is not cut down to "diver" or "2.5e"."""
    report = faulty("conv1.0")
    text = summary(report, width=width) + "\n" + layer_table(report, report.runs[0], width=width)
    assert missing not in text
    assert "\u2026" not in text
    for words in ("diverged", "introduces", "2.0e-3", "5 000x"):
        assert words in text
    lines = [line for line in text.splitlines() if "parity explain" not in line]
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize("width", [80, 120])
def test_no_name_gives_the_terminal_an_order(width: int) -> None:
    """A name with escape sequences or marks of direction is written out, and takes no colour or cursor anywhere."""
    name = "a\x1b]0;title\x07\u202eb"
    report = faulty("conv1.0")
    run = report.runs[0]
    layers = tuple(replace(each, layer=name, port_layer=f"port {name}") for each in run.layers)
    report = records.with_run(report, 0, layers=layers, input=name)
    report = replace(report, findings=(replace(report.findings[0], layer=name, input=name),), pair=name, verdict="")
    for text in (summary(report, width=width), layer_table(report, report.runs[0], width=width)):
        assert not set(text) & set("\x1b\x07\u202e")
        assert "a\\x1b]0;title\\x07\\u202eb" in text


def test_wide_letters_take_two_columns() -> None:
    """Names of letters that are two columns wide are cut to what fits, and push no number out of the table."""
    report = faulty("conv1.0")
    layers = tuple(replace(each, layer="\u5c64" * 30, port_layer="\u5c64" * 31) for each in report.runs[0].layers)
    report = records.with_run(report, 0, layers=layers, input="\u5de6\u53f3" * 20)
    for text in (layer_table(report, report.runs[0], width=80), summary(report, width=80)):
        assert "\u2026" not in text
        rows = [line for line in text.splitlines() if "2.0e-3" in line and "finding" not in line]
        assert rows
        assert max(map(cell_len, rows)) <= 80


def test_of_many_runs_those_that_fail_are_listed() -> None:
    """A hundred runs do not push the findings off the screen: the failing ones are shown, the others counted."""
    report = records.report(tuple(f"frame{index}" for index in range(34)), MODES)
    report = records.with_run(report, 100, verdict=DIVERGED)
    text = summary(report, width=80)
    rows = [line.split() for line in text.splitlines() if line.startswith("  frame")]
    assert rows[0][:3] == ["frame33", "graph", "diverged"]
    assert len(rows) == 24
    assert "and 78 more runs, of which 78 pass (all of them: runs in report.json)" in text


def test_what_watching_changes_is_said_on_a_narrow_terminal_too() -> None:
    """Where watching changed a run beyond its limits, its column stays."""
    report = records.with_run(records.report(), 0, watching=Watching(same=False, relative=0.012, within=False))
    assert "1.2e-2 !" in summary(report, width=60)


def test_the_essential_comes_first() -> None:
    """Runs and findings come before settings and versions; the verdict is the last line."""
    text = summary(replace(faulty("conv1.0"), settings={**COMMAND, "policy": "noise floor"}), width=80)
    order = [
        text.index(words) for words in ("  noise  ", "  finding ", "  next ", "  policy ", "  versions ", "DIVERGED")
    ]
    assert order == sorted(order)


def test_colour_changes_nothing_but_colour() -> None:
    """Without its escape sequences the coloured page is the plain one."""
    import re

    report = faulty("conv1.0")
    coloured = summary(report, width=80, colour=True)
    assert "\x1b[" in coloured
    plain = [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", coloured).splitlines()]
    assert plain == summary(report, width=80).splitlines()


# --- the table of layers ---------------------------------------------------------------------------------------------


def test_the_table_has_both_errors_of_every_layer() -> None:
    """At 80 columns both names share a cell; each error is followed by how many floors it is."""
    report = faulty("conv1.0")
    lines = layer_table(report, report.runs[0], width=80).splitlines()
    assert lines[0] == "small: input noise, mode eager"
    assert lines[3] == "  conv0.0 = conv0          8.0e-7    2.0x  4.0e-7    1.0x  4.0e-7  pass"
    assert lines[5] == "  conv1.0 = conv1          2.0e-3  5 000x  2.0e-3  5 000x  4.0e-7  introduces"
    assert lines[6] == "  conv1.1 = leaky_re_lu_2  2.0e-3  5 000x  4.0e-7    1.0x  4.0e-7  inherits"


@pytest.mark.parametrize("width", [72, 80, 99, 100, 140])
def test_long_names_are_cut_and_never_numbers(width: int) -> None:
    """Names make room for errors, floors and verdicts, the longest of them too."""
    names = {"layer": "encoder.layers.3.attention.output", "port_layer": "bert/encoder/layer_3/attention/output"}
    layer = replace(records.layer("conv1.0"), **names)
    layers = (
        replace(layer, propagated=records.measure(1.2e9), floor=1.2e-10, verdict=NOT_COMPARED),
        replace(layer, introduced=records.measure(7.6e6), verdict=INTRODUCES),
    )
    report = records.with_run(records.report(), 0, layers=layers)
    text = layer_table(report, report.runs[0], width=width)
    assert "\u2026" not in text
    assert NOT_COMPARED in text
    assert INTRODUCES in text
    assert max(map(len, text.splitlines())) <= width


def test_a_wide_table_has_a_column_for_the_port() -> None:
    """From 100 columns the port's names have a column of their own."""
    report = faulty()
    assert "port layer" in layer_table(report, report.runs[0], width=100)
    assert "port layer" not in layer_table(report, report.runs[0], width=99)


def test_an_error_that_was_not_needed_is_a_dash() -> None:
    """Where no introduced error was computed the table has a dash, not a zero."""
    report = records.report()
    layers = tuple(replace(each, introduced=None) for each in report.runs[0].layers)
    lines = layer_table(report, replace(report.runs[0], layers=layers), width=80).splitlines()
    assert lines[2].split() == ["cat", "=", "joined_frames", "8.0e-7", "2.0x", "-", "4.0e-7", "pass"]


# --- numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (1.0, "1.0e0"), (9.96e-5, "1.0e-4"), (math.inf, "inf"), (math.nan, "nan")]
)
def test_errors_have_two_digits(value: float, text: str) -> None:
    """An error is written in two digits with a short exponent, also where rounding carries over."""
    assert short(value) == text


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (0.04, "0.0x"),
        (9.94, "9.9x"),
        (9.96, "10x"),
        (999.4, "999x"),
        (999.6, "1 000x"),
        (76_700, "77 000x"),
        (3e9, "3.0e9x"),
    ],
)
def test_ratios_are_as_precise_as_they_are_useful(ratio: float, text: str) -> None:
    """A ratio has one decimal below ten, none below a thousand, and two digits above."""
    assert times(ratio) == text
