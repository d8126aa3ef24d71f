"""`parity map`: the map of a pair, printed, written, and given back."""

from pathlib import Path

from typer.testing import CliRunner

from parity.alignment import read_map
from parity.cli import app
from parity.models.small.mlp import LAYERS

RUNNER = CliRunner()


def test_the_map_is_printed() -> None:
    """What is printed is a map of YAML: each matched tap with its port layer and the reason."""
    result = RUNNER.invoke(app, ["map", "mlp"])
    assert result.exit_code == 0
    assert "hidden: hidden" in result.stdout
    assert "# given" in result.stdout


def test_the_map_is_written_and_read_back(tmp_path: Path) -> None:
    """A file is written once, overwritten only by force, and --map takes it."""
    file = tmp_path / "mlp.yaml"
    result = RUNNER.invoke(app, ["map", "mlp", "-o", str(file)])
    assert result.exit_code == 0
    assert read_map(file) == LAYERS
    again = RUNNER.invoke(app, ["map", "mlp", "-o", str(file)])
    assert again.exit_code == 2
    assert "--force overwrites it" in again.stderr
    file.write_text("conv: conv\nbins: bins\n", encoding="utf-8")
    given = RUNNER.invoke(app, ["map", "mlp", "--map", str(file)])
    assert given.exit_code == 0
    reasons = dict(line.split("#") for line in given.stdout.splitlines() if line and not line.startswith("#"))
    assert reasons.pop(next(line for line in reasons if line.startswith("conv"))).strip() == "given"
    assert all("given" not in reason for line, reason in reasons.items() if not line.startswith("bins"))


def test_a_map_that_names_nothing_is_refused(tmp_path: Path) -> None:
    """A name that the reference never runs is an error of one sentence."""
    file = tmp_path / "mlp.yaml"
    file.write_text("hiden: hidden\n", encoding="utf-8")
    result = RUNNER.invoke(app, ["map", "mlp", "--map", str(file)])
    assert result.exit_code == 3
    assert "names 'hiden', which the reference never runs; did you mean 'hidden'?" in result.stderr
