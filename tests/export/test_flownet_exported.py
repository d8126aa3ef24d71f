"""FlowNet2-SD in formats that it ships in; `python -m benchmarks exports` has all seven, and what they take."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from parity.cli import app
from parity.export import FORMATS
from parity.gate.checks import LAYER
from parity.gate.record import read_record

SOME = ("saved_model", "keras", "tflite-fp16")
"""Formats that no other test has of FlowNet2-SD."""

WEIGHTED = 30
"""Layers with weights in FlowNet2-SD."""


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder with the files, and what was printed. At 64x64, the smallest size that the network takes."""
    folder = tmp_path_factory.mktemp("release")
    words = ["export", "flownet", "--to", ",".join(SOME), "--size", "64x64", "--input", "noise", "-o", str(folder)]
    return folder, CliRunner().invoke(app, words).output


@pytest.mark.parametrize("word", SOME)
def test_flownet_passes_in_these_formats(released: tuple[Path, str], word: str) -> None:
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
