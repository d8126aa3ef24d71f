"""What a file looks like that is none of the accepted kinds: what a person would say on opening it.

Most files that are given by mistake are one of a few: a page that was downloaded in place of the file, a pointer of Git
LFS, a checkpoint of the training, a download that broke off.
"""

import re

_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (
        b"version https://git-lfs.github.com/spec",
        "a pointer of Git LFS, not the file itself (`git lfs pull` fetches it)",
    ),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file (.h5), Keras's older format; save it as .keras"),
    (b"\x1f\x8b", "compressed with gzip; unpack it first"),
    (b"BZh", "compressed with bzip2; unpack it first"),
    (b"\xfd7zXZ\x00", "compressed with xz; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd; unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it first"),
    (b"\x93NUMPY", "a NumPy array (.npy)"),
    (b"GGUF", "a GGUF file"),
    (b"\x7fELF", "a program or a library"),
    (b"MZ", "a program or a library"),
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
    (b"%PDF", "a PDF document"),
)


def foreign(data: memoryview) -> str:
    """What bytes that are no artifact look like, in words that follow "is".

    >>> foreign(memoryview(b"<!DOCTYPE html><html>"))
    'an HTML page'
    """
    head = bytes(data[:512])
    for beginning, words in _BEGINNINGS:
        if head.startswith(beginning):
            return words
    if head[257:262] == b"ustar":
        return "a tar archive; unpack it first"
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05":
        return "a pickle (an old torch checkpoint is one), which runs code when it is opened; parity opens none"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    if not head.strip(b"\0"):
        return "nothing but zeros"
    if re.match(rb"(node|versions|library|graph_def|meta_graphs|saved_model_schema_version|ir_version)\s*[:{]", start):
        return "a protobuf message written as text (.pbtxt); write it in the binary form"
    if _is_text(head):
        return "a text" + (" of JSON" if start[:1] in (b"{", b"[") else "")
    return f"of no format that parity knows (it begins with {head[:8].hex(' ')})"


def _is_text(head: bytes) -> bool:
    try:
        words = head.decode("utf-8", "ignore")
    except UnicodeDecodeError:
        return False
    return len(words.encode()) >= len(head) - 3 and all(letter.isprintable() or letter.isspace() for letter in words)


def foreign_archive(names: list[str]) -> str:
    """What a zip archive that is no `.keras` looks like, in words that follow "is"."""
    ends = {name.rpartition("/")[2] for name in names}
    if "data.pkl" in ends or "constants.pkl" in ends:
        return "a torch checkpoint, a pickle that runs code when it is opened; parity opens none as a port"
    if names and all(name.endswith(".npy") for name in names):
        return "a NumPy archive (.npz)"
    if "saved_model.pb" in ends:
        return "a zip archive of a SavedModel; unpack it first"
    shown = ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "")
    return f"a zip archive of {shown or 'nothing'}"
