"""What parity needs of an environment and what is known to go wrong in one, looked at here and now.

Nothing is told from a version number alone: what can be run is run, in processes of their own, so that an engine that
is missing, broken or deadly is a finding.
"""

from dataclasses import asdict, dataclass
from typing import Any

from parity.doctor.facts import TIMEOUT, Facts, found_out
from parity.doctor.hazards import PROBLEM, Hazard, hazards

__all__ = ["Checkup", "Facts", "Hazard", "checkup"]


@dataclass(frozen=True, kw_only=True)
class Checkup:
    """What was found out, and every known hazard as it is here."""

    facts: Facts
    hazards: tuple[Hazard, ...]

    @property
    def able(self) -> bool:
        """Whether parity can verify here."""
        return all(hazard.status != PROBLEM for hazard in self.hazards)

    def as_json(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return {"able": self.able, "facts": asdict(self.facts), "hazards": [asdict(each) for each in self.hazards]}


def checkup(facts: Facts | None = None, *, timeout: float = TIMEOUT) -> Checkup:
    """Look at this environment, or at `facts`. `timeout` is in seconds, for each process that is started."""
    facts = facts or found_out(timeout)
    return Checkup(facts=facts, hazards=tuple(hazards(facts)))
