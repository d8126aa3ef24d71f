"""The program in examples/: built with the system's compiler, it computes what parity's report says of a file."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import parity
from parity.axes import Array
from parity.frameworks import tf, torch
from parity.inputs import motorcycle
from parity.models.flownet import seeded
from parity.models.flownet.pair import pair_from

SOURCE = Path(__file__).parents[2] / "examples" / "flow.c"
WIDTH, HEIGHT = 64, 64
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C compiler is installed")


def printed_build() -> str:
    """The command that docs/artifacts.md builds it with."""
    page = (SOURCE.parents[1] / "docs" / "artifacts.md").read_text(encoding="utf-8")
    (found,) = re.findall(r"^\$ (cc examples/flow\.c .*?)$(?=\n\$ )", page, flags=re.M | re.S)
    return str(found)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, built as the page says, and with all warnings as errors."""
    folder = tmp_path_factory.mktemp("program")
    (folder / "examples").mkdir()
    shutil.copy(SOURCE, folder / "examples")
    command = printed_build().replace("cc ", f"{COMPILER} -Wall -Wextra -Werror ", 1)
    environment = {**os.environ, "TF": tf.sysconfig.get_lib()}
    subprocess.run(["sh", "-ec", command], cwd=folder, env=environment, check=True, timeout=300)
    return folder / "flow"


def run(program: Path, *words: object) -> "subprocess.CompletedProcess[str]":
    """The program, quietly."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.run(
        [str(program), *map(str, words)], capture_output=True, text=True, timeout=300, env=environment
    )


@dataclass(frozen=True)
class Shipped:
    """A reference, the frozen graph of its port, and the motorcycle pictures as the reference takes them."""

    reference: Any
    file: Path
    pictures: parity.Input

    @property
    def frames(self) -> Array:
        """The pictures: 1, RGB, 2, H, W."""
        return next(iter(self.pictures.arrays.values()))

    def flow(self) -> Array:
        """What the reference makes of them: 1, u and v, H, W."""
        with torch.no_grad():
            return np.asarray(self.reference(torch.from_numpy(self.frames)).double().numpy())


@pytest.fixture(scope="module")
def shipped(flownet_graph: Path) -> Shipped:
    """FlowNet2-SD as a frozen graph."""
    return Shipped(seeded(0), flownet_graph, motorcycle((WIDTH, HEIGHT)))


def sums(program: Path, file: Path, frames: Array, folder: Path) -> dict[str, float]:
    """What the program prints of frames (1, RGB, 2, H, W): the sums of u and v."""
    np.ascontiguousarray(frames.transpose(0, 2, 3, 4, 1)).tofile(folder / "frames.raw")  # 1, 2, H, W, RGB
    done = run(program, file, folder / "frames.raw", HEIGHT, WIDTH)
    assert done.returncode == 0, done.stderr
    return {name: float(value) for name, value in map(str.split, done.stdout.splitlines())}


def test_the_program_computes_what_the_report_says(program: Path, shipped: Shipped, tmp_path: Path) -> None:
    """The sums of the flow differ from the reference's by no more than the report's error of the output allows.

    The mean of a difference is at most its RMSE, so sums of N values differ by at most N times that. Those of other
    pictures, the same two in the other order, are farther off: the comparison can fail.
    """
    report = parity.verify(pair_from(shipped.reference, shipped.file), [shipped.pictures])
    assert report.passed
    rmse = next(iter(report.runs[0].deviations.values())).rmse
    # The RMSE is of both channels together, so one's may be larger by the square root of two; and twice that for
    # another order of summing, since the program uses as many threads as it likes.
    allowed = 2 * np.sqrt(2) * rmse * WIDTH * HEIGHT
    flow = shipped.flow()
    right = sums(program, shipped.file, shipped.frames, tmp_path)
    wrong = sums(program, shipped.file, shipped.frames[:, :, ::-1], tmp_path)
    for place, name in enumerate("uv"):
        assert abs(right[name] - flow[:, place].sum()) <= allowed
        assert abs(wrong[name] - flow[:, place].sum()) > 100 * allowed


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "usage: flow net.pb frames.raw HEIGHT WIDTH"),
        (("gone.pb", "gone.raw", HEIGHT, WIDTH), "gone.pb: failed"),
        (("text.pb", "text.pb", HEIGHT, WIDTH), "the graph: "),
    ],
)
def test_the_program_says_what_is_wrong(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[object, ...], said: str
) -> None:
    """Without files, and with one that is no graph, it ends with 1 and a sentence."""
    monkeypatch.chdir(tmp_path)
    Path("text.pb").write_text("no graph")
    done = run(program, *words)
    assert done.returncode == 1
    assert said in done.stderr.splitlines()[-1]
