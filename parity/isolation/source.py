"""Where the reports of a pair's inputs come from: this process, or one that the pair has to itself."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from parity.isolation.digests import described, digest_of_weights
from parity.isolation.journal import Described
from parity.isolation.process import Limits
from parity.isolation.supervisor import Isolated
from parity.isolation.together import why_not_together
from parity.render.progress import Show, silent
from parity.report import Report
from parity.runners.taps import weighted_layers
from parity.settings import RunSettings

if TYPE_CHECKING:
    from parity.verification import Verifier


class Source(Protocol):
    """A pair that is there: what it is called, its inputs, its layers with weights, and a report of each input."""

    @property
    def pair(self) -> str:
        """The pair's name."""

    @property
    def inputs(self) -> Sequence[Described]:
        """Its inputs."""

    @property
    def weighted(self) -> Sequence[str]:
        """The reference's layers with weights, in order of registration."""

    @property
    def modes(self) -> tuple[str, ...]:
        """The modes in which it is run: those that are asked for, or that of the file that the port is."""

    @property
    def weights(self) -> str:
        """SHA-256 of the reference's weights, "" where that was not asked for."""

    def verify(self, name: str, modes: Sequence[str], show: Show = silent) -> Report:
        """The report of one input, in some modes. Raises as `parity.verify` does."""

    def close(self) -> None:
        """It is not needed any more."""


class Here:
    """A pair in this process."""

    def __init__(self, settings: RunSettings) -> None:
        from parity.artifacts.shipped import modes_of
        from parity.lookup import both
        from parity.models import load

        self._settings = settings
        pair, self._given = load(settings.name, settings.settings)
        self._pair = both(pair)
        self.pair = self._pair.name
        self.modes = modes_of(self._pair.port, settings.modes)
        self.inputs = tuple(described(given, audited=settings.audited) for given in self._given)

    @cached_property
    def weighted(self) -> Sequence[str]:
        """The reference's layers with weights, in order of registration."""
        return weighted_layers(self._pair.reference)

    @cached_property
    def weights(self) -> str:
        """SHA-256 of the reference's weights."""
        return digest_of_weights(self._pair.reference)

    @cached_property
    def _verifier(self) -> "Verifier":
        return self._settings.verifier(self._pair)

    def verify(self, name: str, modes: Sequence[str], show: Show = silent) -> Report:
        """The report of one input, in some modes. Raises as `parity.verify` does."""
        given = next(each for each in self._given if each.name == name)
        settings = replace(self._settings, modes=tuple(modes))
        return settings.verify(self._verifier, given, self._given, show)

    def close(self) -> None:
        """Nothing: this process goes on."""


def opened(settings: RunSettings, show: Show = silent) -> Source:
    """The pair, where the settings want it; in a process of its own too where the engines cannot both be loaded here.

    Raises what loading it raises, and ProcessDiedError where that ends its process.
    """
    if not settings.isolate and not why_not_together():
        return Here(settings)
    isolated = Isolated(settings, Limits(timeout=settings.timeout))
    isolated.load(show)
    return isolated
