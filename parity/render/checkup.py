"""A checkup of the environment, as text for a terminal: versions, CPU, switches, hazards and what to do."""

from rich.text import Text

from parity.doctor import Checkup, Facts, Hazard
from parity.doctor.hazards import OK, PROBLEM, WARN
from parity.render.page import Page, plain_table

STYLES = {OK: "green", WARN: "yellow", PROBLEM: "red"}


def checkup_page(found: Checkup, *, width: int | None = None, colour: bool = False) -> str:
    """Everything on a page that fits its width."""
    page = Page(width, colour)
    facts = found.facts
    page.line("parity doctor", style="bold")
    page.item("versions", ", ".join(f"{name} {version}" for name, version in facts.versions.items()))
    page.item("cpu", _cpu(facts))
    page.item("switches", ", ".join(f"{name}={value}" for name, value in facts.switches.items()) or "none set")
    page.gap()
    table = plain_table()
    table.add_column("hazard", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("here, and what to do")
    for hazard in found.hazards:
        table.add_row(hazard.name, Text(hazard.status, style=STYLES[hazard.status]), _words(hazard))
    page.table(table)
    page.gap()
    page.line(_verdict(found), style=STYLES[OK if found.able else PROBLEM])
    return page.text()


def _cpu(facts: Facts) -> str:
    capability = facts.measures.get("capability")
    used = f", torch uses {capability}" if capability else ""
    return f"{facts.cpu}, {facts.cores} cores, {' '.join(facts.features)}{used}"


def _words(hazard: Hazard) -> Text:
    words = Text(hazard.what)
    return words.append(f"\nto do: {hazard.todo}", style="bold") if hazard.todo else words


def _verdict(found: Checkup) -> str:
    count = {status: sum(each.status == status for each in found.hazards) for status in (WARN, PROBLEM)}
    if not found.able:
        names = ", ".join(each.name for each in found.hazards if each.status == PROBLEM)
        return f"PROBLEM: parity cannot verify here: {names}"
    return f"OK: parity can verify here; {count[WARN]} of {len(found.hazards)} known hazards are to be minded"
