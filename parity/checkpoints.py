"""Reads weights from a file without running anything the file contains, and loads them whole or not at all.

A `.pth` file is a pickle: loading one can run any code. So torch reads tensors and plain containers only
(`weights_only=True`), and whatever asks for more is refused by name.
"""

import io
import pickletools
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from parity.errors import CheckpointError
from parity.frameworks import torch

StateDict = dict[str, torch.Tensor]

NAMED = 5
"""How many of a long list of keys a message names before it counts the rest."""

_GLOBAL = re.compile(r"GLOBAL (\S+)")


def read_state_dict(path: Path | str) -> StateDict:
    """The tensors of a checkpoint by key, on the CPU, in the file's own dtypes.

    Takes `.safetensors`, and what `torch.save` writes (zip, and the legacy form before torch 1.6): a bare
    state dict, or a mapping that holds one as `state_dict`, as NVIDIA's `.pth.tar` does beside `epoch`,
    `best_EPE` and `arch`. Raises CheckpointError for a file that is missing, damaged, something else, or that
    would run code; nothing is ever executed.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from None
    if empty:
        raise CheckpointError(f"{path}: the file is empty")
    return _state_dict(_read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path), path)


def load_into(
    module: torch.nn.Module,
    state_dict: Mapping[str, torch.Tensor],
    origin: Path | str,
    *,
    prefixes: Sequence[str] = (),
) -> None:
    """Load every tensor of `state_dict` into `module`; `origin` names its source in messages.

    DataParallel's `module.` is taken off the keys. `prefixes` are those under which stacked networks hold
    this one: where the file has none of the module's own keys and exactly one of the prefixes, what lies
    under that prefix is loaded and the other networks' tensors are left. Floating tensors become float32:
    float16 and bfloat16 exactly, float64 rounded to the nearest. Non-finite values are loaded: they are
    reported as a finding later. Raises one CheckpointError naming all keys that are missing, unexpected,
    ill-shaped, or of a dtype that is not the network's kind; then nothing has been loaded.
    """
    expected = module.state_dict()
    given = _without_prefix(state_dict, expected, prefixes)
    problems = [
        *_listed("missing", [key for key in expected if key not in given]),
        *_listed("unexpected", [key for key in given if key not in expected]),
        *_listed("ill-shaped", _ill_shaped(given, expected)),
        *_listed("of the wrong kind", _wrong_kind(given, expected)),
    ]
    if problems:
        raise CheckpointError(f"{origin} does not fit {type(module).__name__}: {'; '.join(problems)}")
    module.load_state_dict({key: tensor.to(expected[key].dtype) for key, tensor in given.items()})


def _read_safetensors(path: Path) -> StateDict:
    # Here, not above: it imports torch, which parity.frameworks has to do first.
    import safetensors
    import safetensors.torch

    try:
        return safetensors.torch.load_file(path, device="cpu")
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error})") from None


def _read_torch(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Torch warns of pickle protocols it may not know; then it fails.
            return torch.load(path, map_location="cpu", weights_only=True)
    # Damaged bytes make torch's reader fail with whatever they trip over: there is no narrower class.
    except Exception as error:
        wanted = _refused_global(path, str(error))
        if wanted:
            raise CheckpointError(
                f"{path}: its pickle asks for {wanted}, which could run any code, so it was refused and nothing "
                "was executed; save the tensors alone, with torch.save(model.state_dict(), ...)"
            ) from None
        raise CheckpointError(f"{path}: damaged, cut short, or no checkpoint that can be read safely") from None


def _refused_global(path: Path, message: str) -> str | None:
    """What a refused pickle asked for: torch names it where the protocol is old, else the first thing beyond torch.

    A name that does not stand in the pickle as a whole was cut off with the file, and is none.
    """
    asked = _globals(path)
    named = _GLOBAL.search(message)
    if named:
        return named[1] if any(name.endswith(named[1]) for name in asked) else None
    return next((name for name in asked if name.partition(".")[0] not in ("collections", "torch")), None)


def _globals(path: Path) -> list[str]:
    """Every `module.name` the pickles in a file ask for. They are disassembled, never run, as far as they go."""
    strings: list[str] = []
    names: list[str] = []
    with suppress(Exception):
        stream = io.BytesIO(_pickle(path))
        while True:  # The legacy form has several pickles in a row; what follows them ends this.
            for opcode, argument, _ in pickletools.genops(stream):
                if opcode.name == "GLOBAL":
                    names.append(str(argument).replace(" ", "."))
                elif opcode.name == "STACK_GLOBAL":
                    names.append(".".join(strings[-2:]))
                elif isinstance(argument, str):
                    strings.append(argument)
    return names


def _pickle(path: Path) -> bytes:
    """The pickle in a checkpoint: a member of the zip archive, or the beginning of any other file."""
    if not zipfile.is_zipfile(path):
        return path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith("/data.pkl")))


def _state_dict(content: Any, path: Path) -> StateDict:
    """The tensors by key, from what the file held."""
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, not a state dict")
    state = content.get("state_dict", content)
    if not isinstance(state, Mapping) or not state:
        raise CheckpointError(f"{path}: its state dict is empty, or no mapping ({type(state).__name__})")
    others = [str(key) for key, value in state.items() if not isinstance(value, torch.Tensor)]
    if others:
        raise CheckpointError(f"{path}: holds no state dict; not tensors: {_some(others)}")
    return {str(key): tensor.detach() for key, tensor in state.items()}


def _without_prefix(
    state_dict: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], prefixes: Sequence[str]
) -> StateDict:
    """`state_dict` under the module's own keys, as far as a known prefix explains the difference."""
    given = dict(state_dict)
    if given and all(key.startswith("module.") for key in given) and not set(given) & set(expected):
        given = _under("module.", given)
    if not set(given) & set(expected):
        present = [prefix for prefix in prefixes if any(key.startswith(prefix) for key in given)]
        if len(present) == 1:
            return _under(present[0], given)
    return given


def _under(prefix: str, state_dict: Mapping[str, torch.Tensor]) -> StateDict:
    return {key.removeprefix(prefix): tensor for key, tensor in state_dict.items() if key.startswith(prefix)}


def _ill_shaped(given: StateDict, expected: Mapping[str, torch.Tensor]) -> list[str]:
    return [
        f"{key} is {tuple(tensor.shape)}, not {tuple(expected[key].shape)}"
        for key, tensor in given.items()
        if key in expected and tensor.shape != expected[key].shape
    ]


def _wrong_kind(given: StateDict, expected: Mapping[str, torch.Tensor]) -> list[str]:
    """Tensors that no documented conversion turns into the network's: integers, complex and sparse ones."""
    return [
        f"{key} is {tensor.dtype}, {tensor.layout}; the network's is {expected[key].dtype}"
        for key, tensor in given.items()
        if key in expected and not _convertible(tensor, expected[key])
    ]


def _convertible(given: torch.Tensor, expected: torch.Tensor) -> bool:
    if given.layout != torch.strided:
        return False
    return given.dtype == expected.dtype or (given.is_floating_point() and expected.is_floating_point())


def _listed(what: str, names: list[str]) -> Iterable[str]:
    """A part of the message, where there is something to name."""
    return [f"{len(names)} {what}: {_some(names)}"] if names else []


def _some(names: list[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
