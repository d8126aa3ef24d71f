"""A report for Google's Model Explorer: the network as a graph that it opens, and errors as data of its nodes.

Nodes have the reference's names. The files have the form of Model Explorer's `GraphCollection` and `ModelNodeData`
(its graph_builder.py and node_data_builder.py).
"""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from parity.differences import floors
from parity.report import LayerResult, Measure, Report

FOLDER = "model-explorer"
BEYOND, GREATEST = 1e3, 1e30
"""Model Explorer has numbers only, and colours up to a number: what is no number is the greatest."""


def files_for_model_explorer(report: Report) -> dict[str, str]:
    """The files by name: the graph, and for each run and kind of error its data."""
    layers = _layers(report)
    found = {"graph.json": _text(_collection(report, layers))}
    for run in report.runs:
        place = f"{run.input}-{run.mode}".replace("/", "_")
        for kind in ("introduced", "propagated"):
            measures = {layer.layer: getattr(layer, kind) for layer in run.layers}
            found[f"{kind}-{place}.json"] = _text({report.pair: _data(measures, run.layers)})
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


def _data(measures: Mapping[str, Measure | None], layers: tuple[LayerResult, ...]) -> dict[str, Any]:
    """Errors in floors, coloured by whether they are within limits."""
    results = {name: {"value": min(floors(measure), GREATEST)} for name, measure in measures.items() if measure}
    return {"results": results, "thresholds": list(_thresholds(layers))}


def _thresholds(layers: tuple[LayerResult, ...]) -> Iterator[dict[str, Any]]:
    allowed = [
        measure.allowed / layer.floor
        for layer in layers
        for measure in (layer.introduced,)
        if measure and layer.floor and 0 < measure.allowed < math.inf
    ]
    yield {"value": 1, "bgColor": "#cfe3d6"}
    yield {"value": max(1.0, min(allowed, default=8.0)), "bgColor": "#8fc4a2"}
    yield {"value": BEYOND, "bgColor": "#f4b65c"}
    yield {"value": GREATEST, "bgColor": "#c3263f", "textColor": "#ffffff"}


def _text(data: Mapping[str, Any]) -> str:
    return json.dumps(data, indent=1, ensure_ascii=False)
