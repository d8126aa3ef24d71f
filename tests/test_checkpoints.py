"""Checkpoints: every form is read, nothing in a file is ever run, and a network is loaded whole or not at all."""

import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parity.checkpoints import load_into, read_state_dict
from parity.errors import CheckpointError
from parity.frameworks import torch


def state(seed: int = 0) -> "OrderedDict[str, torch.Tensor]":
    """The state dict of `network()`, with values of its own."""
    generator = torch.Generator().manual_seed(seed)
    return OrderedDict(
        (key, torch.randn(tensor.shape, generator=generator)) for key, tensor in network().state_dict().items()
    )


def network() -> torch.nn.Sequential:
    """Two layers of unequal sizes: keys 0.weight, 0.bias, 1.weight, 1.bias."""
    return torch.nn.Sequential(torch.nn.Conv2d(2, 3, (5, 7)), torch.nn.Linear(7, 2))


def equal(actual: Any, expected: Any) -> bool:
    """Whether two state dicts have the same keys and, bit for bit, the same values (NaN equals NaN)."""
    return list(actual) == list(expected) and all(
        torch.equal(actual[key].nan_to_num(7.5), expected[key].nan_to_num(7.5)) for key in expected
    )


def write_safetensors(path: Path) -> None:
    """The same state dict as a safetensors file."""
    import safetensors.torch

    safetensors.torch.save_file(state(), path)


WRITERS: dict[str, Callable[[Path], object]] = {
    "nvidia.pth.tar": lambda path: torch.save({"epoch": 3, "state_dict": state(), "best_EPE": 1.5}, path),
    "trained.pth.tar": lambda path: torch.save({"arch": "FlowNet2SD", "state_dict": state()}, path),
    "legacy.pth.tar": lambda path: torch.save(
        {"epoch": 3, "state_dict": state()}, path, _use_new_zipfile_serialization=False
    ),
    "bare.pth": lambda path: torch.save(state(), path),
    "bare_legacy.pth": lambda path: torch.save(state(), path, _use_new_zipfile_serialization=False),
    "weights.safetensors": write_safetensors,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_form_is_read(tmp_path: Path, name: str) -> None:
    """NVIDIA's form, a bare state dict and safetensors, in the new and the legacy format, give the same tensors."""
    WRITERS[name](tmp_path / name)
    read = read_state_dict(tmp_path / name)
    assert equal({key: read[key] for key in sorted(read)}, {key: state()[key] for key in sorted(state())})


class Harmful:
    """Leaves a file behind wherever it is unpickled without care."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trace),)


HARMFUL: dict[str, Callable[[Harmful, Path], object]] = {
    "zip": lambda harm, path: torch.save({"state_dict": state(), "epoch": harm}, path),
    "legacy": lambda harm, path: torch.save([harm], path, _use_new_zipfile_serialization=False),
    "zip, protocol 4": lambda harm, path: torch.save({"state_dict": state(), "epoch": harm}, path, pickle_protocol=4),
    "pickle, protocol 0": lambda harm, path: path.write_bytes(pickle.dumps(harm, 0)),
    "pickle, protocol 5": lambda harm, path: path.write_bytes(pickle.dumps(harm, 5)),
}


@pytest.mark.parametrize("form", HARMFUL)
def test_code_in_a_file_is_refused_and_not_run(tmp_path: Path, form: str) -> None:
    """A pickle that would call something is refused by that thing's name, and it is not called."""
    harm = Harmful(tmp_path / "executed")
    HARMFUL[form](harm, tmp_path / "bad.pth.tar")
    with pytest.raises(CheckpointError, match=r"asks for \w+\.mkdir, .* nothing was executed"):
        read_state_dict(tmp_path / "bad.pth.tar")
    assert not harm.trace.exists()


def test_the_harmful_file_is_harmful(tmp_path: Path) -> None:
    """The trap in these tests works: plain unpickling does run it."""
    harm = Harmful(tmp_path / "executed")
    pickle.loads(pickle.dumps(harm))
    assert harm.trace.exists()


def test_whole_modules_are_refused(tmp_path: Path) -> None:
    """A saved module, whose class would have to be imported, is refused by the class's name."""
    torch.save(network(), tmp_path / "module.pth")
    with pytest.raises(CheckpointError, match=r"asks for torch\.nn\.\S*Sequential"):
        read_state_dict(tmp_path / "module.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"<!DOCTYPE html><html>", "damaged, cut short, or no checkpoint"),
        (b"\x80\x02", "damaged, cut short, or no checkpoint"),
        (bytes(range(256)) * 8, "damaged, cut short, or no checkpoint"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    """An empty file, a web page and noise each give one sentence that names the file."""
    (tmp_path / "other.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=f"other.pth: {message}"):
        read_state_dict(tmp_path / "other.pth")


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
def test_cut_files_are_refused(tmp_path: Path, name: str, part: float) -> None:
    """A file that was cut anywhere, in any form, gives one sentence."""
    WRITERS[name](tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(len(content) * part)])
    with pytest.raises(CheckpointError, match=r"damaged, cut short|not a readable safetensors") as caught:
        read_state_dict(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A path that does not exist, and a folder, are refused with what the system says of them."""
    with pytest.raises(CheckpointError, match=r"nowhere\.pth: No such file"):
        read_state_dict(tmp_path / "nowhere.pth")
    with pytest.raises(CheckpointError, match="Is a directory"):
        read_state_dict(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.zeros(2)], "holds a list, not a state dict"),
        ({"epoch": 3, "best_EPE": 1.5}, "not tensors: epoch, best_EPE"),
        ({}, "its state dict is empty"),
        ({"state_dict": [1]}, r"no mapping \(list\)"),
        ({"state_dict": {"a": torch.zeros(2), "b": 3}}, "not tensors: b"),
    ],
)
def test_content_without_tensors_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    """A readable file that holds no state dict says what it holds."""
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError, match=message):
        read_state_dict(tmp_path / "odd.pth")


@pytest.mark.parametrize("prefix", ["", "module.", "flownets_d.", "module.flownets_d."])
def test_known_prefixes_are_taken_off(prefix: str) -> None:
    """DataParallel's prefix, a stacked network's, and both, lead to the same weights."""
    module = network()
    given = {prefix + key: tensor for key, tensor in state().items()}
    if "flownets_d." in prefix:
        given[prefix.replace("flownets_d", "flownetc") + "0.weight"] = torch.zeros(9)
    load_into(module, given, "file", prefixes=("flownets_d.",))
    assert equal(module.state_dict(), state())


def test_prefixes_that_were_not_named_are_not_guessed() -> None:
    """Keys under another network's prefix are unexpected, however well they would fit."""
    given = {f"flownetc.{key}": tensor for key, tensor in state().items()}
    with pytest.raises(CheckpointError, match=r"4 missing: .*; 4 unexpected: flownetc\.0\.weight"):
        load_into(network(), given, "file", prefixes=("flownets_d.",))


def test_two_known_prefixes_are_not_chosen_between() -> None:
    """Where two of the named prefixes are present, neither is taken."""
    given = {f"{prefix}{key}": tensor for prefix in "ab" for key, tensor in state().items()}
    with pytest.raises(CheckpointError, match="4 missing"):
        load_into(network(), given, "file", prefixes=("a", "b"))


def test_everything_wrong_is_named_at_once() -> None:
    """Missing, unexpected, ill-shaped and integer tensors come in one error, and nothing has been loaded."""
    module = network()
    before = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    given: dict[str, torch.Tensor] = dict(state())
    del given["0.weight"]
    given |= {
        "0.bias": torch.zeros(4),
        "1.weight": torch.zeros(2, 7, dtype=torch.int8),
        "1.bias": torch.zeros(2).to_sparse(),
        "2.weight": torch.zeros(1),
    }
    with pytest.raises(CheckpointError) as caught:
        load_into(module, given, "some.pth")
    assert str(caught.value) == (
        "some.pth does not fit Sequential: 1 missing: 0.weight; 1 unexpected: 2.weight; "
        "1 ill-shaped: 0.bias is (4,), not (3,); 2 of the wrong kind: "
        "1.weight is torch.int8, torch.strided; the network's is torch.float32, "
        "1.bias is torch.float32, torch.sparse_coo; the network's is torch.float32"
    )
    assert equal(module.state_dict(), before)


def test_long_lists_are_counted() -> None:
    """Of many keys the first five are named and the others counted."""
    given = state() | {f"extra{number}": torch.zeros(1) for number in range(9)}
    with pytest.raises(CheckpointError, match=r"9 unexpected: extra0, .*, extra4 and 4 more"):
        load_into(network(), given, "file")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32(dtype: torch.dtype) -> None:
    """Half precision is widened exactly, and double precision rounded to the nearest float32."""
    module = network()
    given = {key: tensor.to(dtype) for key, tensor in state().items()}
    load_into(module, given, "file")
    assert {tensor.dtype for tensor in module.state_dict().values()} == {torch.float32}
    assert equal(module.state_dict(), {key: tensor.float() for key, tensor in given.items()})


def test_nan_is_loaded() -> None:
    """Weights that are not finite are loaded as they are: they are a finding, not a broken file."""
    module, given = network(), state()
    given["1.bias"][1] = torch.nan
    load_into(module, given, "file")
    assert module[1].bias.isnan().tolist() == [False, True]
