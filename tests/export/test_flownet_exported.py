"""FlowNet2-SD in every format that it ships in."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from parity.cli import app
from parity.export import FORMATS
from parity.gate.checks import LAYER
from parity.gate.record import read_record

SEVEN = ("pb", "saved_model", "keras", "tflite", "tflite-fp16", "tflite-int8", "onnx")
"""The formats of the release."""

WEIGHTED = 30
"""Layers with weights in FlowNet2-SD."""


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder with all seven, and what was printed. At 64x64, the smallest size that the network takes.

    In a process of its own, which gives back the 7 GB that the exporter to ONNX needs for a network of 173 MB.
    """
    folder = tmp_path_factory.mktemp("release")
    words = ["export", "flownet", "--to", ",".join(SEVEN), "--size", "64x64", "--input", "noise", "-o", str(folder)]
    done = subprocess.run([sys.executable, "-m", "parity", *words], capture_output=True, text=True, timeout=900)
    return folder, done.stdout + done.stderr


@pytest.mark.parametrize("word", SEVEN)
def test_flownet_passes_in_every_format(released: tuple[Path, str], word: str) -> None:
    """Every file passes the gate with all weighted layers compared, alone or as a part of another."""
    folder, printed = released
    record = folder / f"{FORMATS[word].file_name('flownet')}.record.json"
    assert record.exists(), printed
    result = read_record(record).result
    assert result.verdict == "pass"
    assert sum(check.kind == LAYER and check.verdict == "pass" for check in result.checks) >= 2 * WEIGHTED - 4


def test_a_channels_first_export_is_refused_at_the_layer(tmp_path: Path) -> None:
    """At 256x256 Keras adds a bias along the width: the graph is not released, and the layer and the cause are said."""
    words = ["export", "flownet", "--to", "pb", "--data-format", "channels_first", "--size", "256x256"]
    result = CliRunner().invoke(app, [*words, "--input", "noise", "-o", str(tmp_path / "out")])
    printed = " ".join(result.output.split())
    assert result.exit_code == 1, printed
    assert list((tmp_path / "out").iterdir()) == []
    assert "layer[deconv2.0] on noise (pb)" in printed
    assert "cause: bias-axis" in printed
