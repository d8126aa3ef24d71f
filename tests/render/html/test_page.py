"""The page itself, without a browser: it is whole, loads nothing, breaks nothing, and stays small."""

import hashlib
import json
import math
import re
import time
from base64 import b64encode
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pages import FLOOR, HOSTILE, THREE, failing, flow_picture, hostile, large, made, measure, passing, strange

from parity.errors import ReportFileError
from parity.history import Past
from parity.portraits import KeptArray
from parity.render.html import cell, images, page
from parity.render.html.network import edges, rows
from parity.render.html.scale import EXACT, STRANGE, Scale
from parity.report import Ambiguity, Death, Finding, GradientRun, LayerGradients, Report


def test_it_is_made_of_the_json_alone(tmp_path: Path) -> None:
    """A report that was written and read back has the same page, to the letter."""
    report = failing()
    assert page(Report.load(report.save(tmp_path / "report.json"))) == page(report)


def test_it_loads_nothing() -> None:
    """No address in it leads anywhere but to itself."""
    text = page(failing())
    assert set(re.findall(r"(?:src|href)=\"([^\"]{1,6})", text)) == {"data:i", "#layer"}
    assert "http" not in re.sub(r"http-equiv", "", text)
    assert "url(" not in text


def test_its_policy_admits_its_own_script_alone() -> None:
    """The digest in the policy is that of the one script that runs."""
    text = page(failing())
    script = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(script) == 1
    digest = b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text


def test_no_name_becomes_markup() -> None:
    """Whatever is in a name, a message or a file's name, the page has its own two scripts and no more."""
    text = page(hostile())
    assert text.count("<script") == 2
    assert "alert('x')" not in text
    assert HOSTILE not in text
    data = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)
    assert data
    assert json.loads(data[1])["names"][1].endswith(HOSTILE)


def test_no_name_turns_what_is_around_it() -> None:
    """Characters that set the direction of writing, and control characters, are written out, in the data too."""
    name = "conv_\u202egnp.exe \x1b[31m\u2066"
    report = made([name, "next"], {name: failing().findings[0].cause}, pair=f"net {name}")
    text = page(report)
    assert not set(text) & set("\u202e\u2066\x1b")
    assert not re.search(r"\\u202e|\\u001b", text.partition('id="data">')[2].replace("\\\\u202e", ""))
    assert "conv_\\u202egnp.exe \\x1b[31m\\u2066" in text.partition("<article")[2]


def test_a_very_long_name_leaves_room_for_what_is_wrong() -> None:
    """The heading of a card has both ends of a long name; the whole of it is in its title."""
    name = "encoder." + "stage." * 60 + "conv"
    heading = page(made([name], {name: failing().findings[0].cause})).partition("<h2")[2].partition("</h2>")[0]
    shown = re.sub(r"<[^>]*>", "", heading)
    assert "encoder.stage" in shown
    assert shown.count("stage.conv") == 2
    assert len(shown) < 250
    assert f'title="{name}"' in heading


def test_permuted_axes_come_with_the_code_that_permutes_them_back() -> None:
    """What to change is said as code as well, where the cause is a permutation; nowhere else."""
    first, second, third = page(failing()).split("<article")[1:4]
    assert "kernel = kernel.transpose(1, 0, 2, 3)" in second.partition("</article>")[0]
    assert "transpose(" not in first
    assert "transpose(" not in third.partition("</article>")[0]


def test_500_layers_in_six_runs_stay_small_and_are_made_fast() -> None:
    """The page of 500 layers is less than 5 MB, and made in a few seconds."""
    report, begun = large(), time.process_time()
    assert len(page(report).encode()) < 5e6
    assert time.process_time() - begun < 10


@pytest.mark.parametrize("words", ["act2", "The slope for negative values is 0.2", "slope=0.1", "explain"])
def test_the_first_card_is_the_first_divergence(words: str) -> None:
    """What is first in the network comes first, with what is wrong and what to change."""
    first = page(failing()).partition("<article")[2].partition("</article>")[0]
    assert words in first


def test_a_pass_has_no_card() -> None:
    """Where nothing is wrong nothing says so."""
    assert "<article" not in page(passing())


def test_what_is_not_finite_is_said_in_words() -> None:
    """A NaN is no small number: the page says that it is not finite, on top and in the table."""
    text = page(strange())
    first = text.partition("<article")[2].partition("</article>")[0]
    assert "is not finite: 64 values of the port are not finite" in first
    assert "not a number to compare" in first
    assert not re.search(r"[>:]\s*(nan|inf)\b", text.partition("<script")[0])


@pytest.mark.parametrize("relative", [1.7e308, 1e-320, math.inf, math.nan, 0.0])
@pytest.mark.parametrize("floor", [0.0, 1e-320, math.nan, FLOOR])
def test_no_number_is_too_strange_for_a_page(relative: float, floor: float) -> None:
    """The greatest and the least that a float can be, and none at all, have a place on the axis and words."""
    report = failing()
    run = report.runs[0]
    wild = replace(measure(1.0), relative=relative, ratio=relative / floor if floor else math.inf)
    layers = tuple(replace(each, introduced=wild, propagated=wild, floor=floor) for each in run.layers)
    finding = replace(report.findings[0], error=relative, floor=floor)
    made_up = replace(report, runs=(replace(run, layers=layers),), findings=(finding,), first_divergence=finding)
    text = page(made_up).partition('id="data"')[0]
    assert not re.search(r"(?:left|bottom|width):(?:nan|inf|None)|[ML][\d.]+ (?:nan|inf)", text)
    words = re.sub(r"<[^>]*>", " ", text.partition('id="layers"')[0])
    assert not re.search(r"\b(?:infx|nanx)\b", words)


def test_an_accumulated_divergence_has_a_card() -> None:
    """Where no layer is at fault by itself, the first that leaves its limits is shown, with that."""
    report = failing()
    first = replace(report.findings[0], introduced=False)
    text = page(replace(report, findings=(), first_divergence=first, verdict=""))
    assert "leaves its limits end to end" in text.partition("<article")[2]


def test_a_process_that_died_is_on_top() -> None:
    """How a process died, while doing what, and how to see it again."""
    death = Death(side="port", how="was killed by signal 11", doing="end to end", input="noise", mode="xla")
    text = page(replace(passing(), deaths=(death,), verdict=""))
    assert "<h2>The port: its process was killed by signal 11" in text
    assert "--isolate" in text
    slow = page(replace(passing(), deaths=(replace(death, how="did nothing more for 1 seconds"),), verdict=""))
    command = re.sub(r"<[^>]*>", "", slow.partition('class="command"')[2].partition("</code>")[0])
    assert command.endswith("--mode xla")
    assert "with a longer --timeout" in slow


def test_what_is_unmatched_is_on_top_and_nothing_compared_is_no_pass() -> None:
    """Layers without a counterpart are named on top; an empty report says that nothing was compared."""
    report = passing()
    left = replace(report.coverage, unmatched_reference=("extra",))
    assert "1 layer of the reference without a counterpart" in page(replace(report, coverage=left, verdict=""))
    empty = replace(report, runs=(), coverage=replace(report.coverage, matched={}), verdict="")
    assert "Nothing was compared, and that is not a pass" in page(empty)
    assert "Skip to the table" not in page(empty)


def test_gradients_have_a_table_and_a_card() -> None:
    """A gradient that differs is a card that says so, and its run is open below with the layer's figures."""
    report = passing()
    found = replace(failing().findings[0], about="gradients")
    layer = LayerGradients(
        layer="act2",
        port_layer="k_act2",
        verdict="introduces",
        arriving=None,
        to={"conv2": measure(0.1)},
        weights={"kernel": measure(0.3), "bias": measure(1e-9)},
    )
    run = GradientRun(input="noise", mode="eager", verdict="diverged", layers=(layer,), inputs={})
    text = page(replace(report, gradients=(run,), findings=(found,), verdict=""))
    assert "gives other gradients, off by" in text.partition("<article")[2]
    table = text.partition('id="gradients-title"')[2].partition("</table>")[0]
    assert "<details open" in table
    both = page(replace(report, gradients=(run, replace(run, mode="xla")), findings=(found,), verdict=""))
    assert both.count("<details open") == 1
    assert re.findall(r"3.0e-1 · 600 000x</td><td>of kernel</td>", table)
    facts = re.sub("<[^>]*>", " ", text.partition('class="facts"')[2].partition("</section>")[0])
    assert "0 of 1 gradients agree" in " ".join(facts.split())
    (row,) = re.findall('<tr[^>]*data-text="act2[^>]*>', text)
    assert row.endswith(" data-fault>")
    assert text.count(" data-fault>") == 1
    strange = replace(layer, weights={"kernel": measure(0.0, "7 values of the port are not finite")})
    shown = page(replace(report, gradients=(replace(run, layers=(strange,)),), verdict=""))
    assert re.findall(r"not finite</td><td>of kernel</td>", shown)


def test_what_the_coverage_says_is_on_record() -> None:
    """What was waived, fused, compared with others or only end to end, and what nothing decided, is listed."""
    report = passing()
    coverage = replace(
        report.coverage,
        waived=("extra",),
        unmatched_port=("extra",),
        fused={"bn1": "conv1"},
        propagated_only=("conv2",),
        apart=("conv3",),
        ambiguous=(Ambiguity(layer="act1", port_layer="k_act1", alternatives=("k_act2",)),),
    )
    record = page(replace(report, coverage=coverage, verdict="")).partition('id="record-title"')[2]
    for words in ("<code>extra</code>", "bn1 into conv1", "<code>conv2</code>", "act1 -&gt; k_act1, or k_act2"):
        assert words in record


def test_a_layer_that_was_not_compared_says_why() -> None:
    """The reason is in the layer's details, and its verdict in the table."""
    report = passing()
    run = report.runs[0]
    left = replace(run.layers[2], verdict="not compared", introduced=None, reason="its noise hides everything")
    text = page(replace(report, runs=(replace(run, layers=(*run.layers[:2], left), verdict="diverged"),), verdict=""))
    assert "not proven: its noise hides everything" in text
    assert '<td class="verdict">not compared</td>' in text


def test_an_old_report_has_a_page() -> None:
    """A report written before reads, setups and pictures were kept is shown with what it has."""
    report = failing()
    runs = tuple(
        replace(
            run,
            pictures={},
            shown={},
            deviations={},
            layers=tuple(replace(layer, reads=()) for layer in run.layers),
        )
        for run in report.runs
    )
    text = page(replace(report, runs=runs, setups={}))
    assert "conv3" in text
    assert "Outputs" not in text


def test_a_notebook_shows_what_is_wrong_without_a_script() -> None:
    """`_repr_html_` has the verdict, the layer, the cause and the change, and nothing that runs."""
    text = failing()._repr_html_()
    assert text == cell(failing())
    assert all(words in text for words in ("DIVERGED", "act2", "The slope for negative values", "slope=0.1"))
    assert "<script" not in cell(hostile())
    death = Death(side="port", how="was killed by signal 11", doing="end to end", input="noise", mode="xla")
    assert "its process was killed by signal 11" in cell(replace(passing(), deaths=(death,), verdict=""))


def test_history_needs_two_runs_and_names_what_moved() -> None:
    """One run is no history; of two, the layer whose error moved is named, from where to where."""
    before, after = Past.of(passing()), Past.of(failing())
    assert "History" not in page(failing(), [after])
    text = page(failing(), [before, before, after])
    table = text.partition("layers that changed most")[2].partition("</table>")[0]
    assert re.findall(r'<th scope="row"><i class="key named l\d"></i>(\w+)<', table) == ["act2", "conv3", "up5"]


def test_history_joins_only_runs_that_are_alike() -> None:
    """Runs of another size, in other modes, or of which nothing is known are counted, and in no line of the chart."""
    on = {"inputs": "noise 35x21, motorcycle 35x21", "weights": "seed 0", "policy": "noise floor"}
    before = Past.of(made(settings=on))
    assert before.on["runs"] == "motorcycle (eager), motorcycle (xla), noise (eager), noise (xla)"
    others = [
        Past.of(made(settings={**on, "inputs": "noise 70x42, motorcycle 70x42"})),
        Past.of(made(settings={**on, "weights": "seed 1"})),
        Past.of(made(modes=("eager",), settings=on)),
        replace(before, on={}),
    ]
    report = made(faults=THREE, settings=on)
    text = page(report, [before, *others, Past.of(report)]).partition('id="history-title"')[2]
    assert "the last 2 runs like this one" in text
    assert "On noise 35x21, motorcycle 35x21; eager, xla; weights seed 0; policy noise floor." in text
    assert "4 other runs on record" in text
    assert len(re.findall("<tr", text.partition("runs of the past")[2].partition("</table>")[0])) == 3
    assert "History" not in page(report, [*others, Past.of(report)])
    nothing = replace(report, runs=(), verdict="")
    assert "History" not in page(nothing, [Past.of(nothing)] * 2)


def test_history_says_where_versions_changed_and_which_line_is_which() -> None:
    """Each named line has a colour of its own, in the chart and beside its name; new versions are below the chart."""
    old = replace(Past.of(passing()), versions={"keras": "3.14.0"})
    new = replace(Past.of(failing()), versions={"keras": "3.15.1"})
    history = page(failing(), [old, old, new]).partition('id="history-title"')[2]
    assert re.findall(r'class="release[^"]*"[^>]*>([^<]*)<', history) == ["keras 3.14.0", "keras 3.15.1"]
    in_chart = set(re.findall(r'class="past named (l\d)"', history))
    assert in_chart == set(re.findall(r'class="key named (l\d)"', history)) == {"l1", "l2", "l3"}


def test_history_in_which_nothing_moved_says_so() -> None:
    """Where no error changed there is no empty table but a sentence."""
    before = Past.of(passing())
    history = page(passing(), [before, before]).partition('id="history-title"')[2]
    assert "No layer's error moved" in history.replace("&#39;", "'")
    assert "layers that moved most" not in history


def test_history_shows_what_is_not_finite_and_a_run_alone() -> None:
    """An error that is no number is said in words; a run between two that lack the layer is a point."""
    run = Past.of(passing())
    lacking = replace(run, errors={name: error for name, error in run.errors.items() if name != "conv3"})
    wild = replace(run, errors={**run.errors, "conv3": float("inf")})
    history = page(passing(), [lacking, wild, lacking]).partition('id="history-title"')[2]
    (path,) = re.findall(r'd="([^"]*)"><title>conv3<', history)
    assert re.fullmatch(r"M1.5 [\d.]+h0", path)
    moved = page(passing(), [run, wild]).partition('id="history-title"')[2]
    assert "not finite" in moved.partition("</table>")[0]
    assert "infx" not in moved


def test_a_network_of_one_layer_has_curves() -> None:
    """What a single layer is off by, may be off by and cannot help is seen: each is a line as wide as its place."""
    text = page(made(["only"], {"only": THREE["conv3"]}, inputs=["noise"], modes=["eager"]))
    for curve in ("floor", "limit", "propagated"):
        (path,) = re.findall(f'<path class="{curve}" d="([^"]*)"', text)
        assert re.fullmatch(r"M1 [\d.]+h1", path), curve
    assert re.findall(r"<b>1</b><span>layer compared<", text)


# -- the graph --------------------------------------------------------------------------------------------------------


def test_edges_are_what_is_read() -> None:
    """Each value that is read is an edge from the node that makes it; what nobody shows is none."""
    found = edges(["input", "a", "b", "cat"], {"a": ("input",), "b": ("a", "elsewhere"), "cat": ("b", "a")})
    assert [(edge.source, edge.target) for edge in found] == [(0, 1), (1, 2), (2, 3), (1, 3)]


def test_a_value_keeps_its_lane_until_it_is_read_last() -> None:
    """In a row that a value passes there is a strand of it, and none after its last reader."""
    found = edges(["a", "b", "c", "d", "e"], {"b": ("a",), "c": ("b",), "d": ("c", "a"), "e": ("d",)})
    lanes = rows(5, found, 20)
    carried = [{strand.source for strand in row.strands} for row in lanes]
    assert carried == [{0}, {0, 1}, {0, 1, 2}, {0, 2, 3}, {3}]
    assert lanes[1].node != lanes[0].node


def test_the_axis_keeps_the_order_of_errors() -> None:
    """Nothing, small, large and no number are in that order on the axis."""
    scale = Scale.of([FLOOR, 0.6])
    places = [scale.at(value) for value in (0.0, FLOOR, 1e-3, 0.6, float("inf"))]
    assert places == sorted(places)  # type: ignore[type-var]
    assert (places[0], places[-1]) == (EXACT, STRANGE)


# -- pictures ---------------------------------------------------------------------------------------------------------


def test_a_grid_comes_back() -> None:
    """Arrays come back to three digits, NaN and infinity included."""
    array = np.array([[1.2345, -7e-20], [np.inf, np.nan]])
    back = KeptArray.of(array).array()
    np.testing.assert_allclose(back, array, rtol=1e-3)


@pytest.mark.parametrize(
    ("shape", "data"),
    [((2, 2), "eJw="), ((2, 2), "not base64!"), ((3, 2), None), ((1 << 30, 1 << 30), None), ((-1, -4), None)],
)
def test_a_grid_that_is_none_is_refused(shape: tuple[int, ...], data: str | None) -> None:
    """Text that holds no such array is refused in a sentence, however large it says to be."""
    whole = KeptArray.of(np.zeros((2, 2))).data
    with pytest.raises(ReportFileError, match="a picture of shape"):
        KeptArray(shape=shape, data=whole if data is None else data).array()


def test_the_colour_wheel_tells_directions_apart() -> None:
    """Rightward is red, leftward cyan; nothing is white, and what is not known is gray."""
    flow = np.array([[[1.0, -1.0, 0.0, np.nan]], [[0.0, 0.0, 0.0, 0.0]]])
    right, left, still, unknown = images.flow(flow, 1.0)[0].tolist()
    assert right[0] > 200 > 60 > max(right[1:])
    assert left[0] < 60
    assert min(left[1:]) > 150
    assert still == [255, 255, 255]
    assert unknown[0] == unknown[1] == unknown[2]


def test_the_flow_of_the_port_is_the_reference_and_the_difference() -> None:
    """What is kept is the difference, so that one too small to be seen in the flows is shown as it is."""
    shown = flow_picture(1e-6)
    assert np.unique(shown.difference.array()[0]) == pytest.approx([1e-6], rel=1e-3)


def test_findings_beyond_the_cards_are_named() -> None:
    """Of many findings the first have cards, and all others a link."""
    report = made()
    why = failing().findings[0].cause
    findings = tuple(
        Finding(layer=name, port_layer=name, input="noise", mode="eager", error=0.5, floor=FLOOR, cause=why)
        for name in report.coverage.matched
    )
    text = page(replace(report, findings=findings, first_divergence=findings[0], verdict=""))
    assert text.count("<article") == 6
    assert "And 5 more" in text


def test_the_example_is_a_failing_run_that_explains_itself() -> None:
    """What `make example` wrote is a report of this schema, and both its pages say what is wrong."""
    folder = Path(__file__).parents[3] / "reports" / "example"
    report = Report.load(folder / "report.json")
    for text in (page(report), (folder / "report.html").read_text(encoding="utf-8")):
        card = text.partition("<article")[2].partition("</article>")[0]
        assert all(words in card for words in ("conv3.0", "Height and width of the kernel are swapped", "load the"))
    assert (folder / "report.png").read_bytes()[:4] == b"\x89PNG"
    assert "/" not in report.settings["port"].replace("build/", "")
