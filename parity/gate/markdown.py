"""A run of the gate as Markdown, fit for the page of a CI job: the verdict first, then what failed, then the rest."""

import re
from collections.abc import Iterator, Sequence

from parity.gate.checks import FAIL, FOLLOWS, LAYER, LIMIT, OUTPUT, UNKNOWN, WAIVED, Check
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
        _table(("input", "mode", "layers", "worst layer", "output error", "end-point error"), rows(result)),
        *_listed("Failed", result.having(FAIL)),
        *_listed("Not verified", result.having(UNKNOWN)),
        *_listed("Waived", [check for check in result.having(WAIVED) if check.kind in (LAYER, OUTPUT, "coverage")]),
        *_limits([check for check in result.checks if check.kind == LIMIT]),
        *_notes(result.notes),
        _facts(record),
    ]
    return "\n\n".join(parts) + "\n"


def _listed(title: str, checks: Sequence[Check]) -> Iterator[str]:
    """Checks with what they say: the first line, and the rest of it folded away."""
    if not checks:
        return
    yield f"### {title}"
    for check in checks[:SHOWN]:
        place = f" ({_text(check.input)}, {_text(check.mode)})" if check.mode else ""
        head, _, rest = check.says.partition("\n")
        folded = f"\n\n```text\n{check.says.replace('```', chr(39) * 3)}\n```\n\n" if rest else f" {_text(head)}"
        yield (
            f"<details><summary><code>{_html(check.title)}</code>{place}</summary>{folded}</details>"
            if rest
            else f"- `{_code(check.title)}`{place}:{folded}"
        )
    if len(checks) > SHOWN:
        yield f"and {len(checks) - SHOWN} more, all of them in the record"


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
