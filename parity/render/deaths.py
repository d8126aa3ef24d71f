"""What there is to say of a process that died: how, while doing what, what was found, how to see it again."""

from parity.report import DIED, INTRODUCES, Death, Report

SIDES = {"port": "the port", "reference": "the reference"}
HINTS = {
    "out of memory": "with more memory, or a smaller input",
    "memory ran out": "with more memory, or a smaller input",
    "MemoryError": "with more memory, or a smaller input",
    "did nothing more": "with a longer --timeout, if it only needs more time",
}
"""What may help, by words of how a process died."""


def how_it_died(death: Death) -> list[str]:
    """The death in pieces, the most telling first."""
    who = f"{SIDES[death.side]}: its process" if death.side in SIDES else "the process"
    place = f"input {death.input}" if death.input else ""
    place = f"{place}, mode {death.mode}" if place and death.mode else place
    return [
        f"{who} {death.how}",
        f"while {death.doing}" + (f" ({place})" if place else ""),
        *([f"at {death.where}"] if death.where else []),
        *([f"its last words: {_said(death)}"] if death.last_words else []),
    ]


def _said(death: Death) -> str:
    """The last line, which says most; engines end with the reason."""
    return death.last_words[-1].strip()


def what_was_found(report: Report, death: Death) -> str:
    """What is known of the input all the same."""
    here = [run for run in report.runs if run.input == death.input]
    of_all = len(report.coverage.matched)
    parts = []
    for run in here:
        if run.verdict == DIED:
            wrong = sum(layer.verdict == INTRODUCES for layer in run.layers)
            parts.append(f"{run.mode}: {len(run.layers)} of {of_all} layers were judged, {wrong} at fault")
        else:
            parts.append(f"{run.mode}: run to the end without it, {run.verdict}")
    return "; ".join(parts) or "nothing had been judged"


def again(report: Report, death: Death) -> str:
    """How to see it again, alone."""
    words = [report.settings.get("command", f"parity verify {report.pair}"), "--isolate"]
    words += ["--input", death.input] if death.input else []
    words += ["--mode", death.mode] if death.mode else []
    hint = next((f"  ({hint})" for sign, hint in HINTS.items() if sign in death.how), "")
    return " ".join(words) + hint


def who_died(report: Report) -> str:
    """All deaths in a few words: "the port took its process down in noise (eager)"."""
    death = report.deaths[0]
    where = f" in {death.input}" if death.input else ""
    where += f" ({death.mode})" if death.mode else ""
    more = f", and {len(report.deaths) - 1} more of its processes died" if len(report.deaths) > 1 else ""
    return f"{SIDES.get(death.side, 'the pair')} took its process down{where}{more}"
