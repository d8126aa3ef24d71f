"""A report for Google's Model Explorer: the network as a graph that it opens, and errors as data of its nodes.

Nodes have the reference's names. The files have the form of Model Explorer's `GraphCollection` and `ModelNodeData`
(its graph_builder.py and node_data_builder.py).
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from parity.differences import floors
from parity.report import LayerResult, Measure, Report

FOLDER = "model-explorer"
GREATEST = 1e30
"""Model Explorer has numbers only: this stands for what is no number."""
LONGEST = 80
"""So many letters of an input's name are in a file's name."""


def files_for_model_explorer(report: Report) -> dict[str, str]:
    """The files by name: the graph, and for each run and kind of error its data."""
    layers = _layers(report)
    found = {"graph.json": _text(_collection(report, layers))}
    for run, place in zip(report.runs, places(report), strict=True):
        for kind in ("introduced", "propagated"):
            measures = {layer.layer: getattr(layer, kind) for layer in run.layers}
            found[f"{kind}-{place}.json"] = _text({report.pair: _data(measures)})
    return found


def places(report: Report) -> list[str]:
    """For each run the part of a file's name that says which it is: whatever is in an input's name, a name of its own,
    of letters that every system takes."""
    found: list[str] = []
    for run in report.runs:
        name = re.sub(r"[^\w.#+=-]+", "_", run.input, flags=re.ASCII)[:LONGEST].strip(".") or "input"
        place = f"{name}-{run.mode}"
        same = sum(each.partition("~")[0] == place for each in found)
        found.append(f"{place}~{same + 1}" if same else place)
    return found


def _layers(report: Report) -> dict[str, LayerResult]:
    """Every layer once, in the reference's order."""
    longest = max((run.layers for run in report.runs), key=len, default=())
    return {layer.layer: layer for layer in longest}


def _collection(report: Report, layers: Mapping[str, LayerResult]) -> dict[str, Any]:
    inputs = dict.fromkeys(name for layer in layers.values() for name in layer.reads if name not in layers)
    nodes = [
        *({"id": name, "label": name, "namespace": "", "attrs": [], "incomingEdges": []} for name in inputs),
        *(_node(report, layer) for layer in layers.values()),
    ]
    return {"label": f"parity: {report.pair}", "graphs": [{"id": report.pair, "nodes": nodes}]}


def _node(report: Report, layer: LayerResult) -> dict[str, Any]:
    setup = report.setups.get(layer.layer)
    causes = dict.fromkeys(found.cause.detail for found in report.findings if found.layer == layer.layer)
    attributes = {
        "port layer": layer.port_layer,
        "kind": layer.kind,
        "reference": setup.reference if setup else "",
        "port": "\n".join(setup.port) if setup else "",
        "cause": "\n".join(causes),
    }
    return {
        "id": layer.layer,
        "label": layer.layer,
        "namespace": "/".join(layer.layer.split(".")[:-1]),
        "attrs": [{"key": key, "value": value} for key, value in attributes.items() if value],
        "incomingEdges": [
            {"sourceNodeId": name, "sourceNodeOutputId": "0", "targetNodeInputId": str(index)}
            for index, name in enumerate(layer.reads)
        ],
    }


def _data(measures: Mapping[str, Measure | None]) -> dict[str, Any]:
    """Errors in floors. Each has the colour of what it means for its own layer, whose limits are not another's."""
    found = {name: measure for name, measure in measures.items() if measure}
    return {
        "results": {
            name: {"value": min(floors(measure), GREATEST), "bgColor": _colour(measure)}
            for name, measure in found.items()
        }
    }


def _colour(measure: Measure) -> str:
    """As the page has it: green within limits, then the darker the worse."""
    ratio = floors(measure)
    if not math.isfinite(ratio):
        return "#b100a0"
    if measure.passed:
        return "#a9c9b4" if ratio <= 1 else "#6ea983"
    return "#e8a33a" if ratio < 100 else "#d9542b" if ratio < 10_000 else "#a3001f"


def _text(data: Mapping[str, Any]) -> str:
    return json.dumps(data, indent=1, ensure_ascii=False)
