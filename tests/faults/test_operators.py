"""Operators plant what they say they plant: in the copy, at the layers they name, drawn from the generator."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import pytest

from parity.faults import Planted, Site, operators, plant
from parity.faults.subjects import SIZES, Subject, UnusableError
from parity.frameworks import keras
from parity.runners.edits import Edit

AT = {"unet": (24, 24), "encoder": (16,)}
"""Sizes at which operators that need equal sides find a place."""
SMALL = tuple(model for model in SIZES if model != "flownet")
NEEDS_FRAMES = {"frames-exchanged", "mean-axes"}
"""Operators for an input of two frames, which only FlowNet2-SD has."""


@lru_cache
def subject(model: str) -> Subject:
    """The faithful pair of that model, built once."""
    return Subject(model, seed=3, size=AT.get(model, SIZES[model][0]))


@lru_cache
def sites(model: str) -> tuple[Site, ...]:
    """The sites of that model."""
    return tuple(subject(model).ground.sites())


def planted(name: str, seed: int = 5, models: tuple[str, ...] = SMALL) -> Iterator[tuple[Subject, Planted]]:
    """What an operator plants, at one site after another."""
    for model in models:
        for site in sites(model):
            fault = operators()[name](site, np.random.default_rng(seed))
            if fault is not None:
                yield subject(model), fault


def signature(fault: Planted) -> tuple[object, ...]:
    """What tells two faults of one operator at one place apart."""
    weights = tuple(array.tobytes() for arrays in fault.weights.values() for array in arrays)
    return fault.detail, fault.layers, weights


@pytest.mark.parametrize("name", sorted(operators()))
def test_the_copy_is_changed_and_the_original_is_not(name: str) -> None:
    """Every operator finds a place, changes what the layer it names computes, and leaves the original as it was."""
    for made, fault in planted(name, models=("flownet",) if name in NEEDS_FRAMES else SMALL):
        before = [weight.tobytes() for weight in made.pair.port.get_weights()], made.pair.port.to_json()
        try:
            faulty = made.faulty([fault])
        except UnusableError:
            continue
        assert fault.slug == operators()[name].slug
        assert set(fault.layers) <= set(made.alignment.matched)
        assert faulty.effects[0] > 1
        assert ([weight.tobytes() for weight in made.pair.port.get_weights()], made.pair.port.to_json()) == before
        return
    pytest.fail(f"{name} found no place")


def test_a_seed_plants_the_same_fault_again() -> None:
    """The same generator gives the same fault, bit for bit."""
    for name in sorted(set(operators()) - NEEDS_FRAMES):
        first, again = (next(planted(name))[1] for _ in range(2))
        assert signature(first) == signature(again), name


def test_other_seeds_plant_other_faults() -> None:
    """At least half of the operators draw their parameters: over six seeds, the same place has another fault."""
    drawn = [
        name
        for name in sorted(set(operators()) - NEEDS_FRAMES)
        if len({signature(next(planted(name, seed))[1]) for seed in range(6)}) > 1
    ]
    assert len(drawn) > len(operators()) / 2


def test_a_fault_on_one_edge_is_at_fault_only_where_it_is_read() -> None:
    """Operands in another order are a fault of the concatenation, not of what made them."""
    _, fault = next(planted("concat-order", models=("unet",)))
    assert fault.layers == ("cat",)


def test_an_activation_that_is_gone_is_at_fault_with_its_readers() -> None:
    """A layer that the copy lacks is named, and so is every layer that reads past it."""
    left_out = next(
        fault
        for seed in range(9)
        for _, fault in planted("activation-missing", seed, ("unet",))
        if fault.detail == "left out" and fault.layers[0] == "act0"
    )
    assert set(left_out.layers) == {"act0", "enc1", "cat#2"}


def weights_of(made: Subject, layer: str, factor: float) -> Planted:
    """The kernel of a port layer times a factor, as a fault."""
    kernel, *rest = made.pair.port.get_layer(layer).get_weights()
    return Planted(slug="scale", layers=(layer,), detail="", weights={layer: [kernel * np.float32(factor), *rest]})


def test_a_mutant_equal_in_float64_is_dropped() -> None:
    """A fault that changes no value says nothing, and is counted as equal."""
    made = subject("mlp")
    with pytest.raises(UnusableError, match="equal in float64"):
        made.faulty([weights_of(made, "conv", 1.0)])
    assert made.faulty([weights_of(made, "conv", 1.0001)]).effects[0] > 100


def test_a_mutant_that_cannot_be_built_is_dropped() -> None:
    """Shapes that do not fit are counted apart."""
    made = subject("mlp")
    node = next(site.node for site in sites("mlp") if site.name == "hidden")
    short = Edit(appended={node: lambda x: x[:, :3]})
    with pytest.raises(UnusableError, match="cannot be built"):
        made.faulty([Planted(slug="unknown", layers=("hidden",), detail="", edit=short)])


def test_a_fault_has_float64s_precision_in_a_float64_copy() -> None:
    """What an operator puts in a float64 copy computes in float64 too, so that rounding is no difference."""
    made = subject("unet")
    (fault,) = [fault for _, fault in planted("padding-same", models=("unet",)) if fault.layers == ("enc2",)]
    copy = plant(made.pair.port, [fault], dtype="float64")
    assert {str(weight.dtype) for weight in copy.weights} == {"float64"}
    assert isinstance(copy, keras.Model)
