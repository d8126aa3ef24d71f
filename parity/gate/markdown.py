"""A run of the gate as Markdown, fit for the page of a CI job: the verdict first, then what failed, then the rest."""

import re
from collections.abc import Iterator, Sequence

from parity.gate.checks import FAIL, FOLLOWS, LIMIT, UNKNOWN, WAIVED, Check
from parity.gate.growth import number
from parity.gate.record import Record
from parity.gate.table import rows
from parity.numbers import short

SHOWN = 20
"""How many checks of a kind are listed before "and N more": a page is no place for all of two hundred layers."""


def markdown(record: Record) -> str:
    """The page."""
    result = record.result
    parts = [
        f"## parity gate: {result.verdict.upper()}: {_text(result.pair)}, `{_code(result.artifact.path)}`",
        *([f"**Caution**: {_text(result.caution)}"] if result.caution else []),
        _table(("input", "mode", "layers", "worst layer", "output error", "end-point error"), rows(result)),
        *_listed("Failed", result.grouped(FAIL)),
        *_listed("Not verified", result.grouped(UNKNOWN)),
        *_listed("Waived", result.grouped(WAIVED)),
        *_limits([check for check in result.checks if check.kind == LIMIT]),
        *_notes(result.notes),
        _facts(record),
    ]
    return "\n\n".join(parts) + "\n"


def _listed(title: str, groups: Sequence[Sequence[Check]]) -> Iterator[str]:
    """Checks with what they say, once for all inputs and modes: what is longer than a line is folded away."""
    if not groups:
        return
    yield f"### {title}"
    for check, *also in groups[:SHOWN]:
        place = f" on {_text(check.place)}" if check.place else ""
        place += f", and on {_text(', '.join(other.place for other in also))}" if also else ""
        if "\n" in check.says:
            said = check.says.replace("```", "'''")
            title = f"<summary><code>{_html(check.title)}</code>{place}</summary>"
            yield f"<details>{title}\n\n```text\n{said}\n```\n\n</details>"
        else:
            yield f"- `{_code(check.title)}`{place}: {_text(check.says)}"
    if len(groups) > SHOWN:
        yield f"and {len(groups) - SHOWN} more, all of them in the record"


def _limits(checks: Sequence[Check]) -> Iterator[str]:
    if checks:
        yield "### Limits of the task"
        cells = [
            (
                check.name,
                check.input,
                check.mode,
                short(number(check.figures["value"])),
                short(number(check.figures["allowed"])),
                check.verdict,
            )
            for check in checks
        ]
        yield _table(("limit", "input", "mode", "is", "may be", "verdict"), cells)


def _notes(notes: Sequence[str]) -> Iterator[str]:
    if notes:
        more = [f"- and {len(notes) - SHOWN} more, all of them in the record"] if len(notes) > SHOWN else []
        yield "### Worth knowing\n\n" + "\n".join([*(f"- {_text(note)}" for note in notes[:SHOWN]), *more])


def _facts(record: Record) -> str:
    artifact = record.result.artifact
    follows = len(record.result.having(FOLLOWS))
    told = {
        "artifact": f"`{_code(artifact.path)}`, {artifact.kind}, {artifact.weighs}",
        "sha256": f"`{artifact.sha256}`",
        "reference's weights": f"`{record.weights}`" if record.weights else "not known",
        "policy": _text(record.result.policy),
        "baseline": _text(record.result.baseline or "none"),
        "checks": f"{len(record.result.checks)}, of which {follows} only follow from another's fault",
        "versions": _text(", ".join(f"{name} {version}" for name, version in record.versions.items())),
        "machine": _text(f"{record.machine['processor']}, {record.machine['threads']} threads"),
        "made": record.made,
    }
    return _table(("what", "is"), list(told.items()), raw=True)


def _table(headings: Sequence[str], cells: Sequence[Sequence[str]], *, raw: bool = False) -> str:
    lines = [headings, ["---"] * len(headings), *cells]
    return "\n".join(f"| {' | '.join(cell if raw else _text(cell) for cell in line)} |" for line in lines)


def _text(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    """Text within backticks, also in a table."""
    return text.replace("`", "'").replace("|", "\\|")


def _html(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
