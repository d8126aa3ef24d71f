"""Which weights are trained at all: `requires_grad` on one side, `trainable` on the other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parity.diagnosis.words import written
from parity.frameworks import torch
from parity.gradients.layer import Carried
from parity.gradients.sides import Sides
from parity.report import TRAINABLE, Cause
from parity.runners.segments import Segment


@dataclass(frozen=True, kw_only=True)
class Trainable:
    """A layer whose weights one side trains and the other does not: those of the reference by name."""

    layer: Any
    only_port: Sequence[str]
    only_reference: Sequence[str]
    many: int = 1

    def cause(self) -> Cause:
        """In words, with what to write in the port."""
        also = f", as in {self.many - 1} other layers" if self.many > 1 else ""
        if self.only_port:
            names, value, left = (
                self.only_port,
                False,
                "the port trains {}, which the reference keeps (requires_grad=False)",
            )
        else:
            names, value, left = (
                self.only_reference,
                True,
                "the reference trains {}, which the port keeps (trainable=False)",
            )
        return Cause(
            slug=TRAINABLE,
            detail=left.format(" and ".join(names)) + also,
            change=f"{written(self.layer)}.trainable = {value}",
        )


def of_pair(
    module: torch.nn.Module,
    sides: Sides,
    segments: Sequence[Segment],
    carried: Mapping[str, Mapping[str, Carried]],
) -> dict[str, Trainable]:
    """The layers whose weights are trained on one side alone.

    Where nothing at all is trained on one side, only the first layer is given, and how many there are. A reference of
    which nothing is trained was loaded to be run, and says nothing about training.
    """
    parameters = list(module.parameters())
    if not any(parameter.requires_grad for parameter in parameters):
        return {}
    found: dict[str, Trainable] = {}
    for segment in segments:
        each = _of_layer(module, sides, segment, carried[segment.layer])
        if each:
            found[segment.layer] = each
    frozen = [carrier.layer for layers in carried.values() for carrier in layers.values()]
    if len(found) > 1 and not any(variable.trainable for layer in frozen for variable in layer.weights):
        layer, first = next(iter(found.items()))
        return {layer: Trainable(layer=first.layer, only_port=(), only_reference=first.only_reference, many=len(found))}
    return found


def _of_layer(
    module: torch.nn.Module, sides: Sides, segment: Segment, carried: Mapping[str, Carried]
) -> Trainable | None:
    theirs: dict[str, bool] = {}
    for tap, made in sides.modules(segment).items():
        path = sides.path(made)
        for name, parameter in module.get_submodule(path).named_parameters():
            theirs[name if tap == segment.layer else f"{tap}.{name}"] = parameter.requires_grad
    only_port: list[str] = []
    only_reference: list[str] = []
    layer = None
    fed: set[int] = set()
    for name, each in carried.items():
        ours = all(variable.trainable for variable in each.variables())
        fed |= {id(variable) for variable in each.variables()}
        if ours != theirs.get(name, ours):
            layer = each.layer
            (only_port if ours else only_reference).append(name)
    for each in {id(each.layer): each for each in carried.values()}.values():
        surplus = [variable.name for variable in each.layer.trainable_weights if id(variable) not in fed]
        layer = each.layer if surplus else layer
        only_port += surplus
    if layer is None:
        return None
    return Trainable(layer=layer, only_port=only_port, only_reference=only_reference)
