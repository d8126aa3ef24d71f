"""The result of a gate as JUnit's XML: a case for each layer, each output and each limit, its figures as properties."""

import re
from collections.abc import Iterable, Mapping, Sequence
from xml.etree import ElementTree as Xml

from parity.gate.checks import FAIL, FOLLOWS, UNKNOWN, WAIVED, Check, Figure, Result


def junit(result: Result) -> str:
    """The result as XML text. What is waived, or only follows from something else, is skipped, with the reason."""
    root = Xml.Element("testsuites", {"name": _clean(f"parity gate {result.pair}"), **_counts(result.checks)})
    whole = [check for check in result.checks if not check.mode]
    _suite(root, result, f"{result.pair}.artifact", whole)
    for given, mode in result.places():
        checks = [check for check in result.checks if (check.input, check.mode) == (given, mode)]
        _suite(root, result, f"{result.pair}.{given}.{mode}", checks)
    Xml.indent(root, " ")
    return f"<?xml version='1.0' encoding='utf-8'?>\n{Xml.tostring(root, encoding='unicode')}\n"


def _suite(root: Xml.Element, result: Result, name: str, checks: Sequence[Check]) -> None:
    suite = Xml.SubElement(root, "testsuite", {"name": _clean(name), **_counts(checks)})
    _properties(suite, {"artifact": result.artifact.path, "sha256": result.artifact.sha256, "policy": result.policy})
    for check in checks:
        case = Xml.SubElement(suite, "testcase", classname=_clean(name), name=_clean(check.title), time="0")
        _properties(case, check.figures)
        outcome = {FAIL: "failure", UNKNOWN: "error", WAIVED: "skipped", FOLLOWS: "skipped"}.get(check.verdict)
        if outcome:
            said = Xml.SubElement(case, outcome, message=_clean(check.says.partition("\n")[0]))
            said.text = _clean(check.says)


def _properties(parent: Xml.Element, values: Mapping[str, Figure]) -> None:
    told = {name: value for name, value in values.items() if value not in (None, "")}
    if told:
        properties = Xml.SubElement(parent, "properties")
        for name, value in told.items():
            Xml.SubElement(properties, "property", name=name, value=_clean(str(value)))


def _counts(checks: Iterable[Check]) -> dict[str, str]:
    verdicts = [check.verdict for check in checks]
    return {
        "tests": str(len(verdicts)),
        "failures": str(verdicts.count(FAIL)),
        "errors": str(verdicts.count(UNKNOWN)),
        "skipped": str(verdicts.count(WAIVED) + verdicts.count(FOLLOWS)),
    }


def _clean(text: str) -> str:
    """Text without what XML cannot have."""
    return re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", text)
