"""Which input and which output of the port answers to which of the reference's: by what the user says, names, order.

Order is what both sides' authors wrote down: positional arguments, the elements of a returned tuple. It is not asked
whether the shapes fit; a pairing that is wrong shows as a divergence.
"""

from collections.abc import Mapping

from parity.errors import PairError

Names = Mapping[str, str] | Mapping[str, tuple[str, ...]]
"""Names of ends, and for each what else it is called: the parameter it is passed as, the name of an InputLayer, the key
of the only entry of a dict."""


def paired(reference: Names, port: Names, given: Mapping[str, str], what: str) -> dict[str, str]:
    """The port's end for each of the reference's that has one, in the reference's order.

    `given` is the user's map. `what` is "input" or "output", for messages. Raises PairError where the user's map names
    ends that do not exist, or two of the reference's go to one of the port's.
    """
    found = {
        _known(theirs, reference, f"the reference has no {what}"): _known(ours, port, f"the port has no {what}")
        for theirs, ours in given.items()
    }
    found |= _by_all_names(reference, port, found)
    for same in (_same_name, _same_other_name):
        for theirs in reference:
            for ours in port:
                if theirs not in found and ours not in found.values() and same(theirs, ours, reference, port):
                    found[theirs] = ours
    left = [name for name in reference if name not in found], [name for name in port if name not in found.values()]
    if len(left[0]) == len(left[1]):
        found |= dict(zip(*left, strict=True))
    doubled = [name for name in found.values() if list(found.values()).count(name) > 1]
    if doubled:
        raise PairError(f"the {what} map sends two of the reference's to {doubled[0]!r} of the port")
    return {name: found[name] for name in reference if name in found}


def all_paired(reference: Names, port: Names, given: Mapping[str, str], what: str) -> dict[str, str]:
    """As `paired`, but raises PairError where anything of the port's is left without a counterpart."""
    found = paired(reference, port, given, what)
    idle = [name for name in port if name not in found.values()]
    if idle:
        raise PairError(
            f"the port takes {_listed(port)}, the reference is given {_listed(reference)}; "
            f"say which is which with Pair({what}_map={{{next(iter(reference))!r}: {idle[0]!r}, ...}})"
        )
    return found


def _by_all_names(reference: Names, port: Names, given: Mapping[str, str]) -> dict[str, str]:
    """What is not `given`, by names where all of them agree: they say more than the order that the port has."""
    theirs = [name for name in reference if name not in given]
    ours = [name for name in port if name not in given.values()]
    alike = {name: [our for our in ours if _same_other_name(name, our, reference, port)] for name in theirs}
    found = {name: answers[0] for name, answers in alike.items() if len(answers) == 1}
    return found if len(set(found.values())) == len(theirs) == len(ours) else {}


def _same_name(theirs: str, ours: str, reference: Names, port: Names) -> bool:
    return theirs == ours


def _same_other_name(theirs: str, ours: str, reference: Names, port: Names) -> bool:
    names = ({_last(end), *_called(other[end])} - {""} for end, other in ((theirs, reference), (ours, port)))
    return bool(set.intersection(*names))


def _called(other: str | tuple[str, ...]) -> tuple[str, ...]:
    return (other,) if isinstance(other, str) else other


def _last(name: str) -> str:
    """The key at the end of a name: `mask` of `input.mask`; nothing where that is a number."""
    key = name.rpartition(".")[2]
    return "" if "[" in key or "." not in name else key


def _known(name: str, ends: Names, trouble: str) -> str:
    for end, other in ends.items():
        if name in (end, *_called(other), _last(end)):
            return end
    raise PairError(f"{trouble} {name!r}; it has {_listed(ends)}")


def _listed(ends: Names) -> str:
    return ", ".join(map(repr, ends))
