"""The same cases of a kind at every call, whichever package draws them."""

from collections.abc import Callable
from typing import Any


def on_cases(kind: str, see: Callable[[Any], None], count: int) -> None:
    """Have a function see that many cases of a kind, the same at every call."""
    from hypothesis import HealthCheck, Phase, given, seed, settings

    from parity.inputs.strategies import cases

    def draw(case: Any) -> None:
        see(case)

    usual = settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run: Callable[[], None] = usual(seed(20261126)(given(cases(kind))(draw)))
    run()
