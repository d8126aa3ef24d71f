"""The result of a gate as JSON, for programs."""

import json

from pydantic import TypeAdapter

from parity.gate.checks import Result, for_json

SCHEMA = 1
_ADAPTER = TypeAdapter(Result)


def as_json(result: Result) -> str:
    """The result as JSON text: `schema`, `verdict`, `exit_code`, and what `Result` has."""
    says = for_json(_ADAPTER.dump_python(result, mode="json"))
    whole = {"schema": SCHEMA, "exit_code": result.exit_code, **says}
    return json.dumps(whole, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
