"""Pictures become the values the user sees, or are refused in one sentence that says which file and why."""

import re
import struct
import zlib

import numpy as np
import pytest
import skimage.data
from PIL import Image

from parity.errors import InputError
from parity.inputs import image_pair, motorcycle

WIDTH, HEIGHT = 7, 5


def pixels(seed, height=HEIGHT, width=WIDTH):
    """A picture of noise, (height, width, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def small_pair(left, right, **options):
    """image_pair() on the small pictures of these tests, which no network would take."""
    return image_pair(left, right, **{"multiple": 1, **options})


def saved(path, array, mode=None, **options):
    """`array` written to `path` by Pillow; returns `path`."""
    picture = Image.fromarray(array)
    (picture if mode is None else picture.convert(mode)).save(path, **options)
    return path


def written(path, content):
    """`content` written to `path`; returns `path`."""
    path.write_bytes(content)
    return path


def png(width, height, depth, colour, rows, *extra):
    """A PNG made by hand, for what Pillow does not write: rows of packed bytes, extra chunks (type, data)."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in [*chunks, (b"IEND", b"")])


@pytest.fixture
def good(tmp_path):
    """A readable 7x5 picture, to stand on the other side of one that is not."""
    return saved(tmp_path / "good.png", pixels(0))


def refusal(left, right, **options):
    """The one sentence with which a pair is refused."""
    with pytest.raises(InputError) as caught:
        small_pair(left, right, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


# The stereo pair of scikit-image


def test_motorcycle_is_the_centre_of_the_left_and_right_picture():
    """The array is (1, 3, 2, 448, 704), float32 of 0 to 255, and each frame the centre of its picture."""
    made = motorcycle()
    assert (made.name, made.array.dtype, made.array.shape) == ("motorcycle", np.float32, (1, 3, 2, 448, 704))
    for frame, picture in enumerate(skimage.data.stereo_motorcycle()[:2]):
        for channel in range(3):
            expected = picture[26:474, 18:722, channel].astype(np.float32)
            np.testing.assert_array_equal(made.array[0, channel, frame], expected, strict=True)
    assert made.array.flags.c_contiguous


def test_motorcycle_says_where_it_comes_from():
    """The origin names the source, the picture's size and the crop."""
    assert motorcycle((64, 128)).origin == (
        "skimage.data.stereo_motorcycle(), Middlebury 2014: 741x500, centre-cropped to 64x128"
    )


def test_motorcycle_needs_no_network(monkeypatch):
    """The pair is read from the installed files: no name is looked up and no connection made."""
    import socket

    def offline(*_args, **_options):
        raise AssertionError("tried to use the network")

    monkeypatch.setattr(socket.socket, "connect", offline)
    monkeypatch.setattr(socket, "getaddrinfo", offline)
    assert motorcycle((64, 128)).array.shape == (1, 3, 2, 128, 64)


def test_the_whole_motorcycle_is_the_largest_crop():
    """A crop of the picture's own size is the picture."""
    assert motorcycle((741, 500)).array.shape == (1, 3, 2, 500, 741)


@pytest.mark.parametrize("size", [(768, 448), (704, 512), (0, 448), (704, -64)])
def test_a_crop_that_does_not_fit_the_motorcycle_is_refused(size):
    """A size that cannot be cut is an InputError that says it and the picture's size."""
    with pytest.raises(InputError, match=rf"^{size[0]}x{size[1]} cannot be cut from .*: 741x500 pixels$"):
        motorcycle(size)


# Pairs of files: what is read


def test_a_pair_keeps_every_value_in_its_place(tmp_path):
    """Axis 1 is RGB, axis 2 left and right, then height and width, with the values of the files."""
    left, right = pixels(1), pixels(2)
    made = small_pair(saved(tmp_path / "l.png", left), saved(tmp_path / "r.png", right))
    assert (made.name, made.array.dtype, made.array.shape) == ("images", np.float32, (1, 3, 2, HEIGHT, WIDTH))
    for frame, picture in enumerate((left, right)):
        for channel in range(3):
            np.testing.assert_array_equal(made.array[0, channel, frame], picture[:, :, channel])


def test_the_origin_names_both_files(tmp_path):
    """The origin says both paths, the pictures' size and the crop."""
    left, right = saved(tmp_path / "l.png", pixels(1)), saved(tmp_path / "r.png", pixels(2))
    assert small_pair(left, right, size=(3, 2)).origin == f"{left} and {right}: 7x5, centre-cropped to 3x2"


def test_without_a_size_the_largest_multiples_are_cut_at_the_centre(tmp_path):
    """150x203 becomes 128x192, the borders split as NVIDIA's loader does: the smaller half first."""
    left, right = pixels(1, 203, 150), pixels(2, 203, 150)
    made = image_pair(saved(tmp_path / "l.png", left), saved(tmp_path / "r.png", right))
    assert made.array.shape == (1, 3, 2, 192, 128)
    np.testing.assert_array_equal(made.array[0, 1, 1], right[5:197, 11:139, 1])


def test_a_given_size_is_cut_at_the_centre(tmp_path):
    """A size is width first, then height, cut from the middle."""
    left, right = pixels(1), pixels(2)
    made = small_pair(saved(tmp_path / "l.png", left), saved(tmp_path / "r.png", right), size=(4, 3))
    np.testing.assert_array_equal(made.array[0, 2, 0], left[1:4, 1:5, 2])


def ppm(magic, array, maxval=255):
    """`array` (height, width[, 3]) as a PPM of `magic`, with comments in its header."""
    height, width = array.shape[:2]
    head = f"{magic}\n# made by hand\n{width} {height} # unequal\n{maxval}\n".encode()
    if magic in ("P2", "P3"):
        return head + " ".join(map(str, array.ravel())).encode() + b"\n"
    return head + array.astype(">u2" if maxval > 255 else "u1").tobytes()


@pytest.mark.parametrize("magic", ["P3", "P6"])
def test_colour_ppm_is_read_in_both_forms(tmp_path, good, magic):
    """Ascii and binary PPM give the values written, whatever the file is called."""
    array = pixels(3)
    made = small_pair(written(tmp_path / "left.dat", ppm(magic, array)), good)
    np.testing.assert_array_equal(made.array[0, :, 0], array.transpose(2, 0, 1))


@pytest.mark.parametrize("magic", ["P2", "P5"])
def test_gray_ppm_is_repeated_to_three_channels(tmp_path, good, magic):
    """Ascii and binary PGM give their gray in all three channels."""
    gray = pixels(3)[:, :, 0]
    made = small_pair(written(tmp_path / "left.pgm", ppm(magic, gray)), good)
    np.testing.assert_array_equal(made.array[0, :, 0], np.stack([gray] * 3))


@pytest.mark.parametrize("magic", ["P2", "P5"])
def test_a_low_maxval_is_scaled_up_to_255(tmp_path, good, magic):
    """With maxval 15 the level 15 is white, 255."""
    gray = np.arange(35).reshape(HEIGHT, WIDTH) % 16
    made = small_pair(written(tmp_path / "left.pgm", ppm(magic, gray, 15)), good)
    np.testing.assert_array_equal(made.array[0, 0, 0], gray * 17)


def test_jpeg_is_read(tmp_path, good):
    """A JPEG gives what Pillow decodes, in RGB."""
    path = saved(tmp_path / "left.jpg", pixels(4), quality=95)
    with Image.open(path) as picture:
        expected = np.asarray(picture.convert("RGB")).transpose(2, 0, 1)
    np.testing.assert_array_equal(small_pair(path, good).array[0, :, 0], expected)


def test_a_gray_jpeg_is_repeated_to_three_channels(tmp_path, good):
    """A JPEG of one channel gives three equal ones."""
    frame = small_pair(saved(tmp_path / "left.jpg", pixels(4), "L"), good).array[0, :, 0]
    np.testing.assert_array_equal(frame[0], frame[1])
    np.testing.assert_array_equal(frame[0], frame[2])


def test_gray_palette_and_one_bit_pictures_become_rgb(tmp_path, good):
    """L, P and 1 give the colours they stand for."""
    gray = pixels(5)[:, :, 0]
    made = small_pair(saved(tmp_path / "gray.png", gray), good)
    np.testing.assert_array_equal(made.array[0, :, 0], np.stack([gray] * 3))

    bit = np.where(gray > 127, 255, 0).astype(np.uint8)
    made = small_pair(saved(tmp_path / "bit.png", bit, "1"), good)
    np.testing.assert_array_equal(made.array[0, :, 0], np.stack([bit] * 3))

    colours = np.array([[9, 8, 7], [200, 100, 50]], dtype=np.uint8)
    palette = Image.fromarray((gray > 127).astype(np.uint8), "P")
    palette.putpalette(colours.tobytes())
    palette.save(tmp_path / "palette.png")
    made = small_pair(tmp_path / "palette.png", good)
    np.testing.assert_array_equal(made.array[0, :, 0], colours[(gray > 127).astype(int)].transpose(2, 0, 1))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_opaque_alpha_is_dropped(tmp_path, good, mode):
    """Where every pixel is opaque the alpha channel changes nothing."""
    plain = saved(tmp_path / "plain.png", pixels(6), "L" if mode == "LA" else "RGB")
    alpha = saved(tmp_path / "alpha.png", pixels(6), mode)
    np.testing.assert_array_equal(small_pair(alpha, good).array, small_pair(plain, good).array)


def test_an_exif_orientation_is_applied(tmp_path):
    """Two pictures of one scene, one stored turned with an EXIF note to turn it back, are equal frames."""
    upright = pixels(7)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to see it upright
    turned = saved(tmp_path / "turned.png", np.ascontiguousarray(np.rot90(upright)), exif=exif)
    made = small_pair(turned, saved(tmp_path / "upright.png", upright))
    np.testing.assert_array_equal(made.array[:, :, 0], made.array[:, :, 1])


# Pairs of files: what is refused


def test_a_missing_file_is_refused(tmp_path, good):
    """A path that leads nowhere is named."""
    path = tmp_path / "absent.png"
    assert refusal(path, good) == f"cannot read {path}: No such file or directory"
    assert refusal(good, path) == f"cannot read {path}: No such file or directory"


def test_a_directory_is_refused(tmp_path, good):
    """A directory is named as one."""
    assert refusal(tmp_path, good) == f"cannot read {tmp_path}: Is a directory"


def test_a_path_no_system_takes_is_refused(good):
    """A NUL in a path is an InputError, too."""
    assert "embedded null" in refusal("left\0.png", good)


def test_an_empty_file_is_refused(tmp_path, good):
    """A file of no bytes is called empty."""
    path = written(tmp_path / "left.png", b"")
    assert refusal(path, good) == f"{path} is empty; parity reads PNG, JPEG and PPM (P1 to P6)"


def test_a_file_that_is_no_picture_is_refused(tmp_path, good):
    """A text named .png is refused by content, and its first bytes are shown."""
    path = written(tmp_path / "left.png", b"once upon a time")
    assert refusal(path, good).startswith(f"{path} is no known image format (it begins with b'once upo')")


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "WEBP"])
def test_other_formats_are_refused_by_name(tmp_path, good, kind):
    """A picture of another format is refused even when named .png, and the format is said."""
    path = saved(tmp_path / "left.png", pixels(8), format=kind)
    assert re.match(rf"{re.escape(str(path))} is {kind} \(mode \w+\); parity reads PNG, JPEG", refusal(path, good))


def test_a_float_map_is_refused(tmp_path, good):
    """A PFM, which Pillow files under PPM, is refused with its mode."""
    path = written(tmp_path / "left.pfm", b"Pf\n7 5\n-1.0\n" + bytes(140))
    assert refusal(path, good).startswith(f"{path} is PPM (mode F)")


@pytest.mark.parametrize("suffix", ["png", "jpg", "ppm"])
def test_a_truncated_picture_is_refused(tmp_path, good, suffix):
    """Half a file is refused, never filled up with gray."""
    path = saved(tmp_path / f"left.{suffix}", pixels(9, 50, 70))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert re.match(rf"cannot read {re.escape(str(path))}: .*(truncated|broken)", refusal(path, good))


def test_a_truncated_ascii_ppm_is_refused(tmp_path, good):
    """Half the numbers are not a picture."""
    content = ppm("P3", pixels(9))
    path = written(tmp_path / "left.ppm", content[: len(content) // 2])
    assert refusal(path, good) == f"cannot read {path}: not enough image data"


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"P6\n7 "], ids=["png", "jpg", "ppm"])
def test_a_file_that_ends_in_its_header_is_refused(tmp_path, good, content):
    """A signature alone is not a picture."""
    path = written(tmp_path / "left", content)
    assert refusal(path, good).startswith(f"cannot read {path}: ")


def test_a_damaged_png_is_refused(tmp_path, good):
    """A flipped byte among the pixels is found by the file's checksums."""
    content = bytearray(saved(tmp_path / "left.png", pixels(9, 50, 70)).read_bytes())
    content[len(content) // 2] ^= 0xFF
    path = written(tmp_path / "left.png", bytes(content))
    assert refusal(path, good).startswith(f"cannot read {path}: ")


@pytest.mark.parametrize("side", [10_000, 20_000])
def test_a_decompression_bomb_is_refused(tmp_path, good, side):
    """A small file that claims more pixels than are safe to decode is refused with their number."""
    path = written(tmp_path / "left.png", png(side, side, 8, 2, [b""]))
    assert refusal(path, good).startswith(
        f"{path} holds too many pixels to decode safely: Image size ({side * side} pixels)"
    )


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)], ids=["L", "RGB", "LA", "RGBA"])
def test_sixteen_bit_png_is_refused(tmp_path, good, colour, channels):
    """16 bits per channel are refused with a way to convert them, whatever the channels."""
    path = written(tmp_path / "left.png", png(WIDTH, HEIGHT, 16, colour, [bytes(2 * channels * WIDTH)] * HEIGHT))
    message = refusal(path, good)
    assert message.startswith(f"{path} has 16 bits per channel, and parity reads 8 bits per channel: convert it")
    assert message.endswith(f"`magick {path} -depth 8 {tmp_path}/left-8bit.png`")


@pytest.mark.parametrize("magic", ["P2", "P3", "P5", "P6"])
@pytest.mark.parametrize("maxval", [256, 65535])
def test_deep_ppm_is_refused(tmp_path, good, magic, maxval):
    """A maxval above 255 is refused and said, in all four forms."""
    array = pixels(10) if magic in ("P3", "P6") else pixels(10)[:, :, 0]
    path = written(tmp_path / "left.ppm", ppm(magic, array, maxval))
    assert f"{path} has maxval {maxval}, and parity reads 8 bits" in refusal(path, good)


def test_an_alpha_channel_with_one_transparent_pixel_is_refused(tmp_path, good):
    """A single pixel that is not opaque is counted and refused."""
    array = np.dstack([pixels(11), np.full((HEIGHT, WIDTH), 255, np.uint8)])
    array[2, 3, 3] = 254
    path = saved(tmp_path / "left.png", array)
    assert refusal(path, good) == f"{path} has 1 transparent pixels of 35; flatten it onto a background first"


def test_a_transparent_palette_colour_is_refused(tmp_path, good):
    """A palette whose used colour is transparent is refused with the count."""
    path = tmp_path / "left.png"
    Image.fromarray(np.arange(35, dtype=np.uint8).reshape(HEIGHT, WIDTH)).convert("P").save(path, transparency=4)
    assert "has 1 transparent pixels of 35" in refusal(path, good)


def test_a_transparent_gray_level_of_few_bits_is_refused(tmp_path, good):
    """In 4-bit gray, where Pillow forgets to scale it, the transparent level is still found."""
    rows = [bytes([0x12, 0x34, 0x56, 0x70])] * HEIGHT
    path = written(tmp_path / "left.png", png(WIDTH, HEIGHT, 4, 0, rows, (b"tRNS", b"\0\x03")))
    assert "has 5 transparent pixels of 35" in refusal(path, good)


def test_cmyk_is_refused(tmp_path, good):
    """A JPEG for print is refused with its mode."""
    path = saved(tmp_path / "left.jpg", pixels(12), "CMYK")
    assert refusal(path, good) == f"{path} is CMYK; save it as RGB or gray first"


@pytest.mark.parametrize(("kind", "suffix"), [("PNG", "png"), ("MPO", "jpg")])
def test_several_frames_are_refused(tmp_path, good, kind, suffix):
    """An animated PNG and a JPEG of two pictures are refused with the number of frames."""
    second = Image.fromarray(pixels(14))
    path = saved(tmp_path / f"left.{suffix}", pixels(13), format=kind, save_all=True, append_images=[second])
    assert refusal(path, good) == f"{path} holds 2 frames; save the one to use as a file of its own"


@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
def test_ppm_pictures_in_a_row_are_refused(tmp_path, good, mode):
    """Two binary PPM pictures in one file are refused; a line break after one is not a second."""
    content = saved(tmp_path / "left.ppm", pixels(15), mode).read_bytes()
    assert refusal(written(tmp_path / "two.ppm", content * 2), good).startswith(
        f"{tmp_path}/two.ppm holds more than one frame"
    )
    assert small_pair(written(tmp_path / "one.ppm", content + b"\n"), good).array.shape[2:] == (
        2,
        HEIGHT,
        WIDTH,
    )


def test_unequal_sizes_are_refused(tmp_path, good):
    """Two pictures of different sizes are refused with both."""
    other = saved(tmp_path / "other.png", pixels(16, 6, 9))
    assert refusal(good, other) == f"{good} is 7x5 and {other} is 9x6: a pair has one size"


def test_a_picture_smaller_than_the_multiple_is_refused(tmp_path):
    """Pictures of which nothing would be left are refused with their size."""
    left, right = (saved(tmp_path / name, pixels(17, 100, 63)) for name in ("l.png", "r.png"))
    with pytest.raises(InputError, match="are 63x100: both sides must be at least 64 pixels"):
        image_pair(left, right)


@pytest.mark.parametrize("size", [(8, 5), (7, 6), (0, 5), (7, -1)])
def test_a_size_that_does_not_fit_is_refused(good, size):
    """A size larger than the picture, or without pixels, is refused with both sizes."""
    assert refusal(good, good, size=size) == (f"{size[0]}x{size[1]} cannot be cut from {good} and {good}: 7x5 pixels")


def test_a_size_that_is_no_multiple_is_refused(good):
    """A size the network cannot halve often enough is refused before any file is read."""
    assert refusal(good, good, size=(128, 100), multiple=64) == ("size 128x100: both sides must be multiples of 64")


def test_a_multiple_below_one_is_refused(good):
    """A multiple of 0 is refused, not divided by."""
    assert refusal(good, good, multiple=0) == "multiple=0: it must be 1 or more"
