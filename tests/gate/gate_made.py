"""Hand-made runs of a gate over the hand-made reports of `records`. No network is run, no file is loaded."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from records import report

from parity.gate.checks import Check
from parity.gate.facts import Facts
from parity.gate.policy import InForce, Policy, read_policy
from parity.gate.record import Record
from parity.gate.running import Asked, Ready
from parity.isolation.journal import Described
from parity.report import Deviation, Report
from parity.settings import Options

TODAY = date(2026, 11, 26)
FACTS = Facts(path="net.pb", kind="pb", sha256="ab" * 32, size=181_548_953, files={"net.pb": "ab" * 32})
DEVIATION = Deviation(rmse=2e-6, max_abs=3e-5, rms=1.5, epe_mean=1e-5, epe_max=4e-5)


def policy(folder: Path, text: str) -> InForce:
    """The policy of that text."""
    file = folder / "parity.toml"
    file.write_text(text, encoding="utf-8")
    return read_policy(file)


def made(**about: Any) -> Report:
    """A report of `records`, its outputs with deviations; `deviation` is that of each."""
    deviation = about.pop("deviation", DEVIATION)
    plain = report(("noise",), ("pb",), **about)
    runs = tuple(replace(run, deviations={"output": deviation}) for run in plain.runs)
    return replace(plain, runs=runs, settings={"policy": "noise floor"}, verdict="")


def ready(in_force: InForce | None = None, then: Record | None = None) -> Ready:
    """A run that has begun."""
    asked = Asked(name="small", artifact=Path("net.pb"), options=Options())
    return Ready(
        asked=asked, in_force=in_force or InForce(policy=Policy()), facts=FACTS, then=then, against=None, settings=()
    )


def record(
    found: Report | None = None,
    in_force: InForce | None = None,
    then: Record | None = None,
    *,
    digest: str = "cd" * 32,
    unfinished: str = "",
) -> Record:
    """What came of a run."""
    given = Described(name="noise", size="96x64", digest=digest, origin="noise of seed 0")
    return ready(in_force, then).record(found or made(), [given], "ef" * 32, today=TODAY, unfinished=unfinished)


def verdicts(found: Record) -> Mapping[str, str]:
    """The verdict of every check, by its title."""
    return {check.title: check.verdict for check in found.result.checks}


def check(found: Record, title: str) -> Check:
    """The check of that title."""
    (only,) = [each for each in found.result.checks if each.title == title]
    return only
