"""One fault planted on request: for a try-out of what `parity verify`, `explain` and `repair` make of it."""

import difflib
from typing import Any

import numpy as np

from parity.errors import UsageError
from parity.faults.planting import Ground, Planted, Site, operators, plant
from parity.layouts import derived_for
from parity.pairs import Input, Pair
from parity.verification import Verifier

DRAWS = 20
"""How often parameters are drawn until an operator finds some that apply."""


def plant_by_hand(pair: Pair, given: Input, layer: str, cause: str, draw: int = 0) -> tuple[Any, Planted]:
    """A copy of the pair's port with one fault of that cause at that layer, and what was planted.

    `layer` is a name that either side has for it, `cause` a slug; what exactly is drawn by the number `draw`. Raises
    UsageError for a cause that cannot be planted there, or a name that is not known.
    """
    known = sorted({operator.slug for operator in operators().values()} - {"unknown"})
    if cause not in known:
        raise UsageError(
            f"no cause is called {cause!r}{_hint(cause, known)}; those that can be planted: {', '.join(known)}"
        )
    verifier = Verifier(pair)
    verifier.filled(given)
    ground = Ground(
        port=verifier.port,
        segments=verifier.segments(given),
        modules=dict(verifier.reference.module.named_modules()),
        axes=derived_for(pair, verifier.reference, given).axes,
    )
    planted = _planted(_sites(ground, layer), cause, draw)
    if planted is None:
        raise UsageError(f"{cause} cannot be planted at {layer}: it makes no sense for a layer of that kind")
    try:
        return plant(verifier.port.model, [planted]), planted
    except (TypeError, ValueError) as error:
        raise UsageError(f"{cause} at {layer} ({planted.detail}) makes a model that Keras cannot build") from error


def _sites(ground: Ground, layer: str) -> list[Site]:
    sites = list(ground.sites())
    found = [site for site in sites if layer in (site.layer, site.name)]
    if not found:
        names = sorted({name for site in sites for name in (site.layer, site.name)})
        raise UsageError(f"no layer is called {layer!r}{_hint(layer, names)}")
    return found


def _planted(sites: list[Site], cause: str, draw: int) -> Planted | None:
    generator = np.random.default_rng(draw)
    fitting = [operator for operator in operators().values() if operator.slug == cause]
    for _ in range(DRAWS):
        for operator in generator.permutation(np.array(fitting, dtype=object)):
            for site in sites:
                planted: Planted | None = operator(site, generator)
                if planted is not None:
                    return planted
    return None


def _hint(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3)
    return f"; did you mean {', '.join(map(repr, near))}?" if near else ""
