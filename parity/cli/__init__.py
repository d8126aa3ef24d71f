"""The command `parity`: words in, a verification, words and an exit code out.

One file per command, each loaded with the program but none of them importing anything slow before it is called. A new
command gets a line in COMMANDS.
"""

from collections.abc import Callable, Mapping

from parity.cli import (
    convert,
    diff,
    doctor,
    explain,
    export,
    faults,
    gate,
    init,
    layers,
    models,
    plant,
    record,
    repair,
    report,
    repro,
    verify,
)
from parity.cli import map as map_
from parity.cli.program import app

__all__ = ["COMMANDS", "app", "main"]

COMMANDS: Mapping[str, Callable[..., None]] = {
    "init": init.init,
    "models": models.models,
    "verify": verify.verify,
    "convert": convert.convert,
    "export": export.export,
    "gate": gate.gate,
    "report": report.report,
    "diff": diff.diff,
    "explain": explain.explain,
    "layers": layers.layers,
    "map": map_.layer_map,
    "record": record.record,
    "repair": repair.repair,
    "repro": repro.repro,
    "plant": plant.plant,
    "faults": faults.faults,
    "doctor": doctor.doctor,
}
"""Every command by name, in the order in which the help lists them."""

for _name, _command in COMMANDS.items():
    app.command(_name)(_command)


def main() -> None:
    """The console entry point."""
    app(prog_name="parity")
