"""A file in the place of a pair's port: what it takes, in which mode it runs, what is refused."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

import parity
from parity.artifacts.port import ArtifactPort, artifact_port, taken_by
from parity.artifacts.shipped import Shipped, kind_of, modes_of, refuse_shipped, shipped
from parity.axes import Array
from parity.errors import ArtifactError, UsageError
from parity.frameworks import keras
from parity.runners.segments import REFUSED
from parity.runners.taps import MODES
from parity.settings import Options, RunSettings
from parity.verification import Verifier

OWN_ENGINE = ("pb", "saved_model", "tflite", "onnx")


@pytest.mark.parametrize("kind", tiny.WORDS)
def test_a_file_runs_in_its_own_mode_and_a_keras_file_in_those_of_keras(files: dict[str, Path], kind: str) -> None:
    """Whatever the default is; by its content, under any name."""
    own = kind in OWN_ENGINE
    assert kind_of(files[kind]) == (kind if own else "")
    assert modes_of(files[kind], MODES) == ((kind,) if own else MODES)
    assert modes_of(Shipped(path=files[kind]), MODES) == ((kind,) if own else MODES)
    assert RunSettings.of("tiny", Options(port=files[kind])).modes == ((kind,) if own else MODES)


@pytest.mark.parametrize("kind", tiny.WORDS)
def test_every_kind_of_file_is_verified_through_the_same_door(files: dict[str, Path], kind: str) -> None:
    """A pair with the file for its port passes, in the modes that the file has."""
    report = parity.verify(tiny.mypair(files[kind]))
    assert report.passed
    assert [run.mode for run in report.runs] == list(modes_of(files[kind], MODES))


def test_its_own_mode_may_be_asked_for_and_no_other(files: dict[str, Path]) -> None:
    """`--mode pb` is no mistake; `--mode eager` is, and so is `--mode pb` for a Keras file."""
    assert RunSettings.of("tiny", Options(port=files["pb"], modes=["pb"])).modes == ("pb",)
    with pytest.raises(UsageError, match=r"mode eager is for Keras models; .*tiny\.pb is run by an engine of its own"):
        RunSettings.of("tiny", Options(port=files["pb"], modes=["eager"]))
    with pytest.raises(UsageError, match="unknown mode 'pb'"):
        RunSettings.of("tiny", Options(port=files["keras"], modes=["pb"]))


def test_what_is_no_path_is_no_file() -> None:
    """A model, a builder and "module:attr" are what they were."""
    for port in (keras.Model, "pkg.module:build", "file.py:build", lambda: None):
        assert shipped(port) is None
        assert kind_of(port) == ""
        assert artifact_port(port) is None
        refuse_shipped(port, "repaired")


def test_what_a_file_takes_is_read_from_it_and_it_is_opened_once(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its own layout, with None for a batch of any size; the next to ask for the file gets the same engine."""
    opened: list[Path] = []
    make = ArtifactPort.__init__

    def counted(self: ArtifactPort, path: Path, kind: str) -> None:
        opened.append(path)
        make(self, path, kind)

    monkeypatch.setattr(ArtifactPort, "__init__", counted)
    (taken,) = taken_by(files["pb"]) or ()
    assert (taken.name, taken.shape[1:], taken.dtype) == ("image", (7, 6, 3), "float32")
    first, second = artifact_port(files["pb"]), artifact_port(files["pb"])
    assert first is not second
    assert opened == [files["pb"], files["pb"]]
    assert taken_by(files["keras"]) is None


def test_a_file_that_was_written_anew_is_opened_anew(files: dict[str, Path], tmp_path: Path) -> None:
    """What was seen of the old one does not stand for the new one."""
    path = tmp_path / "net.pb"
    path.write_bytes(files["pb"].read_bytes())
    taken_by(path)
    path.write_bytes(files["pb"].read_bytes()[:100])
    with pytest.raises(ArtifactError):
        artifact_port(path)


def test_inputs_of_a_users_pair_are_made_from_what_the_file_takes(files: dict[str, Path], tmp_path: Path) -> None:
    """No sizes are asked for: the file has them."""
    from parity.models import Settings
    from parity.models.feeding import Feeding

    pair = dataclasses.replace(tiny.mypair(files["onnx"]), inputs=())
    _, inputs = Feeding(pair, Settings(), None).fed()
    assert [given.array.shape for given in inputs] == [(1, 3, 7, 6)]


def test_an_operation_that_is_refused_can_be_allowed_by_name(files: dict[str, Path]) -> None:
    """What a file may do, and how large it may be, comes with the path."""
    assert artifact_port(Shipped(path=files["pb"], allow=("ReadFile",))) is not None
    with pytest.raises(ArtifactError, match="at most 10 are allowed"):
        artifact_port(Shipped(path=files["pb"], largest=10))


def test_a_segment_that_refuses_the_references_values_is_told_and_the_others_run(files: dict[str, Path]) -> None:
    """One of another shape does not take the rest along."""
    subject = Verifier(tiny.mypair(files["pb"])).subject(tiny.mypair().inputs[0])  # type: ignore[index]
    port: Any = subject.port
    port.feeds = {"input": "input"}
    arrays: dict[str, Array] = {"input": tiny.image().transpose(0, 2, 3, 1)}
    every = port.every_value(arrays, "pb")
    segments = port.segments({name: name for name in every})
    wrong = {**every, **arrays, "leaky": np.zeros((1, 5, 5, 4), np.float32)}
    made = {segment.layer: value for segment, value in port.introduce(segments, wrong, "pb")}
    assert made["second"] is REFUSED
    assert np.array_equal(made["first"], every["first"])


def test_a_file_does_not_change_and_has_no_model_to_fill(files: dict[str, Path]) -> None:
    """Filling it is refused in a sentence."""
    port = artifact_port(files["pb"])
    assert port is not None
    port.restore()
    with pytest.raises(UsageError, match="verified as it is"):
        _ = port.model
