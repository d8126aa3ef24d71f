"""`parity layers`: the table claims nothing that no test tries, fits 80 columns, and is there for programs too."""

import json
from collections import Counter
from typing import Any

import pytest
from typer.testing import CliRunner

from parity.cli import app
from parity.inputs.strategies import CASES
from parity.layers import every_kind, kind_called
from parity.layers.kinds import FORMATS
from parity.layers.table import row, table
from parity.plugin.layers import Wanted
from parity.runners.taps import MODES


def printed(*words: str) -> str:
    """What the command prints."""
    done = CliRunner().invoke(app, ["layers", *words], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_every_kind_is_in_the_table_once() -> None:
    """As `pytest --model layers` tries it: every kind that has cases, at least sixty."""
    rows = json.loads(printed("--json"))
    assert sorted(each["kind"] for each in rows) == sorted(CASES)
    assert len(rows) >= 60
    assert max(Counter(each["kind"] for each in rows).values()) == 1


def test_it_claims_what_is_tried() -> None:
    """A data format is claimed where the kind is tried in it, or has no channels and is the same in both; a mode where
    the default run tries it."""
    for kind in every_kind():
        said = row(kind)
        assert kind.formats in (FORMATS, FORMATS[:1])
        assert [said[name] for name in FORMATS] == [True, True]
        assert said["modes"] == list(kind.modes)
        assert set(kind.modes) <= set(Wanted.of({"examples": None, "mode": None, "data_format": None}).modes)


def test_every_kind_says_how_it_is_built() -> None:
    """A few words, and its name in torch."""
    assert [kind.name for kind in every_kind() if not row(kind)["built"]] == []
    assert all(row(kind)["torch"].startswith("torch.") for kind in every_kind())


def test_it_fits_eighty_columns_and_is_plain() -> None:
    """Piped or on a narrow terminal nothing is cut off, and nothing is coloured."""
    lines = printed().splitlines()
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in "".join(lines)
    assert lines[0].split() == ["kind", "last", "first", "XLA", "built", "as"]


def test_kinds_can_be_named() -> None:
    """Only those; one that is not known is wrong use."""
    assert [each["kind"] for each in json.loads(printed("linear", "conv2d", "--json"))] == ["linear", "conv2d"]
    done = CliRunner().invoke(app, ["layers", "conv9d"])
    assert done.exit_code == 2
    assert "no cases of 'conv9d'" in done.output


@pytest.mark.parametrize(("mode", "mark"), [(MODES, "yes"), (("eager", "graph"), "no")])
def test_a_mode_that_is_not_tried_is_not_claimed(mode: tuple[str, ...], mark: str) -> None:
    """The marks follow the kind: the table cannot say more than it."""
    from dataclasses import replace

    text = table([replace(kind_called("linear"), modes=mode)])
    line: Any = next(each for each in text.splitlines() if each.startswith("linear"))
    assert line.split()[3] == mark
