"""What a request is made of, and how a senseless one is refused."""

import os
from pathlib import Path

import numpy as np
import pytest
import records

from parity.errors import ReportFolderError, UsageError
from parity.pairs import Input
from parity.settings import (
    MODES,
    Options,
    RunSettings,
    engine_versions,
    ensure_target,
    ensure_writable,
    gathered,
    parse_modes,
    parse_size,
    report_folder,
    size_of,
)
from parity.tolerance import NoiseFloor, Tolerance


@pytest.mark.parametrize(("text", "size"), [("704x448", (704, 448)), (" 64X128 ", (64, 128))])
def test_a_size_is_width_by_height(text: str, size: tuple[int, int]) -> None:
    """Width comes first, as in image tools."""
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["512", "64x", "x64", "64*64", "64x64x3", "-64x64", "6.4x64", "", "٦٤x64", "9999999x64"]
)
def test_what_is_no_size_is_refused_by_value(text: str) -> None:
    """Anything else is refused, and the message repeats it."""
    with pytest.raises(UsageError) as refused:
        parse_size(text)
    assert str(refused.value) == f"size {text!r} is not WIDTHxHEIGHT in pixels, such as 704x448"


@pytest.mark.parametrize("text", ["0x64", "64x0"])
def test_an_empty_size_is_refused(text: str) -> None:
    """No picture is zero pixels wide or high."""
    with pytest.raises(UsageError, match=f"size '{text}': width and height must be at least 1"):
        parse_size(text)


def test_modes_keep_one_order() -> None:
    """However they are given, modes run as eager, graph, XLA, each once; none given means all."""
    assert parse_modes(["xla,eager", "eager"]) == ("eager", "xla")
    assert parse_modes([]) == MODES


def test_an_unknown_mode_is_refused() -> None:
    """A mode that does not exist is named with those that do."""
    with pytest.raises(UsageError, match=r"unknown mode 'jit'; the known ones are eager, graph, xla"):
        parse_modes(["eager", "jit"])


def test_defaults_are_the_models_own() -> None:
    """An empty request leaves inputs, size and weights to the model, in all modes, judged by the noise floor."""
    run = RunSettings.of("flownet", Options())
    assert (run.settings.inputs, run.settings.size, run.settings.checkpoint) == ((), None, None)
    assert (run.modes, run.policy, run.report_dir) == (MODES, NoiseFloor(), Path("reports"))


def test_everything_given_is_passed_on() -> None:
    """Each option finds its place, with its type."""
    options = Options(
        inputs=["noise", "ramp,noise"], images=["l.png", "r.png"], size="64x128", data_format="channels_first",
        checkpoint="w.pt", seed=7, port="p.keras", rtol=1e-3, atol=1e-5, report_dir="out",
    )  # fmt: skip
    run = RunSettings.of("flownet", options)
    assert run.settings.inputs == ("noise", "ramp")
    assert run.settings.images == (Path("l.png"), Path("r.png"))
    assert run.settings.size == (64, 128)
    assert (run.settings.data_format, run.settings.checkpoint) == ("channels_first", Path("w.pt"))
    assert (run.settings.seed, run.policy) == (7, Tolerance(rtol=1e-3, atol=1e-5))
    assert run.report_dir == Path("out")
    assert run.settings.port == Path("p.keras")
    assert run.words()["port"] == "p.keras"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (Options(seed=-1), "seed=-1: a seed must be 0 or more"),
        (Options(images=["l.png"]), "1 images given; a pair is two, left and right"),
        (Options(data_format="NHWC"), "NHWC"),
        (Options(atol=1e-5), "atol given without rtol"),
        (Options(rtol=float("nan"), atol=0.0), "rtol=nan is not a tolerance"),
    ],
)
def test_a_senseless_request_is_refused_by_value(options: Options, sentence: str) -> None:
    """What is wrong is said with its value, as wrong use."""
    with pytest.raises(UsageError, match=sentence):
        RunSettings.of("flownet", options)


def test_the_command_repeats_what_differs_from_the_defaults() -> None:
    """The command of a report asks for the same, quoted for a shell, and says nothing that is usual anyway."""
    assert RunSettings.of("flownet", Options()).command() == "parity verify flownet"
    options = Options(
        size="64x64",
        checkpoint="my weights.pt",
        rtol=1e-3,
        atol=1e-5,
        data_format="channels_first",
        port="my port.keras",
    )
    assert RunSettings.of("flownet", options).command() == (
        "parity verify flownet --size 64x64 --data-format channels_first --checkpoint 'my weights.pt' "
        "--port 'my port.keras' --rtol 0.001 --atol 1e-05"
    )


def test_an_input_has_a_size_in_words() -> None:
    """Images are width by height; flatter inputs give their shape; several are joined, equal ones counted."""
    assert size_of(Input(name="a", array=np.zeros((1, 3, 2, 5, 7), np.float32))) == "7x5"
    assert size_of(Input(name="a", array=np.zeros((2, 7), np.float32))) == "2x7"
    image, tokens = np.zeros((1, 3, 5, 7), np.float32), np.zeros((2, 7), np.int64)
    assert size_of(Input(name="a", args=(image, tokens))) == "7x5+2x7"
    assert size_of(Input(name="a", args=(image,), kwargs={"ids": tokens, "mask": tokens > 0})) == "7x5+2*2x7"


def test_shapes_and_ranges_are_read() -> None:
    """With or without an input's name; what is none is refused, and the message repeats it."""
    run = RunSettings.of("own.py:pair", Options(shapes=["1,3,5,7", "mask=2x7"], range="-1,0.5", map="m.yaml"))
    assert run.settings.shapes == {"": (1, 3, 5, 7), "mask": (2, 7)}
    assert (run.settings.values, run.settings.map) == ((-1.0, 0.5), Path("m.yaml"))
    assert run.command() == ("parity verify own.py:pair --map m.yaml --shape 1,3,5,7 --shape mask=2,7 --range=-1,0.5")
    assert (run.words()["weights"], run.words()["map"]) == ("the pair's own", "m.yaml")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (Options(shapes=["3,0"]), "shape '3,0' is not a list of sizes, such as 1,3,64,96 or mask=1,7"),
        (Options(shapes=["mask"]), "shape 'mask' is not a list of sizes"),
        (Options(shapes=["a=1", "a=2"]), "shape 'a=2': there is one for a already"),
        (Options(range="255"), "range '255' is not LOW,HIGH, such as 0,255"),
        (Options(range="1,1"), "range '1,1': low must be less than high"),
        (Options(range="0,inf"), "range '0,inf': low must be less than high, and both finite"),
        (Options(limit=0), "limit=0: at least one file is needed"),
    ],
)
def test_a_senseless_shape_or_range_is_refused_by_value(options: Options, sentence: str) -> None:
    """What is wrong is said with its value, as wrong use."""
    with pytest.raises(UsageError, match=sentence):
        RunSettings.of("own.py:pair", options)


def test_a_folder_that_can_be_made_is_writable_and_not_made() -> None:
    """The check makes nothing."""
    ensure_writable(Path("new") / "folder")
    assert not Path("new").exists()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    """A file in the way, a link to nowhere and a read-only place are refused, naming the folder."""
    (tmp_path / "file").touch()
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    for folder in (tmp_path / "file" / "reports", tmp_path / "broken", Path("/proc/reports")):
        with pytest.raises(ReportFolderError, match=f"cannot write reports to {folder}: "):
            ensure_writable(folder)


@pytest.mark.parametrize("name", ["report.json", "report.html", "history.jsonl"])
def test_a_folder_in_the_place_of_the_report_is_refused(tmp_path: Path, name: str) -> None:
    """A folder called as one of the files of a report is noticed before the long work, not after."""
    (tmp_path / name).mkdir()
    with pytest.raises(ReportFolderError, match=f"{name} is a folder"):
        ensure_writable(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    """Permissions are tried, not guessed."""
    tmp_path.chmod(0o500)
    with pytest.raises(ReportFolderError, match="Permission denied"):
        ensure_writable(tmp_path / "reports")


def test_a_target_is_a_new_keras_file(tmp_path: Path) -> None:
    """A file that can be written, in a folder that can be made, is accepted, and nothing is made."""
    ensure_target(tmp_path / "new" / "fixed.keras", tmp_path / "port.keras", force=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["fixed", "fixed.h5", "fixed.keras.bak", ".keras"])
def test_a_target_with_another_ending_is_refused(name: str) -> None:
    """Keras writes by the ending, so another one is wrong use, with or without --force."""
    for force in (False, True):
        with pytest.raises(UsageError, match=r"give it the ending \.keras"):
            ensure_target(Path(name), None, force=force)


def test_a_target_that_exists_needs_force(tmp_path: Path) -> None:
    """An older file is overwritten only where that was asked for."""
    (tmp_path / "fixed.keras").touch()
    with pytest.raises(UsageError, match=r"fixed\.keras exists; --force overwrites it"):
        ensure_target(tmp_path / "fixed.keras", None, force=False)
    ensure_target(tmp_path / "fixed.keras", None, force=True)


@pytest.mark.parametrize("link", [False, True])
def test_the_port_itself_is_no_target(tmp_path: Path, *, link: bool) -> None:
    """Not even with --force, nor under another name."""
    port, target = tmp_path / "port.keras", tmp_path / ("link.keras" if link else "port.keras")
    port.touch()
    if link:
        target.symlink_to(port)
    with pytest.raises(UsageError, match="is the port itself, which is never touched"):
        ensure_target(target, port, force=True)


def test_a_target_that_cannot_be_written_is_called_by_its_name() -> None:
    """The file that cannot be written is in the sentence, and no report is spoken of."""
    with pytest.raises(ReportFolderError, match=r"cannot write /proc/fixed\.keras"):
        ensure_target(Path("/proc/fixed.keras"), None, force=False)


@pytest.mark.parametrize("force", [False, pytest.param(True)])
def test_a_folder_in_the_place_of_a_target_is_refused(tmp_path: Path, *, force: bool) -> None:
    """A folder called fixed.keras is noticed before the long work, --force or not."""
    (tmp_path / "fixed.keras").mkdir()
    with pytest.raises((UsageError, ReportFolderError)):
        ensure_target(tmp_path / "fixed.keras", None, force=force)


def test_a_pair_of_a_module_path_has_one_folder() -> None:
    """A name with colons or slashes makes no further folders."""
    assert report_folder(Path("reports"), "pkg.mod:pair/x") == Path("reports/pkg.mod_pair_x")


def test_a_gathered_report_says_what_is_missing() -> None:
    """Reports of single inputs become one; what is missing from it is on record only where something is."""
    reports = [records.report((name,)) for name in ("noise", "ramp")]
    assert [run.input for run in gathered(reports).runs] == ["noise", "ramp"]
    assert "unfinished" not in gathered(reports).settings
    assert gathered(reports, "no time").settings["unfinished"] == "no time"


def test_versions_need_no_import() -> None:
    """Each engine's version is known from its metadata."""
    assert set(engine_versions()) == {"torch", "tensorflow", "keras"}
    assert all(version[0].isdigit() for version in engine_versions().values())


@pytest.mark.parametrize("name", ["report.json", "report.html", "fixed.keras"])
def test_what_is_no_file_is_refused_before_the_run(tmp_path: Path, name: str) -> None:
    """A pipe in the place of what a run writes is refused, whatever may be overwritten, and stays."""
    os.mkfifo(tmp_path / name)
    with pytest.raises(ReportFolderError, match=f"{name} is a device, a pipe or a socket"):
        ensure_target(tmp_path / "fixed.keras", None, force=True)
    assert (tmp_path / name).is_fifo()
