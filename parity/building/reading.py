"""What of a trace is read by what: which steps are needed, and which write where others read."""

from collections.abc import Iterator, Mapping
from typing import Any

from parity.building.steps import Step, Traced, mapped
from parity.errors import ConversionError
from parity.frameworks import torch
from parity.runners.taps import OUTPUT
from parity.trees import leaves


def steps_in(tree: Any) -> Iterator[Step]:
    """The steps whose results are in an argument, or in what is returned."""
    if isinstance(tree, Step):
        yield tree
    elif isinstance(tree, Mapping):
        yield from (step for each in tree.values() for step in steps_in(each))
    elif isinstance(tree, (tuple, list)):
        yield from (step for each in tree for step in steps_in(each))
    elif isinstance(tree, slice):
        yield from steps_in((tree.start, tree.stop, tree.step))


def read_by(step: Step) -> Iterator[Step]:
    """The steps whose results a step is given."""
    return steps_in((step.args, step.kwargs))


def needed(trace: Traced) -> set[int]:
    """The steps, by identity, that what is returned depends on; those that write into a tensor, too."""
    found: set[int] = set()
    stack = [*steps_in(trace.output), *(step for step in trace.steps if step.written)]
    while stack:
        step = stack.pop()
        if id(step) not in found:
            found.add(id(step))
            stack.extend(read_by(step))
    return found


def outputs_of(trace: Traced) -> Iterator[str]:
    """The names that a run has for the outputs, where there are several."""
    whole = mapped(trace.output, lambda leaf: leaf.values[0] if isinstance(leaf, Step) else leaf)
    yield from (name for name, leaf in leaves(whole, OUTPUT) if torch.is_tensor(leaf))


def ensure_no_shared_writing(trace: Traced) -> None:
    """Refuse what writes into the memory of a tensor that is read later by another name: only torch shares memory.

    Raises ConversionError with every such place.
    """
    before: list[Step] = []
    writers: list[tuple[Step, set[int]]] = []
    problems: list[str] = []

    def look(reads: Iterator[Step], reader: str) -> None:
        problems.extend(
            f"{writer.path} writes into the memory of {read.path}, which {reader} after it"
            for read in reads
            for writer, others in writers
            if id(read.values[0]) in others
        )

    for step in trace.steps:
        look(read_by(step), f"{step.path} reads")
        if step.written:
            writers.append((step, {id(each.values[0]) for each in before if _shares_memory(each, step)}))
        before.append(step)
    look(steps_in(trace.output), "is returned")
    if problems:
        raise ConversionError("\n".join(dict.fromkeys(problems)))


def _shares_memory(step: Step, written: Step) -> bool:
    """Whether a step's result is another tensor in the same memory."""
    own, theirs = step.values[0], written.values[0]
    if not torch.is_tensor(own) or own is theirs:
        return False
    return bool(own.untyped_storage().data_ptr() == theirs.untyped_storage().data_ptr())
