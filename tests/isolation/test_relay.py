"""A reference in another process: its values come from a file that is gone at once, its calls are made again there."""

import os
import subprocess
import sys
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

import numpy as np
import pytest

from parity.errors import PairError
from parity.frameworks import torch
from parity.inputs import noise
from parity.isolation.folder import PREFIX, new_folder, sweep
from parity.isolation.relay import Asked, RelayedReference, listen, record
from parity.pairs import Pair
from parity.runners.torch_module import TorchModule


class Net(torch.nn.Module):
    """(1, 2, 5, 7) to (1, 3, 5, 7)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(2, 3, 3, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """A convolution and its activation."""
        return torch.relu(self.conv(image))


def test_values_and_calls_are_the_references(tmp_path: Path) -> None:
    """The port's process reads the same values, and has calls made again on others; what fails there is told here."""
    reference = TorchModule(Net().eval())
    pair = Pair(name="net", reference=None, port=None)
    inputs = [noise((1, 2, 5, 7), seed=seed, low=-1, high=1) for seed in (0, 1)]
    for number, given in enumerate(inputs):
        record(reference, pair, given, tmp_path / f"{number}.recording", lambda text, fraction: None)

    asked: SimpleQueue[Asked | None] = SimpleQueue()
    listen(tmp_path / "calls", asked.put)

    def answer() -> None:
        while one := asked.get():
            try:
                one.answer(reference.calls(inputs[0])[one.tap].on_arrays(one.values))
            except RuntimeError as error:
                one.answer(str(error))

    thread = Thread(target=answer)
    thread.start()
    relayed = RelayedReference(tmp_path / "0.recording", tmp_path / "calls")
    for number, given in enumerate(inputs):
        if number:
            relayed.turn_to(tmp_path / f"{number}.recording")
        assert not (tmp_path / f"{number}.recording").exists()
        np.testing.assert_array_equal(
            relayed.values(given, ["conv"])["conv"], reference.values(given, ["conv"])["conv"]
        )
        call = relayed.calls(given)["conv"]
        assert call.repeatable
        other = {"input": np.full((1, 2, 5, 7), 0.5, np.float32)}
        np.testing.assert_array_equal(call.on_arrays(other), reference.calls(given)["conv"].on_arrays(other))
        with pytest.raises(PairError, match="channels"):
            call.on_arrays({"input": np.zeros((1, 3, 5, 7), np.float32)})
    asked.put(None)
    thread.join()


def test_a_reference_that_is_gone(tmp_path: Path) -> None:
    """A call to a process that is not there is an error of the pair's, not a hang."""
    record(TorchModule(Net().eval()), Pair(name="net", reference=None, port=None), noise((1, 2, 5, 7), seed=0),
           tmp_path / "0.recording", lambda text, fraction: None)  # fmt: skip
    relayed = RelayedReference(tmp_path / "0.recording", tmp_path / "nobody")
    call = relayed.calls(relayed.inputs[0])["conv"]
    with pytest.raises(PairError, match="does not answer"):
        call.on_arrays({"input": np.zeros((1, 2, 5, 7), np.float32)})


def test_what_the_dead_left_is_swept(tmp_path: Path) -> None:
    """The folder of a supervisor that is gone goes with the next one; those of the living stay, and others."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for name in (f"{PREFIX}{gone.pid}-a", f"{PREFIX}{os.getpid()}-b", f"{PREFIX}other"):
        (tmp_path / name).mkdir()
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f"{PREFIX}{os.getpid()}-b", f"{PREFIX}other"])
    assert new_folder(tmp_path).name.startswith(f"{PREFIX}{os.getpid()}-")
