"""Reads weights from a file without running anything the file contains, and loads them whole or not at all.

A `.pth` file is a pickle: loading one can run any code. So torch reads tensors and plain containers only
(`weights_only=True`), and whatever asks for more is refused by name.
"""

import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
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
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    if path.stat().st_size == 0:
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
    import safetensors
    import safetensors.torch

    try:
        return safetensors.torch.load_file(path, device="cpu")
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error})") from None


def _read_torch(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    # Damaged bytes make torch's reader fail with whatever they trip over: there is no narrower class.
    except Exception as error:
        refused = _GLOBAL.search(str(error))
        if refused:
            raise CheckpointError(
                f"{path}: its pickle asks for {refused[1]}, which could run any code; it was refused, "
                "and nothing was executed. Save tensors alone: torch.save(model.state_dict(), ...)"
            ) from None
        raise CheckpointError(
            f"{path}: damaged, cut short, or no checkpoint at all ({_looks_like(path)}); "
            f"torch says: {_first_line(error)}"
        ) from None


def _looks_like(path: Path) -> str:
    size = f"{path.stat().st_size:,} bytes"
    return f"a zip archive of {size}" if zipfile.is_zipfile(path) else f"{size}, no complete zip archive"


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__


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
    """Tensors that no documented conversion turns into the network's: integers for floats, complex ones."""
    return [
        f"{key} is {tensor.dtype}, the network's is {expected[key].dtype}"
        for key, tensor in given.items()
        if key in expected
        and tensor.dtype != expected[key].dtype
        and not (tensor.is_floating_point() and expected[key].is_floating_point())
    ]


def _listed(what: str, names: list[str]) -> Iterable[str]:
    """A part of the message, where there is something to name."""
    return [f"{len(names)} {what}: {_some(names)}"] if names else []


def _some(names: list[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
