"""What a policy lets pass for a time, and what came of that."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date

from parity.gate.checks import FAIL, PASS, WAIVER, Check, Figure
from parity.gate.policy import Waiver
from parity.tolerance import fits


@dataclass
class Waivers:
    """The waivers of a policy on some day, and which of them have waived anything."""

    waivers: Sequence[Waiver]
    today: date
    used: set[int] = field(default_factory=set)

    def of(self, *names: str, floors: float = 0.0) -> Waiver | None:
        """One that is in force for something of these names which is off by so many floors; it counts as used."""
        for index, waiver in enumerate(self.waivers):
            enough = waiver.floors is None or floors <= waiver.floors
            if waiver.expires >= self.today and enough and any(fits(waiver.layer, name) for name in names):
                self.used.add(index)
                return waiver
        return None

    def checks(self) -> Iterator[Check]:
        """Each of them: one that has expired fails."""
        for waiver in self.waivers:
            expired = waiver.expires < self.today
            says = (
                f"the waiver of {waiver.layer} expired on {waiver.expires} (its why: {waiver.why}): mend the layer, or"
                " decide anew and give it another day"
            )
            figures: dict[str, Figure] = {"expires": waiver.expires.isoformat(), "why": waiver.why}
            verdict = FAIL if expired else PASS
            yield Check(kind=WAIVER, name=waiver.layer, verdict=verdict, says=says if expired else "", figures=figures)

    def idle(self) -> Iterator[str]:
        """A sentence for each that is in force and has waived nothing."""
        for index, waiver in enumerate(self.waivers):
            if index not in self.used and waiver.expires >= self.today:
                yield f"the waiver of {waiver.layer} (until {waiver.expires}) waives nothing: take it out"
