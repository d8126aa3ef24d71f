"""Whether both engines can be loaded into a process is settled by a trial, and only where it is not settled already."""

import importlib.util
import subprocess
from collections.abc import Iterator

import pytest

from parity.isolation import together


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The code that is tried in another process, which dies; triton is installed."""
    codes: list[str] = []

    def run(words: list[str], **kwargs: object) -> subprocess.CompletedProcess[bytes]:
        codes.append(words[-1])
        return subprocess.CompletedProcess(words, -6)

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(subprocess, "run", run)
    together._survives.cache_clear()
    yield codes
    together._survives.cache_clear()


@pytest.mark.parametrize("loaded", [(), ("torch",), ("triton", "tensorflow")])
def test_nothing_is_tried_where_the_order_can_be_chosen(loaded: tuple[str, ...], tried: list[str]) -> None:
    """Before TensorFlow is loaded, or after triton was, parity's own order works."""
    assert together.why_not_together(loaded) == ""
    assert tried == []


def test_tensorflow_first_is_tried_elsewhere(tried: list[str]) -> None:
    """With TensorFlow loaded and triton not, another process shows what importing triton does; it is asked once."""
    for _ in range(2):
        assert "ends a process" in together.why_not_together(("tensorflow",))
    assert tried == [together.TOO_LATE]


def test_without_triton_there_is_nothing_to_fear(monkeypatch: pytest.MonkeyPatch, tried: list[str]) -> None:
    """Torch without triton never imports it."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert together.why_not_together(("tensorflow",)) == ""
    assert tried == []


def test_a_trial_is_a_process_of_its_own() -> None:
    """Code that ends its process is found out, and code that does not is not."""
    assert not together._survives("import os; os.abort()")
    assert together._survives("pass")
