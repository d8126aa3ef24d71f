"""What is wrong, in the words that GitHub's CI shows beside a change; nothing where it is not GitHub that runs."""

import os
from collections.abc import Iterator

from parity.render.sentences import (
    badness,
    by_hand_in_words,
    cause_in_words,
    change_in_words,
    grouped,
    how_far,
    places_in_words,
    result_of,
    unmatched_in,
    what_is_left,
)
from parity.render.terminal import verdict
from parity.report import Report

MOST = 9
"""GitHub shows ten errors of a step: one is left for the verdict."""


def on_github() -> bool:
    """Whether GitHub's CI runs this."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def annotations(report: Report) -> list[str]:
    """A workflow command for each finding and for what was not compared, then the verdict; a pass is one notice."""
    if report.passed:
        return [command("notice", f"parity: {report.pair}", verdict(report))]
    found = [*_findings(report), *_unmatched(report)]
    return [*found[:MOST], command("error", f"parity: {report.pair}", verdict(report))]


def _findings(report: Report) -> Iterator[str]:
    for group in grouped(report.findings):
        worst = max(group, key=badness)
        lines = (
            f"{worst.layer} {how_far(report, worst, result_of(report, worst))}, in {places_in_words(report, group)}",
            cause_in_words(worst),
            change_in_words(worst),
            by_hand_in_words(worst),
            what_is_left(worst),
        )
        title = f"parity: {report.pair} / {worst.layer} -> {worst.port_layer}"
        yield command("error", title, "\n".join(filter(None, lines)))


def _unmatched(report: Report) -> Iterator[str]:
    for side, names in unmatched_in(report.coverage):
        yield command("error", f"parity: {report.pair}", f"without a counterpart in the {side}: {', '.join(names)}")


def command(kind: str, title: str, message: str) -> str:
    """A workflow command; what would end it, or a property of it, is written as GitHub asks for."""
    safe = message.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    named = title.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A").replace(":", "%3A").replace(",", "%2C")
    return f"::{kind} title={named}::{safe}"
