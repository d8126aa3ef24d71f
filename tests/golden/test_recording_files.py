"""What is written down of a side, what comes back of it, and which files are refused."""

import inspect
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wrong_ports as small
from safetensors.numpy import load_file, save_file

import parity
from parity.converters import convert
from parity.errors import PairError, RecordingError, WeightError
from parity.frameworks import torch
from parity.golden import PORT, REFERENCE, side_of
from parity.golden.file import KEY, written
from parity.golden.network import modules, recorded
from parity.golden.port import RecordedPort
from parity.golden.reference import RecordedReference
from parity.golden.words import Words, decoded, encoded
from parity.pairs import Input, Pair
from parity.runners.calls import Read
from parity.runners.torch_module import TorchModule


def test_any_reader_of_safetensors_reads_a_recording(golden: Path, reference: small.Net, given: Input) -> None:
    """The file is one of safetensors, with the weights and every value under names that say what they are."""
    arrays = load_file(golden)
    np.testing.assert_array_equal(arrays["weights/third.bias"], reference.third.bias.detach().numpy())
    values: dict[str, Any] = {}
    TorchModule(reference).run(given, lambda tap, value: values.update({tap.name: value.numpy().copy()}))
    for name, value in values.items():
        np.testing.assert_array_equal(arrays[f"runs/0/values/{name}"], value)
    assert arrays["runs/0/exact/third"].dtype == np.float64


def test_a_recording_says_what_it_is_of(pair: Pair, given: Input, tmp_path: Path) -> None:
    """The side, the pair, versions, settings, the command and a sum of the weights are in the file."""
    path = tmp_path / "a.safetensors"
    made = parity.record(pair, [given], path, settings={"size": (14, 12)}, command="parity record small")
    header = RecordedReference(path).header
    assert header == made
    assert (side_of(path), header.pair, header.command) == (REFERENCE, "small", "parity record small")
    assert header.settings == {"size": [14, 12]}
    assert header.versions["torch"] == torch.__version__
    other = small.net()
    torch.nn.init.zeros_(other.third.bias)
    changed = parity.record(replace(pair, reference=other), [given], path)
    assert len(header.weights) == 64
    assert changed.weights != header.weights


def test_recorded_modules_are_what_they_were(reference: small.Net, golden: Path) -> None:
    """Each is of its layer's class, set up alike, with its weights as arrays, and converts to the same weights."""
    found = dict(RecordedReference(golden).module.named_modules())
    assert list(found) == [name for name, _ in reference.named_modules()]
    second = found["second"]
    assert isinstance(second, torch.nn.Conv2d)
    assert (type(second).__name__, second.stride, second.in_channels) == ("Conv2d", (2, 2), 4)
    assert repr(second) == repr(reference.second)
    for ours, theirs in zip(convert(second, "second"), convert(reference.second, "second"), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    state = found[""].state_dict(keep_vars=True)
    assert {name: array.shape for name, array in state.items()} == {
        name: tuple(tensor.shape) for name, tensor in reference.state_dict().items()
    }


def test_nothing_recorded_can_be_run(golden: Path, pair: Pair, given: Input, tmp_path: Path) -> None:
    """Calling a module or a function, or making a call again, says that it is recorded."""
    reference = RecordedReference(golden)
    with pytest.raises(PairError, match=r"^Net is recorded, and cannot be run$"):
        reference.module(given.array)
    call = reference.calls(given)["cat"]
    assert not call.repeatable
    assert call.reads == ("second", "pool")
    with pytest.raises(PairError, match="cat is recorded, and cannot be called"):
        call.function()
    with pytest.raises(PairError, match="cannot be made again on other values"):
        call.again({})
    parity.record(pair, [given], tmp_path / "port.safetensors", side=PORT, modes=("eager",))
    port = RecordedPort(tmp_path / "port.safetensors").used
    with pytest.raises(PairError, match="the port is a recording, and was not run here"):
        port.segments({"x": "join"})[0].node.operation()
    with pytest.raises(PairError, match="it has no model"):
        port.model  # noqa: B018


class Scale(torch.nn.Module):
    """A layer of a user's own, with a weight that is shared, a buffer that is saved, and one that is not."""

    def __init__(self, weight: torch.nn.Parameter) -> None:
        super().__init__()
        self.weight = weight
        self.register_buffer("offset", torch.arange(3.0))
        self.register_buffer("scratch", torch.zeros(2), persistent=False)
        self.limits, self.kind = (-math.inf, 7), torch.float32


def test_layers_of_users_own_are_recorded() -> None:
    """They have their own name and settings, where they compute a thing of their own; what is shared stays shared."""
    weight = torch.nn.Parameter(torch.ones(3))
    lstm = type("Named", (torch.nn.LSTM,), {"reset_parameters": torch.nn.LSTM.reset_parameters})
    network = torch.nn.Sequential(Scale(weight), Scale(weight), lstm(2, 3))
    kept: dict[str, Any] = {}

    def keep(tensor: Any) -> str:
        kept[f"{id(tensor)}"] = tensor.detach().numpy()
        return f"{id(tensor)}"

    made, *_ = modules(recorded(network.eval(), keep), kept.__getitem__)
    found = dict(made.named_modules())
    assert (type(found["0"]).__name__, found["0"].limits, found["0"].kind) == (
        "Scale",
        (-math.inf, 7),
        Words("torch.float32"),
    )
    assert isinstance(found["0"], torch.nn.Module)
    assert found["0"].weight is found["1"].weight
    assert list(made.state_dict()) == list(network.state_dict())
    with pytest.raises(WeightError, match=r"No converter for .*Scale"):
        convert(found["0"], "0")
    assert [array.shape for array in convert(found["2"], "2")] == [(2, 12), (3, 12), (12,)]
    with pytest.raises(AttributeError, match="Scale was recorded without 'bias'"):
        found["0"].bias  # noqa: B018


def test_signatures_are_recorded(golden: Path) -> None:
    """A function of torch in Python keeps its signature, so that its arguments have their names."""

    class Enlarge(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.nn.functional.interpolate(x, None, 2.0)

    path = golden.with_name("enlarge.safetensors")
    given = small.picture()
    parity.record(Pair(name="e", reference=Enlarge().eval(), port=None), [given], path)
    (call,) = RecordedReference(path).calls(given).values()
    assert inspect.signature(call.function).bind(*call.args, **call.kwargs).arguments["scale_factor"] == 2.0
    assert inspect.signature(call.function).parameters["mode"].default == "nearest"


@pytest.mark.parametrize(
    "value",
    [
        None, True, 7, 2.5, "text", (1, (2, None)), [1, [2]], {"a": (1,)}, slice(None, 3, 2), Ellipsis, Read("conv"),
        (Read("a"), [Read("b")], {"dim": -1}), (), [], {},
    ],
    ids=repr,
)  # fmt: skip
def test_arguments_come_back(value: object) -> None:
    """What a call was given comes back from its JSON as it was."""
    assert decoded(json.loads(json.dumps(encoded(value, str))), np.asarray) == value


def test_what_has_no_form_in_json_is_kept_in_words() -> None:
    """A type, a device or a function is the words that it prints as; an array is fetched by its name."""
    assert repr(decoded(encoded((torch.float16, torch.device("cpu")), str), np.asarray)) == "(torch.float16, cpu)"
    kept: list[Any] = []
    written = encoded([torch.arange(3)], lambda tensor: kept.append(tensor) or "name")
    assert written == [{"array": "name"}]
    assert len(kept) == 1
    (fetched,) = decoded(written, lambda name: np.frombuffer(name.encode(), np.uint8))
    assert fetched.tobytes() == b"name"


# -- files that are refused -------------------------------------------------------------------------------------------


def changed(golden: Path, to: Path, **header: object) -> Path:
    """The recording with other words in its header."""
    arrays = load_file(golden)
    said = json.loads(RecordedReference(golden).header.model_dump_json(by_alias=True))
    save_file(arrays, to, {KEY: json.dumps({**said, **header})})
    return to


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ({"schema": 99}, "is a recording of schema 99, and this parity reads schema 1; record again"),
        ({"side": "port"}, "is a recording of a port, and a reference is needed"),
        ({"runs": 7}, "is damaged: runs: Input should be a valid"),
        ({"more": 7}, "is damaged: more: Extra inputs are not permitted"),
    ],
)
def test_headers_that_are_not_known_are_refused(
    header: dict[str, object], problem: str, golden: Path, tmp_path: Path
) -> None:
    """A file of another schema, of the other side, or with words that are not known is refused with its name."""
    path = changed(golden, tmp_path / "x.safetensors", **header)
    with pytest.raises(RecordingError, match=f"x.safetensors {problem}"):
        RecordedReference(path)


def test_the_changed_file_is_read_where_nothing_is_wrong(golden: Path, tmp_path: Path, given: Input) -> None:
    """The files above are refused for what was changed in them, not for having been written again."""
    again = RecordedReference(changed(golden, tmp_path / "x.safetensors"))
    assert [tap.name for tap in again.taps(given).taps][:2] == ["first", "slope"]


def test_files_that_are_no_recordings_are_refused(tmp_path: Path, golden: Path) -> None:
    """A file that is not there, not of safetensors, cut off, or of other tensors is refused in one sentence."""
    (tmp_path / "text").write_text("no tensors")
    (tmp_path / "cut").write_bytes(golden.read_bytes()[:-5])
    save_file({"a": np.zeros(3)}, tmp_path / "other")
    save_file({"a": np.zeros(3)}, tmp_path / "odd", {KEY: "[]"})
    for name, problem in {
        "none": "cannot read .*none: No such file",
        "text": "text is no safetensors file, or not whole",
        "cut": "cut is no safetensors file, or not whole",
        "other": "other is a safetensors file, but no recording that parity has made",
        "odd": "odd is damaged: its metadata has no side",
    }.items():
        with pytest.raises(RecordingError, match=problem) as caught:
            side_of(tmp_path / name)
        assert caught.value.exit_code == 3
        assert "\n" not in str(caught.value)


def test_damaged_values_are_noticed(golden: Path, tmp_path: Path, given: Input) -> None:
    """One bit that differs in a value is noticed when it is read, and so is a value that is missing."""
    whole = golden.read_bytes()
    value = load_file(golden)["runs/0/values/cat"].tobytes()
    place = whole.rindex(value) + 5
    path = tmp_path / "bad.safetensors"
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    reference = RecordedReference(path)
    assert reference.values(given, ["second"])["second"].shape == (1, 5, 6, 7)
    with pytest.raises(RecordingError, match="is damaged: runs/0/values/cat is not what was written"):
        reference.values(given, ["cat"])
    with pytest.raises(RecordingError, match="is damaged: it lacks runs/0/nothing"):
        reference._file.array("runs/0/nothing")


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, golden: Path, pair: Pair, given: Input) -> None:
    """What fails half-way leaves the old file as it was and nothing else; so does a type that cannot be kept."""
    path = tmp_path / "kept.safetensors"
    path.write_bytes(golden.read_bytes())

    class Random(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.nn.functional.dropout(x * 2, 0.5, training=True)

    with pytest.raises(PairError, match="gives other values at 'dropout' each time; nothing can be recorded"):
        parity.record(replace(pair, reference=Random().eval()), [given], path)
    with (
        pytest.raises(RecordingError, match="z has values of type complex64, which cannot be recorded"),
        written(path) as (
            writer,
            _,
        ),
    ):
        writer.put("z", np.zeros(3, np.complex64))
    assert [each.name for each in tmp_path.iterdir()] == ["kept.safetensors"]
    assert path.read_bytes() == golden.read_bytes()
    with pytest.raises(RecordingError, match=r"cannot write .*nowhere/a\.safetensors: No such file or directory"):
        parity.record(pair, [given], tmp_path / "nowhere" / "a.safetensors")
