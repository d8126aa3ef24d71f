"""Reports where people already look: beside a change on GitHub, in result files, in Model Explorer, in TensorBoard."""

import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from records import COVERAGE, measure, report, with_run

from parity.errors import UsageError
from parity.plugin.figures import figures_of
from parity.publishing import publish
from parity.render.annotations import MOST, annotations, on_github
from parity.render.model_explorer import GREATEST, files_for_model_explorer
from parity.report import Report
from parity.settings import parse_exports


def with_reads(made: Report) -> Report:
    """The report with each layer reading the one before, the first the input."""
    runs = []
    for run in made.runs:
        names = ["input", *(layer.layer for layer in run.layers)]
        layers = (replace(layer, reads=(name,)) for layer, name in zip(run.layers, names, strict=False))
        runs.append(replace(run, layers=tuple(layers)))
    return replace(made, runs=tuple(runs), verdict="")


# -- GitHub -----------------------------------------------------------------------------------------------------------


def test_a_finding_is_an_error_beside_the_change() -> None:
    """Each finding once, with its layer as title, its cause, and the verdict last; a pass is a notice."""
    lines = annotations(report(modes=("eager", "graph"), faulty=["conv1.0"]))
    assert lines[0].startswith("::error title=parity%3A small / conv1.0 -> conv1::conv1.0 introduces ")
    assert "in both runs%0Acause: padding (same pads" in lines[0]
    assert lines[1:] == ["::error title=parity%3A small::DIVERGED: small agrees in 0 of 2 runs; first at conv1.0"]
    (notice,) = annotations(report())
    assert notice.startswith("::notice title=parity%3A small::PASS")


def test_no_name_ends_a_command_early() -> None:
    """Colons, commas, percent signs and ends of lines in a name stay in the property or message they are in."""
    made = report(faulty=["conv1.0"])
    named = replace(made.findings[0], layer="a::b,c%\n::error::")
    lines = annotations(replace(made, findings=(named,), verdict=""))
    assert [line.count("\n") for line in lines] == [0, 0]
    assert lines[0].startswith(
        "::error title=parity%3A small / a%3A%3Ab%2Cc%25%0A%3A%3Aerror%3A%3A -> conv1::a::b,c%25"
    )


def test_there_are_no_more_than_github_shows() -> None:
    """Of many findings the verdict is still shown, and what is unmatched is named."""
    made = report(faulty=["conv1.0"], coverage=replace(COVERAGE, unmatched_port=("extra",)))
    many = tuple(replace(made.findings[0], layer=f"layer{index}") for index in range(20))
    lines = annotations(replace(made, findings=many, verdict=""))
    assert len(lines) == MOST + 1
    assert "not wholly compared" in lines[-1]
    few = annotations(made)
    assert "without a counterpart in the port: extra" in few[1]


def test_github_is_known_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where GitHub says that it runs this."""
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    assert not on_github()
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert on_github()


# -- result files -----------------------------------------------------------------------------------------------------


def test_a_layers_figures_are_those_of_its_worst_run() -> None:
    """The error a layer introduces, in floors and against what is allowed, and the cause."""
    made = report(modes=("eager", "graph"), faulty=["conv1.0"])
    figures = dict(figures_of(made, ["conv1.0"], [("noise", "eager"), ("noise", "graph")]))
    assert figures["parity.introduced.floors"] == 5000
    bad = replace(measure(0), note="7 values of the port are not finite", passed=False)
    layers = tuple(replace(each, introduced=bad) if each.layer == "conv1.0" else each for each in made.runs[0].layers)
    strange = dict(figures_of(with_run(made, 0, layers=layers), ["conv1.0"], [("noise", "eager")]))
    assert strange["parity.introduced.floors"] == math.inf
    assert figures["parity.introduced.allowed"] == pytest.approx(3.2e-6)
    assert (figures["parity.port_layer"], figures["parity.cause"]) == ("conv1", "padding")
    assert dict(figures_of(made, ["gone"], [("noise", "eager")])) == {}


def test_the_networks_figures_are_its_outputs() -> None:
    """The error of the output in that run alone."""
    figures = dict(figures_of(report(modes=("eager", "graph")), None, [("noise", "eager")]))
    assert figures["parity.output.floors"] == 2.0


# -- Model Explorer and TensorBoard -----------------------------------------------------------------------------------


def test_model_explorer_gets_the_graph_and_data_of_its_nodes() -> None:
    """Every edge and every key of the data names a node of the graph."""
    files = files_for_model_explorer(with_reads(report(modes=("eager", "xla"), faulty=["conv1.0"])))
    places = [f"{kind}-noise-{mode}.json" for kind in ("introduced", "propagated") for mode in ("eager", "xla")]
    assert set(files) == {"graph.json", *places}
    (graph,) = json.loads(files["graph.json"])["graphs"]
    nodes = {node["id"]: node for node in graph["nodes"]}
    assert set(nodes) == {"input", *COVERAGE.matched}
    assert {edge["sourceNodeId"] for node in nodes.values() for edge in node["incomingEdges"]} <= set(nodes)
    assert nodes["conv1.1"]["namespace"] == "conv1"
    data = json.loads(files["introduced-noise-eager.json"])[graph["id"]]
    assert set(data["results"]) == set(COVERAGE.matched)
    assert data["results"]["conv1.0"] == {"value": 5000.0, "bgColor": "#d9542b"}
    others = {each["bgColor"] for name, each in data["results"].items() if name != "conv1.0"}
    assert others == {"#a9c9b4"}


def test_a_layer_within_its_own_limits_is_green() -> None:
    """Limits differ from layer to layer: what one may have another may not, and each has its own colour."""
    made = with_reads(report())
    small, large = measure(3.0), replace(measure(3.0), passed=False)
    layers = tuple(
        replace(each, introduced=large if index else small) for index, each in enumerate(made.runs[0].layers[:2])
    )
    files = files_for_model_explorer(replace(made, runs=(replace(made.runs[0], layers=layers),), verdict=""))
    results = json.loads(files["introduced-noise-eager.json"])["small"]["results"]
    assert [each["bgColor"] for each in results.values()] == ["#6ea983", "#e8a33a"]


def test_files_have_names_of_their_own_whatever_an_input_is_called() -> None:
    """Folders, dots, colons and letters of other alphabets in an input's name lead nowhere; no file is two runs'."""
    names = ("../../etc/x", "a:b", "a?b", "\u5de6\u53f3" * 200, "..", "left.png and right.png")
    files = files_for_model_explorer(with_reads(report(inputs=names)))
    assert len(files) == 1 + 2 * len(names)
    assert all(re.fullmatch(r"[\w.~-]+", name, flags=re.ASCII) and len(name) < 120 for name in files)
    assert "introduced-a_b-eager.json" in files
    assert "introduced-a_b-eager~2.json" in files


def test_what_is_no_number_is_one_for_model_explorer() -> None:
    """JSON has no NaN: an error that is no number is the greatest there is."""
    made = with_reads(report(faulty=["conv1.0"]))
    layers = list(made.runs[0].layers)
    assert layers[3].introduced
    bad = replace(layers[3].introduced, note="not finite", relative=float("nan"))
    layers[3] = replace(layers[3], introduced=bad)
    files = files_for_model_explorer(replace(made, runs=(replace(made.runs[0], layers=tuple(layers)),), verdict=""))
    data = json.loads(files["introduced-noise-eager.json"], parse_constant=lambda word: pytest.fail(word))
    assert data["small"]["results"][layers[3].layer]["value"] == GREATEST


def test_exports_are_written_beside_the_report(tmp_path: Path) -> None:
    """With the JSON, the page and the history; without a wish there is no folder for them."""
    publish(report(), tmp_path / "plain" / "report.json")
    assert {each.name for each in (tmp_path / "plain").iterdir()} == {"report.json", "report.html", "history.jsonl"}
    publish(report(), tmp_path / "all" / "report.json", ("model-explorer",))
    assert (tmp_path / "all" / "model-explorer" / "graph.json").exists()


def test_a_form_that_is_not_known_is_refused() -> None:
    """Before anything is run, with what there is."""
    with pytest.raises(UsageError, match="cannot be exported as 'netron'; the known forms are model-explorer"):
        parse_exports(["model-explorer,netron"])


def test_tensorboard_reads_what_is_written(tmp_path: Path) -> None:
    """The curves of each run come back from the events file, and writing it loads no framework and prints nothing.

    In a process of its own, since it is about what is loaded.
    """
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    made = report(faulty=["conv1.0"])
    made.save(tmp_path / "report.json")
    script = f"""
import sys
from pathlib import Path
from parity.report import Report
from parity.publishing import write_exports
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
folder = Path({str(tmp_path)!r})
write_exports(Report.load(folder / "report.json"), folder, ["tensorboard"])
assert "tensorflow" not in sys.modules
events = EventAccumulator(str(folder / "tensorboard" / "noise-eager"))
events.Reload()
print([round(float(events.Tensors("floors/introduced")[step].tensor_proto.float_val[0])) for step in range(7)])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("[1, 1, 1, 5000, 1, 1, 1]", "")
