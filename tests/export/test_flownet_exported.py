"""FlowNet2-SD in formats that it ships in; `python -m benchmarks exports` has all seven, and what they take."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from parity.cli import app
from parity.converters import transfer
from parity.export import FORMATS, served, write
from parity.gate.checks import LAYER
from parity.gate.record import read_record
from parity.models.flownet import build_port, layer_map, seeded

SOME = ("saved_model", "tflite-fp16")
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
    ensure_all_compared(record)


def ensure_all_compared(record: Path) -> None:
    """Fail unless a record is of a file that passed, with all weighted layers compared."""
    result = read_record(record).result
    assert result.verdict == "pass"
    assert sum(check.kind == LAYER and check.verdict == "pass" for check in result.checks) >= 2 * WEIGHTED - 4


def test_flownet_passes_as_a_keras_file(tmp_path: Path) -> None:
    """Written and loaded again; in eager mode, as its other modes are those of any Keras model."""
    model = build_port(64, 64)
    transfer(seeded(0), model, layer_map())
    file, record = tmp_path / "flownet.keras", tmp_path / "record.json"
    write(FORMATS["keras"], served(model), file)
    words = ["gate", "flownet", "--artifact", str(file), "--mode", "eager", "--size", "64x64", "--input", "noise"]
    words += ["--no-isolate", "--record", str(record), "--report-dir", str(tmp_path / "reports")]
    printed = CliRunner().invoke(app, words).output
    assert record.exists(), printed
    ensure_all_compared(record)


def test_a_channels_first_export_is_refused_at_the_layer(tmp_path: Path) -> None:
    """256 pixels wide Keras adds a bias along the width: the graph is not released; layer and cause are said."""
    words = ["export", "flownet", "--to", "pb", "--data-format", "channels_first", "--size", "256x64"]
    result = CliRunner().invoke(app, [*words, "--input", "noise", "-o", str(tmp_path / "out")])
    printed = " ".join(result.output.split())
    assert result.exit_code == 1, printed
    assert list((tmp_path / "out").iterdir()) == []
    assert "layer[deconv2.0] on noise (pb)" in printed
    assert "cause: bias-axis" in printed
