"""Inputs from files: arrays as they are, pictures as a network takes them, folders in order."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from parity.errors import InputError
from parity.inputs import arrays_from, folder, image

COLOURS = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A picture of 7x5 pixels, each of another colour."""
    Image.fromarray(COLOURS).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_arrays_keep_their_names_and_types(tmp_path: Path) -> None:
    """An .npz file has its arrays by name, an .npy file one without; float64 becomes float32, nothing else changes."""
    np.savez(tmp_path / "a.npz", ids=np.arange(3), image=np.ones((2, 3)))
    np.save(tmp_path / "b.npy", np.ones((5, 2), np.float32))
    found = arrays_from(tmp_path / "a.npz")
    assert {name: array.dtype.name for name, array in found.items()} == {"ids": "int64", "image": "float32"}
    assert arrays_from(tmp_path / "b.npy")[""].shape == (5, 2)


@pytest.mark.parametrize("content", [b"", b"not an array", b"PK\x03\x04 cut short"])
def test_a_broken_file_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    """What cannot be read is named."""
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"cannot read .*a\.npz"):
        arrays_from(tmp_path / "a.npz")


def test_objects_are_never_loaded(tmp_path: Path) -> None:
    """A file with pickled objects in it is refused: loading them could run anything."""
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object))
    with pytest.raises(InputError, match=r"cannot read .*a\.npy"):
        arrays_from(tmp_path / "a.npy")


def test_a_folder_is_sorted_as_people_count(tmp_path: Path) -> None:
    """frame2 comes before frame10, other files are left out, and a limit takes the first."""
    for name in ("frame10.png", "frame2.png", "b.npz", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in folder(tmp_path)] == ["b.npz", "frame2.png", "frame10.png"]
    assert [path.name for path in folder(tmp_path, 2)] == ["b.npz", "frame2.png"]


def test_a_folder_without_inputs_is_refused(tmp_path: Path) -> None:
    """Nothing to compare on is an error."""
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match="holds no file that parity reads"):
        folder(tmp_path)


def test_a_picture_has_the_layout_asked_for(photo: Path) -> None:
    """RGB from 0 to 255 in float32, its axes where the network has them."""
    first, last = image(photo), image(photo, "NHWC")
    assert (first.shape, first.dtype) == ((1, 3, 5, 7), np.float32)
    assert np.array_equal(last[0], COLOURS)
    assert np.array_equal(first[0], COLOURS.transpose(2, 0, 1))


def test_a_picture_is_cropped_at_its_centre(photo: Path) -> None:
    """Never scaled: to the size, width first, or to multiples."""
    assert np.array_equal(image(photo, "NHWC", size=(3, 1))[0], COLOURS[2:3, 2:5])
    assert image(photo, multiple=2).shape == (1, 3, 4, 6)


def test_a_range_replaces_0_to_255(photo: Path) -> None:
    """Black becomes the low value, white the high one."""
    values = image(photo, "NHWC", values=(-1, 1))[0]
    np.testing.assert_allclose(values, COLOURS / 255 * 2 - 1, atol=1e-6)


def test_one_channel_is_gray(photo: Path) -> None:
    """A network of one channel gets the picture's luma."""
    gray = image(photo, channels=1)
    assert gray.shape == (1, 1, 5, 7)
    np.testing.assert_allclose(gray[0, 0], COLOURS @ [0.299, 0.587, 0.114], atol=1)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"size": (8, 5)}, "8x5 cannot be cut from .*photo.png: 7x5 pixels"),
        ({"multiple": 6}, "multiples of 6 cannot be cut from"),
        ({"channels": 4}, "of 1 or 3 channels, and the network takes 4"),
        ({"layout": "NCL"}, "is a picture, and the network takes NCL"),
    ],
)
def test_what_a_picture_cannot_be_is_refused(photo: Path, words: dict[str, object], sentence: str) -> None:
    """The picture and what was wanted of it are in the sentence."""
    with pytest.raises(InputError, match=sentence):
        image(photo, **words)  # type: ignore[arg-type]
